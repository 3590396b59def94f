"""The first layer's product over rows where they lie in the user's array.

Rows of the net's own element type need not be copied to be multiplied, and copying them first is
waiting for memory first. Here the tile reads each row by its address, and meanwhile asks memory for
the rows of the next tile. An element is the same chain of multiply-adds as over copied rows, the
bias last: the same bits.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.gather import place_of
from nbmlp.kernels.gemm import make_strips
from nbmlp.kernels.vecmath import make_vector, vecmath, vector_of
from nbmlp.tuning import LISTED_ROWS

__all__: list[str] = []

_words = vector_of("int64")


@inner
def _list_rows(x, x_row, order, start, rows, after, end, out):
    """Addresses of rows `start`... of the epoch, and of those from `after` on that follow them."""
    places = _words(out, rows + LISTED_ROWS)
    for r in range(rows):
        places[r] = x + place_of(order, start + r) * x_row
    for r in range(LISTED_ROWS):
        places[rows + r] = x + place_of(order, min(after + r, end - 1)) * x_row


@piece("listed")
def _make_listed(T: type) -> Any:
    size, vector, finite = np.dtype(T).itemsize, make_vector(T), vecmath(T).is_finite
    width, per_panel = tuning.detect().vector_bytes, tuning.PANEL_BYTES // size
    width_of, strip = make_strips(T, "listed", LISTED_ROWS)

    @inner
    def fill(bias, z, z_row, rows, n):
        b = vector(bias, n)
        for r in range(rows):
            out = vector(z + r * z_row, n)
            for j in range(n):
                out[j] = b[j]

    @inner
    def first_bad(places, z, z_row, rows, n):
        """What is not finite in a row makes all its products so; theirs may have other reasons."""
        for r in range(rows):
            if not finite(vector(z + r * z_row, 1)[0]):
                row = vector(places[r], n)
                for j in range(n):
                    if not finite(row[j]):
                        return r
        return -1

    def listed(
        x: int, x_row: int, order: int, start: int, rows: int, after: int, end: int, n: int,
        places: int, w: int, w_row: int, bias: int, z: int, z_row: int, panels: int,
    ) -> int:  # fmt: skip
        """z (rows, panels) = X.W + bias (0: none) for rows `start`... of an epoch of `end` rows.

        X (rows, n), W (n, panels). after: row of the epoch that this thread reads next; places:
        room for the addresses of `rows` and LISTED_ROWS more. Returns the first row of X with a
        value that is not finite, or -1.
        """
        _list_rows(x, x_row, order, start, rows, after, end, places)
        if bias != 0:
            fill(bias, z, z_row, rows, panels * per_panel)
        beta = 1.0 if bias != 0 else 0.0
        left = panels * (tuning.PANEL_BYTES // width)
        at, asks = 0, n * size
        while left > 0:
            wide = width_of(left)
            strip(places, asks, 0, 8, w + at, w_row, z + at, z_row, rows, wide, n, 1.0, beta)
            at += wide * width
            left -= wide
            asks = 0  # the first strip has fetched them
        return first_bad(_words(places, rows), z, z_row, rows, n)

    return listed

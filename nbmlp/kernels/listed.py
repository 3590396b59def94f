"""The first layer's product over rows that a list names, while memory is asked for the next ones.

Rows of the net's own element type are multiplied where they lie in the user's array: to copy them
first would be to wait for memory first. What the gradient needs of them is copied meanwhile, a line
at a time. Rows of other types are written out before. An element is the same chain of multiply-adds
in either case, the bias last: the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.gather import place_of
from nbmlp.kernels.gemm import make_strips
from nbmlp.kernels.vecmath import make_vector, vecmath, vector_of

__all__: list[str] = []

_words = vector_of("int64")


@inner
def _advance(x, rows):
    """What a tile reads of X, so many rows on."""
    places, soon, soon_bytes, to, to_row, copied = x
    return places + 8 * rows, soon + 8 * rows, soon_bytes, to + rows * to_row, to_row, copied


@piece("listed.places", abi.list_rows)
def _make_places(_: type) -> Any:
    def places(x: int, x_row: int, order: int, start: int, rows: int, end: int, out: int) -> int:
        to = _words(out, rows)
        for r in range(rows):
            to[r] = x + place_of(order, min(start + r, end - 1)) * x_row
        return 0

    return places


def _make_copy_from(T: type) -> Any:
    vector = make_vector(T)

    @inner
    def copy_from(first, places, rows, n, out, out_row, one):
        """Columns `first` to n of the rows that are listed; column `one` (if >= 0) becomes 1."""
        listed = _words(places, rows)
        for r in range(rows):
            s, d = vector(listed[r], n), vector(out + r * out_row, n + 1)
            for j in range(first, n):
                d[j] = s[j]
            if one >= 0:
                d[one] = T(1)

    return copy_from


@piece("listed.product", abi.listed_product)
def _make_product(T: type) -> Any:
    size, vector, finite = np.dtype(T).itemsize, make_vector(T), vecmath(T).is_finite
    width, per_panel = tuning.detect().vector_bytes, tuning.PANEL_BYTES // size
    width_of, strip = make_strips(T, "listed", tuning.LISTED_ROWS, _advance)
    copy_from = _make_copy_from(T)

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
        listed = _words(places, rows)
        for r in range(rows):
            if not finite(vector(z + r * z_row, 1)[0]):
                row = vector(listed[r], n)
                for j in range(n):
                    if not finite(row[j]):
                        return r
        return -1

    def product(
        places: int, soon: int, soon_bytes: int, rows: int, n: int, w: int, w_row: int, bias: int,
        z: int, z_row: int, panels: int, out: int, out_row: int, one: int,
    ) -> int:  # fmt: skip
        if bias != 0:
            fill(bias, z, z_row, rows, panels * per_panel)
        beta = 1.0 if bias != 0 else 0.0
        left, at = panels * (tuning.PANEL_BYTES // width), 0
        copied = n * size // tuning.LINE_BYTES * tuning.LINE_BYTES if out != 0 else 0
        x = places, soon, soon_bytes, out, out_row, copied
        while left > 0:
            wide = width_of(left)
            strip(x, w + at, w_row, z + at, z_row, rows, wide, n, 1.0, beta)
            x = places, soon, 0, out, out_row, 0  # the first strip has moved all
            at += wide * width
            left -= wide
        if out != 0:
            copy_from(copied // size, places, rows, n, out, out_row, one)
        return first_bad(places, z, z_row, rows, n)

    return product


@piece("listed.copy", abi.listed_copy)
def _make_copy(T: type) -> Any:
    copy_from = _make_copy_from(T)

    def copy(places: int, rows: int, n: int, out: int, out_row: int, one: int) -> int:
        copy_from(0, places, rows, n, out, out_row, one)
        return 0

    return copy

"""A product over rows of data by their addresses, while memory is asked for the next ones.

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
from nbmlp.kernels.layers.inputs import write_rows
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector, vecmath, vector_of
from nbmlp.tuning import ADDRESSED_ROWS, PANEL_BYTES

__all__: list[str] = []

_words = vector_of("int64")


@inner
def _advance(x, rows):
    """What a tile reads of X, so many rows on."""
    places, soon, soon_bytes, to, to_row, copied = x
    return places + 8 * rows, soon + 8 * rows, soon_bytes, to + rows * to_row, to_row, copied


@inner
def _list_rows(x, x_row, order, start, rows, end, out):
    """Addresses of rows `start`... of an epoch of `end` rows; behind its end, of the last."""
    to = _words(out, rows)
    for r in range(rows):
        to[r] = x + place_of(order, min(start + r, end - 1)) * x_row


@inner
def _list_data(job, start, rows, out):
    _list_rows(job.x, job.x_row, job.order, start, rows, job.n_rows, out)


@piece("by_address.write", abi.layer_pass, typed=False)
def _make_write(_: type) -> Any:
    def write(job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int) -> int:
        """Inputs that are written out: their list is that of the copies."""
        j, s, t = records_at(job, layer, thread)
        bad = write_rows(j, s, t, first, rows)
        places, copies = s.room + t.rank * s.room_own, s.a + t.copy * s.own
        _list_rows(copies, s.a_row, 0, first, rows, first + rows, places)
        _list_data(j, t.after, rows + ADDRESSED_ROWS, places + rows * 8)
        return bad

    return write


@piece("by_address.point", abi.layer_pass, typed=False)
def _make_point(_: type) -> Any:
    def point(job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int) -> int:
        """Inputs that need no change: they are left where they lie until they are multiplied."""
        j, s, t = records_at(job, layer, thread)
        places = s.room + t.rank * s.room_own
        _list_data(j, t.start + first, rows, places)
        _list_data(j, t.after, 2 * ADDRESSED_ROWS, places + rows * 8)
        return -1

    return point


def _make_copy_from(T: type) -> Any:
    vector = make_vector(T)

    @inner
    def copy_from(first, places, rows, n, out, out_row, one):
        """Columns `first` to n of the rows at these addresses; column `one` (if >= 0) becomes 1."""
        addresses = _words(places, rows)
        for r in range(rows):
            s, d = vector(addresses[r], n), vector(out + r * out_row, n + 1)
            for j in range(first, n):
                d[j] = s[j]
            if one >= 0:
                d[one] = T(1)

    return copy_from


@piece("by_address.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    size, vector, finite = np.dtype(T).itemsize, make_vector(T), vecmath(T).is_finite
    width, per_panel = tuning.detect().vector_bytes, PANEL_BYTES // size
    width_of, strip = make_strips(T, "by_address", ADDRESSED_ROWS, _advance)
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
        addresses = _words(places, rows)
        for r in range(rows):
            if not finite(vector(z + r * z_row, 1)[0]):
                row = vector(addresses[r], n)
                for j in range(n):
                    if not finite(row[j]):
                        return r
        return -1

    @inner
    def product(x, layer, rows, z, low, high):
        """Strip by strip; the first one moves all that is copied or asked for."""
        places, soon, _, out, out_row, _ = x
        w, left, beta = layer.w + low * PANEL_BYTES, (high - low) * (PANEL_BYTES // width), 0.0
        if layer.depth > layer.n_in:
            n, beta = (high - low) * per_panel, 1.0
            fill(w + layer.n_in * layer.w_row, z, layer.a_row, rows, n)
        at = 0
        while left > 0:
            wide = width_of(left)
            strip(x, w + at, layer.w_row, z + at, layer.a_row, rows, wide, layer.n_in, 1.0, beta)
            x = places, soon, 0, out, out_row, 0
            at += wide * width
            left -= wide

    @inner
    def copy_others(layer, places, out, before, rows, all_rows):
        """Rows at hand that are not multiplied here."""
        n, row, one, end = layer.n_in, layer.copy_row, layer.copy_one, before + rows
        copy_from(0, places, before, n, out, row, one)
        copy_from(0, places + end * 8, all_rows - end, n, out + end * row, row, one)

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Rows are copied meanwhile, if there is a gradient to compute; see `abi.layer_pass`."""
        j, s, t = records_at(job, layer, thread)
        addresses, before = s.room + t.rank * s.room_own, first - t.first
        places, z = addresses + before * 8, s.a + first * s.a_row + low * PANEL_BYTES
        soon = places + (s.ahead if s.ahead > 0 else t.rows) * 8
        copied = s.n_in * size // tuning.LINE_BYTES * tuning.LINE_BYTES if s.copy != 0 else 0
        out = s.copy + t.copy * s.own + t.first * s.copy_row
        own = out + before * s.copy_row
        x = places, soon, j.x_bytes, own, s.copy_row, copied
        product(x, s, rows, z, low, high)
        if s.copy != 0:
            copy_from(copied // size, places, rows, s.n_in, own, s.copy_row, s.copy_one)
            copy_others(s, addresses, out, before, rows, t.rows)
        return first_bad(places, z, s.a_row, rows, s.n_in)

    return forward

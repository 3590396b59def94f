"""A product over thin rows of a CSR matrix: over the values that are there alone.

The buffer of inputs then holds, for each row, where its values lie instead of the values.
An element of a product is the same chain of multiply-adds as for dense rows, the terms that add
zero left out: the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import _llvm, abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.gather import SPARSE_KINDS, find_span
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector, vecmath, vector_of

__all__: list[str] = []

_words = vector_of("int64")


@inner
def _first_from(columns, count, low):
    """How many of the rising column numbers lie below `low`."""
    start, end = 0, count
    while start < end:
        middle = (start + end) // 2
        if columns[middle] < low:
            start = middle + 1
        else:
            end = middle
    return start


def _make_rows(kind: str, index: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        size, index_size = np.dtype(kind).itemsize, np.dtype(index).itemsize
        source, places = vector_of(kind), vector_of(index)
        finite = vecmath(T).is_finite

        def rows_at(
            x: int, x_row: int, order: int, start: int, rows: int, n: int,
            out: int, out_row: int, one: int, scale: float,
        ) -> int:  # fmt: skip
            """Address of the values, of their columns, and their number, for each row."""
            parts = _words(x, 3)
            bad = -1
            for r in range(rows):
                low, count = find_span(places, parts[2], order, start, r, index_size)
                at = _words(out + r * out_row, 3)
                at[0], at[1] = parts[0] + low * size, parts[1] + low * index_size
                at[2] = count
                s = source(at[0], count)
                good = True
                for k in range(count):
                    good &= finite(T(s[k]))
                if bad < 0 and not good:
                    bad = r
            return bad

        return rows_at

    return maker


def _make_forward(kind: str, index: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        target, itemsize = tuning.detect(), np.dtype(T).itemsize
        source, places, vector = vector_of(kind), vector_of(index), make_vector(T)
        fuse, per_panel = _llvm.make_fuse(target, itemsize), tuning.PANEL_BYTES // itemsize

        def forward(
            job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
        ) -> int:
            """Each row's values times their rows of W, one after the other; then the bias."""
            j, s, t = records_at(job, layer, thread)
            n, scale, at = (high - low) * per_panel, T(j.x_scale), low * tuning.PANEL_BYTES
            x, w = s.x + t.copy * s.own, s.w + at
            for r in range(first, first + rows):
                row = _words(x + r * s.x_row, 3)
                values, columns = source(row[0], row[2]), places(row[1], row[2])
                out = vector(s.a + r * s.a_row + at, n)
                for i in range(n):
                    out[i] = T(0)
                for k in range(row[2]):
                    value = T(values[k]) * scale
                    weights = vector(w + columns[k] * s.w_row, n)
                    for i in range(n):
                        out[i] = fuse(value, weights[i], out[i])
                if s.depth > s.n_in:
                    bias = vector(w + s.n_in * s.w_row, n)
                    for i in range(n):
                        out[i] += bias[i]
            return -1

        return forward

    return maker


def _make_gradient(kind: str, index: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        target, itemsize = tuning.detect(), np.dtype(T).itemsize
        source, places, vector = vector_of(kind), vector_of(index), make_vector(T)
        fuse, per_panel = _llvm.make_fuse(target, itemsize), tuning.PANEL_BYTES // itemsize

        @inner
        def put(block, c, c_row, rows, n, alpha, beta):
            a, b = T(alpha), T(beta)
            for i in range(rows):
                total, out = vector(block + i * n * itemsize, n), vector(c + i * c_row, n)
                if beta == 0.0:  # what lies there may be NaN
                    for k in range(n):
                        out[k] = a * total[k]
                else:
                    for k in range(n):
                        out[k] = fuse(a, total[k], b * out[k])

        def gradient(
            job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
            start: int, m: int, alpha: float, beta: float,
        ) -> int:  # fmt: skip
            """Summed in the thread's room; input n_in is the bias's 1."""
            j, s, t = records_at(job, layer, thread)
            n, scale, at = (high - low) * per_panel, T(j.x_scale), low * tuning.PANEL_BYTES
            x, block = s.x + t.copy * s.own, s.room + t.rank * s.room_own
            behind = min(first + rows, s.n_in)
            sums = vector(block, rows * n)
            for i in range(rows * n):
                sums[i] = T(0)
            for r in range(start, start + m):
                row = _words(x + r * s.x_row, 3)
                values, columns = source(row[0], row[2]), places(row[1], row[2])
                d = vector(s.dz + r * s.dz_row + at, n)
                k = _first_from(columns, row[2], first)
                while k < row[2] and columns[k] < behind:
                    value = T(values[k]) * scale
                    total = vector(block + (columns[k] - first) * n * itemsize, n)
                    for i in range(n):
                        total[i] = fuse(value, d[i], total[i])
                    k += 1
                if first + rows > s.n_in:
                    total = vector(block + (s.n_in - first) * n * itemsize, n)
                    for i in range(n):
                        total[i] += d[i]
            put(block, c + first * s.w_row + at, s.w_row, rows, n, alpha, beta)
            return 0

        return gradient

    return maker


for _kind, _index in SPARSE_KINDS:
    for _name, _family, _make in (
        ("at", abi.inputs, _make_rows),
        ("forward", abi.layer_pass, _make_forward),
        ("gradient", abi.layer_gradient, _make_gradient),
    ):
        piece(f"csr_{_kind}_{_index}.{_name}", _family)(_make(_kind, _index))

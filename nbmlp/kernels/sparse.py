"""Thin rows of CSR matrices: the first layer's products over the values that are there alone.

The buffer of gathered rows then holds, for each row, where its values lie instead of the values.
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
            x: int, x_row: int, w: int, w_row: int, n_in: int, depth: int,
            z: int, z_row: int, rows: int, panels: int, scale: float,
        ) -> int:  # fmt: skip
            n = panels * per_panel
            for r in range(rows):
                at = _words(x + r * x_row, 3)
                s, columns = source(at[0], at[2]), places(at[1], at[2])
                out = vector(z + r * z_row, n)
                for j in range(n):
                    out[j] = T(0)
                for k in range(at[2]):
                    value = T(s[k]) * T(scale)
                    weights = vector(w + columns[k] * w_row, n)
                    for j in range(n):
                        out[j] = fuse(value, weights[j], out[j])
                if depth > n_in:
                    bias = vector(w + n_in * w_row, n)
                    for j in range(n):
                        out[j] += bias[j]
            return 0

        return forward

    return maker


def _make_gradient(kind: str, index: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        target, itemsize = tuning.detect(), np.dtype(T).itemsize
        source, places, vector = vector_of(kind), vector_of(index), make_vector(T)
        fuse, per_panel = _llvm.make_fuse(target, itemsize), tuning.PANEL_BYTES // itemsize

        def gradient(
            x: int, x_row: int, dz: int, dz_row: int, c: int, c_row: int,
            first: int, rows: int, n_in: int, panels: int, m: int,
            scale: float, alpha: float, beta: float, block: int,
        ) -> int:  # fmt: skip
            n = panels * per_panel
            behind = min(first + rows, n_in)
            sums = vector(block, rows * n)
            for j in range(rows * n):
                sums[j] = T(0)
            for r in range(m):
                at = _words(x + r * x_row, 3)
                s, columns = source(at[0], at[2]), places(at[1], at[2])
                d = vector(dz + r * dz_row, n)
                k = _first_from(columns, at[2], first)
                while k < at[2] and columns[k] < behind:
                    value = T(s[k]) * T(scale)
                    total = vector(block + (columns[k] - first) * n * itemsize, n)
                    for j in range(n):
                        total[j] = fuse(value, d[j], total[j])
                    k += 1
                if first + rows > n_in:
                    total = vector(block + (n_in - first) * n * itemsize, n)
                    for j in range(n):
                        total[j] += d[j]
            a, b = T(alpha), T(beta)
            for i in range(rows):
                total, out = vector(block + i * n * itemsize, n), vector(c + i * c_row, n)
                if beta == 0.0:  # what lies there may be NaN
                    for j in range(n):
                        out[j] = a * total[j]
                else:
                    for j in range(n):
                        out[j] = fuse(a, total[j], b * out[j])
            return 0

        return gradient

    return maker


for _kind, _index in SPARSE_KINDS:
    for _name, _family, _make in (
        ("at", abi.inputs, _make_rows),
        ("forward", abi.sparse_forward, _make_forward),
        ("gradient", abi.sparse_gradient, _make_gradient),
    ):
        piece(f"csr_{_kind}_{_index}.{_name}", _family)(_make(_kind, _index))

"""Rows of the user's arrays into the workspace: converted, scaled and checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from nbmlp.kernels import _llvm, abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.vecmath import make_vector, vecmath, vector_of
from nbmlp.tuning import LINE_BYTES

__all__ = ["INPUT_KINDS", "SPARSE_KINDS", "TARGET_KINDS", "find_span", "place_of"]

INPUT_KINDS = ("float32", "float64", "uint8")
#: Element type and index type of CSR matrices.
SPARSE_KINDS = tuple(product(("float32", "float64"), ("int32", "int64")))
TARGET_KINDS = ("float32", "float64", "labels")

#: Rows from the one that is copied to the one that is asked for: memory answers meanwhile.
_AHEAD = 2

_orders = vector_of("int64")


@inner
def _fetch(address, nbytes):
    for line in range(0, nbytes, LINE_BYTES):
        _llvm.prefetch(address + line)


@inner
def place_of(order, at):
    """Row of the data that is row `at` of the epoch."""
    return _orders(order, at + 1)[at] if order != 0 else at


@inner
def find_span(places, starts, order, start, r, index_size):
    """First value, and number of values, of the sparse row that is row `start + r`."""
    span = places(starts + place_of(order, start + r) * index_size, 2)
    return span[0], span[1] - span[0]


def _make_inputs(kind: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        size = np.dtype(kind).itemsize
        source, to = vector_of(kind), make_vector(T)
        checked = kind != "uint8"
        finite = vecmath(T).is_finite

        def inputs(
            x: int, x_row: int, order: int, start: int, rows: int, n: int,
            out: int, out_row: int, one: int, scale: float,
        ) -> int:  # fmt: skip
            """The row after the next is asked for while one is copied."""
            bad = -1
            for r in range(rows):
                later = min(r + _AHEAD, rows - 1)
                _fetch(x + place_of(order, start + later) * x_row, n * size)
                s = source(x + place_of(order, start + r) * x_row, n)
                d = to(out + r * out_row, n + 1)
                if checked:
                    good = True
                    for j in range(n):
                        value = T(s[j])
                        good &= finite(value)  # what is too large for T is infinite now
                        d[j] = value * T(scale)
                    if bad < 0 and not good:
                        bad = r
                else:
                    for j in range(n):
                        d[j] = T(s[j]) * T(scale)
                if one >= 0:
                    d[one] = T(1)
            return bad

        return inputs

    return maker


def _make_sparse_inputs(kind: str, index: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        size, index_size = np.dtype(kind).itemsize, np.dtype(index).itemsize
        source, places, to = vector_of(kind), vector_of(index), make_vector(T)
        finite = vecmath(T).is_finite

        def inputs(
            x: int, x_row: int, order: int, start: int, rows: int, n: int,
            out: int, out_row: int, one: int, scale: float,
        ) -> int:  # fmt: skip
            """Rows of a CSR matrix, written out."""
            parts = _orders(x, 3)
            bad = -1
            for r in range(rows):
                low, count = find_span(places, parts[2], order, start, r, index_size)
                s = source(parts[0] + low * size, count)
                columns = places(parts[1] + low * index_size, count)
                d = to(out + r * out_row, n + 1)
                for j in range(n):
                    d[j] = T(0)
                good = True
                for k in range(count):
                    value = T(s[k])
                    good &= finite(value)
                    d[columns[k]] = value * T(scale)
                if one >= 0:
                    d[one] = T(1)
                if bad < 0 and not good:
                    bad = r
            return bad

        return inputs

    return maker


def _make_targets(kind: str) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        source = vector_of("int32" if kind == "labels" else kind)
        to, doubles = make_vector(T), make_vector(np.float64)
        labels = kind == "labels"

        def targets(
            y: int, y_row: int, order: int, start: int, rows: int, n: int,
            out: int, out_row: int, given: int, weights: int, scale: float, shift: float,
        ) -> int:  # fmt: skip
            w = doubles(weights, rows)
            for r in range(rows):
                i = place_of(order, start + r)
                d = to(out + r * out_row, n)
                s = source(y + i * y_row, 1 if labels else n)
                if labels:
                    for j in range(n):
                        d[j] = T(shift)
                    d[s[0]] = T(scale + shift)
                else:
                    for j in range(n):
                        d[j] = T(s[j]) * T(scale) + T(shift)
                w[r] = doubles(given, i + 1)[i] if given != 0 else 1.0
            return 0

        return targets

    return maker


@piece("copy_rows", abi.copy_rows)
def _make_copy_rows(T: type) -> Any:
    vector = make_vector(T)

    def copy_rows(a: int, a_row: int, out: int, out_row: int, rows: int, n: int) -> int:
        for r in range(rows):
            s, d = vector(a + r * a_row, n), vector(out + r * out_row, n)
            for j in range(n):
                d[j] = s[j]
        return 0

    return copy_rows


for _kind in INPUT_KINDS:
    piece(f"inputs.{_kind}", abi.inputs)(_make_inputs(_kind))
for _kind, _index in SPARSE_KINDS:
    piece(f"inputs.csr_{_kind}_{_index}", abi.inputs)(_make_sparse_inputs(_kind, _index))
for _kind in TARGET_KINDS:
    piece(f"targets.{_kind}", abi.targets, masters=True)(_make_targets(_kind))

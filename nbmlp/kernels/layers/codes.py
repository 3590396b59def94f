"""Embeddings of categories: the last inputs are codes, and each becomes a row of a table, learned.

Of all tables, one after the other, the number of the row is kept behind the inputs, whose place the
rows' elements take. Of a gradient a thread has some rows of the tables, and adds up what belongs to
them in the order of the batch, so that sums do not depend on who shares them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector, vector_of

__all__: list[str] = []

_words = vector_of("int64")


@piece("codes.forward", abi.layer_pass)
def _make_codes(T: type) -> Any:
    vector, half = make_vector(T), T(0.5)

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """A code that its table does not have counts as 0; so does NaN, which ends the step."""
        j, s, t = records_at(job, layer, thread)
        starts, scale = _words(s.starts, s.n + 1), T(j.x_scale)
        for r in range(first, first + rows):
            row = s.a + t.copy * s.own + r * s.a_row
            given, kept = vector(row + s.added, s.n), vector(row + s.kept, s.n)
            for k in range(s.n):
                code = given[k] / scale + half
                known = code >= half and code < T(starts[k + 1] - starts[k]) + half
                kept[k] = T(starts[k] + (np.int64(code) if known else 0))
        return -1

    return forward


@piece("tables.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    vector, size = make_vector(T), np.dtype(T).itemsize

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        _, s, t = records_at(job, layer, thread)
        for r in range(first, first + rows):
            row = s.a + t.copy * s.own + r * s.a_row
            kept = vector(row + s.kept, s.n)
            for k in range(s.n):
                learned = vector(s.w + np.int64(kept[k]) * s.w_row, s.n_in)
                out = vector(row + s.added + k * s.n_in * size, s.n_in)
                for i in range(s.n_in):
                    out[i] = learned[i]
        return -1

    return forward


@piece("tables.gradient", abi.layer_gradient)
def _make_gradient(T: type) -> Any:
    vector, size = make_vector(T), np.dtype(T).itemsize

    def gradient(
        job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
        start: int, m: int, alpha: float, beta: float,
    ) -> int:  # fmt: skip
        _, s, t = records_at(job, layer, thread)
        a, b, n = T(alpha), T(beta), s.n_in
        for r in range(first, first + rows):
            total = vector(c + r * s.w_row, n)
            for i in range(n):
                total[i] = b * total[i] if beta != 0.0 else T(0)  # what lies there may be NaN
        for r in range(start, start + m):
            kept = vector(s.a + t.copy * s.own + r * s.a_row + s.kept, s.n)
            for k in range(s.n):
                row = np.int64(kept[k])
                if first <= row < first + rows:
                    at = s.added + k * n * size
                    d, factors = vector(s.dz + r * s.dz_row + at, n), vector(s.factors + at, n)
                    total = vector(c + row * s.w_row, n)
                    for i in range(n):
                        total[i] += a * (factors[i] * d[i])
        return 0

    return gradient

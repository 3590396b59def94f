"""A product with one to four outputs, whose panels would be nearly all padding.

It runs along the other axis: z as dot products with rows of W', the gradient as rows of W' (one per
output) that are turned into columns at last. The way back is that of a dense product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels._reduce import make_dot
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@piece("narrow.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    target, size, vector = tuning.detect(), np.dtype(T).itemsize, make_vector(T)
    dot = make_dot(target, size)
    per_panel, panel = PANEL_BYTES // target.vector_bytes, PANEL_BYTES // size

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """What lies in x behind the last unit must be finite: there wt is 0."""
        _, s, _ = records_at(job, layer, thread)
        x, z, bias = s.x + first * s.x_row, s.a + first * s.a_row, s.w + s.n_in * s.w_row
        vectors = (s.n_in + panel - 1) // panel * per_panel
        for r in range(rows):
            out = vector(z + r * s.a_row, s.n)
            for j in range(s.n):
                total = dot(x + r * s.x_row, s.wt + j * s.wt_row, vectors)
                if s.depth > s.n_in:
                    total += vector(bias, s.n)[j]
                out[j] = total if s.beta == 0.0 else out[j] + total
        return -1

    return forward


@piece("narrow.gradient", abi.layer_gradient)
def _make_gradient(T: type) -> Any:
    vector = make_vector(T)

    def gradient(
        job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
        start: int, m: int, alpha: float, beta: float,
    ) -> int:  # fmt: skip
        """The rows of W' lie in the layer's room until they are turned."""
        j, s, _ = records_at(job, layer, thread)
        at = first * j.size
        abi.product(
            j.gemm, a=s.dz + start * s.dz_row, a_row=j.size, a_col=s.dz_row,
            b=s.x + start * s.x_row + at, b_row=s.x_row, c=s.room + at, c_row=s.x_row, m=s.n,
            panels=(rows * j.size + PANEL_BYTES - 1) // PANEL_BYTES, depth=m, alpha=1.0, beta=0.0,
        )  # fmt: skip
        a, b = T(alpha), T(beta)
        for k in range(s.n):
            column = vector(s.room + at + k * s.x_row, rows)
            for r in range(rows):
                out = vector(c + (first + r) * s.w_row, s.n)
                out[k] = a * column[r] if beta == 0.0 else a * column[r] + b * out[k]
        return 0

    return gradient

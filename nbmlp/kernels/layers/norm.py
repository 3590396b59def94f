"""Layer normalisation (Ba et al. 2016): each row to mean 0 and deviation 1 over its units.

h = (z - mean) / sqrt(variance + EPSILON), then gain*h + shift, both of each unit and learned. In
the layer's room lie h, later the terms of gain's gradient da*h; those of shift's, da; and 1 over
each row's deviation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels._reduce import reductions
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector

__all__ = ["EPSILON"]

#: Added to the variance, as in PyTorch.
EPSILON = 1e-5


@piece("norm.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    vector, total, size = make_vector(T), reductions(T).total, np.dtype(T).itemsize

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Whole rows; h is kept if there is a room, squares lie in a's place meanwhile."""
        _, s, _ = records_at(job, layer, thread)
        n = s.n
        gain, shift = vector(s.w, n), vector(s.w + s.w_row, n)
        for r in range(first, first + rows):
            at = s.a + r * s.a_row
            x, h = vector(at, n), vector(s.room + r * s.a_row, n)
            mean = total(at, n) / T(n)
            for i in range(n):
                h[i] = x[i] - mean
                x[i] = h[i] * h[i]
            scale = T(1.0 / math.sqrt(total(at, n) / T(n) + EPSILON))
            for i in range(n):
                h[i] *= scale
                x[i] = gain[i] * h[i] + shift[i]
            vector(s.room + 2 * s.room_own + r * size, 1)[0] = scale
        return -1

    return forward


@piece("norm.backward", abi.layer_pass)
def _make_backward(T: type) -> Any:
    vector, total, size = make_vector(T), reductions(T).total, np.dtype(T).itemsize

    def backward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """dz = (e - mean(e) - h*mean(e*h)) / deviation, with e = da*gain."""
        _, s, _ = records_at(job, layer, thread)
        n = s.n
        gain = vector(s.w, n)
        for r in range(first, first + rows):
            at, kept = s.dz + r * s.dz_row, s.room + r * s.a_row
            d, h, da = vector(at, n), vector(kept, n), vector(kept + s.room_own, n)
            scale = vector(s.room + 2 * s.room_own + r * size, 1)[0]
            for i in range(n):
                da[i] = d[i]
                d[i] = da[i] * gain[i] * h[i]
            product = total(at, n) / T(n)
            for i in range(n):
                d[i] = da[i] * gain[i]
            mean = total(at, n) / T(n)
            for i in range(n):
                d[i] = scale * (d[i] - mean - h[i] * product)
                h[i] *= da[i]
        return -1

    return backward

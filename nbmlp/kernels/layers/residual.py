"""A way past a layer: what lies below is added to its outputs, and deltas go down both ways."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.layers.activation import columns_of
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@piece("residual.forward", abi.layer_pass)
def _make_forward(T: type) -> Any:
    vector = make_vector(T)

    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """With a copy of what comes in, for an activation that is derived by it."""
        j, s, _ = records_at(job, layer, thread)
        n, _ = columns_of(j, s, low, high)
        at, below = first * s.a_row + low * PANEL_BYTES, first * s.x_row + low * PANEL_BYTES
        for r in range(rows):
            a, x = vector(s.a + at + r * s.a_row, n), vector(s.x + below + r * s.x_row, n)
            if s.saved != 0:
                keep = vector(s.saved + at + r * s.a_row, n)
                for i in range(n):
                    keep[i] = a[i]
            for i in range(n):
                a[i] += x[i]
        return -1

    return forward


@piece("residual.backward", abi.layer_pass)
def _make_backward(T: type) -> Any:
    vector = make_vector(T)

    def backward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """dx = da, to which the product below adds its own."""
        j, s, _ = records_at(job, layer, thread)
        n, at = (high - low) * j.panel, low * PANEL_BYTES
        for r in range(first, first + rows):
            d, dx = vector(s.dz + at + r * s.dz_row, n), vector(s.dx + at + r * s.dx_row, n)
            for i in range(n):
                dx[i] = d[i]
        return -1

    return backward

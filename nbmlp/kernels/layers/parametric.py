"""An activation with a share of its own for each unit: a = z + alpha*(f(z) - z), alpha learned.

Built of the same pairs of functions as the activations themselves (`kernels/activations.py`). What
is kept is z; the terms of alpha's gradient, da*(f(z) - z), lie in the layer's room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.activations import PAIRS, Pair
from nbmlp.kernels.layers.activation import columns_of
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector
from nbmlp.names import ACTIVATIONS
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


def _make_forward(pair: Callable[[type], Pair]) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        f, vector, one = pair(T).forward, make_vector(T), T(1)
        panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

        def forward(
            job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
        ) -> int:
            """Whole padded panels, as all activations; alpha is 0 there."""
            j, s, _ = records_at(job, layer, thread)
            at, width, p = low * PANEL_BYTES, (high - low) * panel, T(s.act)
            _, ones = columns_of(j, s, low, high)
            alpha = vector(s.w + at, width)
            for r in range(first, first + rows):
                x = vector(s.a + at + r * s.a_row, width + panel)
                keep = vector(s.saved + at + r * s.a_row, width)
                for i in range(width):
                    keep[i] = x[i]
                for i in range(width):
                    x[i] = x[i] + alpha[i] * (f(x[i], p) - x[i])
                if ones >= 0:
                    x[ones] = one
            return -1

        return forward

    return maker


def _make_backward(pair: Callable[[type], Pair], needs_z: bool) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        f, df, vector, one = pair(T).forward, pair(T).derivative, make_vector(T), T(1)
        panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

        def backward(
            job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
        ) -> int:
            _, s, _ = records_at(job, layer, thread)
            at, width, p = low * PANEL_BYTES, (high - low) * panel, T(s.act)
            alpha = vector(s.w + at, width)
            for r in range(first, first + rows):
                d = vector(s.dz + at + r * s.dz_row, width)
                z = vector(s.saved + at + r * s.a_row, width)
                terms = vector(s.room + at + r * s.a_row, width)
                for i in range(width):
                    a = f(z[i], p)
                    slope = df(z[i], p) if needs_z else df(a, p)
                    terms[i] = d[i] * (a - z[i])
                    d[i] *= one + alpha[i] * (slope - one)
            return -1

        return backward

    return maker


for _name, _pair in PAIRS.items():
    _row = ACTIVATIONS[_name]
    piece(f"{_name}.parametric_forward", abi.layer_pass)(_make_forward(_pair))
    piece(f"{_name}.parametric_backward", abi.layer_pass)(_make_backward(_pair, _row.needs_z))

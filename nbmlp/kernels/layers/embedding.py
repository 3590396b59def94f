"""An embedding of numbers (PBLD, Holzmüller et al. 2024, arXiv:2407.04491).

What a number x becomes, W2 cos(2 pi w1 x + b1) + b2, lies behind the inputs: the first output of
all numbers, then the second, and so on; x itself stays where it is. Of the product behind, which
takes it times factors where inputs have some, the way back gives the delta of these inputs alone.
Numbers are lanes of vectors: each has parameters of its own, in a column.

All of a gradient is summed here, row by row in their order, and the cosines are computed again:
that costs less than to keep them. A thread has whole panels of numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels._wave import make_wave_biases, make_wave_forward, make_wave_gradient
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import make_vector
from nbmlp.names import WIDEST
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@inner
def _vectors(n, lanes):
    return (n + lanes - 1) // lanes


def _make_forward(outputs: int) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        target, size, vector = tuning.detect(), np.dtype(T).itemsize, make_vector(T)
        wave, lanes, width = (
            make_wave_forward(target, size, outputs), target.lanes(size), target.vector_bytes
        )  # fmt: skip

        def forward(
            job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
        ) -> int:
            """The last vector first: it may end behind its numbers, where others come later."""
            _, s, t = records_at(job, layer, thread)
            count, step = _vectors(s.n, lanes), s.n * size
            for r in range(first, first + rows):
                x = s.a + t.copy * s.own + r * s.a_row
                for v in range(count - 1, -1, -1):
                    at = v * width
                    wave(x + at, s.w + at, s.w_row, s.n_in, x + s.added + at, step)
                if s.one >= 0:
                    vector(x, s.one + 1)[s.one] = T(1)
            return -1

        return forward

    return maker


def _make_gradient(outputs: int) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        target, size = tuning.detect(), np.dtype(T).itemsize
        wave, biases = (
            make(target, size, outputs) for make in (make_wave_gradient, make_wave_biases)
        )
        lanes, width = target.lanes(size), target.vector_bytes
        per_panel = PANEL_BYTES // width

        def gradient(
            job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
            start: int, m: int, alpha: float, beta: float,
        ) -> int:  # fmt: skip
            """Of all rows of the block: a thread shares it by panels."""
            _, s, t = records_at(job, layer, thread)
            x, step = s.a + t.copy * s.own + start * s.a_row, s.n * size
            d = s.dz + start * s.dz_row + s.added
            for v in range(low * per_panel, min(high * per_panel, _vectors(s.n, lanes))):
                at, left = v * width, s.n - v * lanes
                factors = s.factors + s.added + at
                for k in range(s.n_in):
                    wave(
                        x + at, s.a_row, d + at, s.dz_row, step, m, s.w + at, s.w_row, s.n_in, k,
                        factors, c + at, left, alpha, beta,
                    )  # fmt: skip
                biases(
                    d + at, s.dz_row, step, m, s.w_row, s.n_in, factors, c + at, left, alpha, beta
                )
            return 0

        return gradient

    return maker


for _outputs in range(1, WIDEST):
    piece(f"pbld_{_outputs}.forward", abi.layer_pass)(_make_forward(_outputs))
    piece(f"pbld_{_outputs}.gradient", abi.layer_gradient)(_make_gradient(_outputs))

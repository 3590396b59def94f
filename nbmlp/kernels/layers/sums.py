"""Gradients of vectors of parameters: sums over rows of terms that a layer's way back has left."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.tables import records_at
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@piece("sums.gradient", abi.layer_gradient, typed=False)
def _make_gradient(_: type) -> Any:
    def gradient(
        job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
        start: int, m: int, alpha: float, beta: float,
    ) -> int:  # fmt: skip
        """A product with a row of ones, all of them the same one at x."""
        j, s, _ = records_at(job, layer, thread)
        at, terms = low * PANEL_BYTES, s.room + start * s.a_row
        for r in range(first, first + rows):
            abi.product(
                j.gemm, a=s.x, a_row=0, a_col=0, b=terms + r * s.room_own + at, b_row=s.a_row,
                c=c + r * s.w_row + at, c_row=s.w_row, m=1, panels=high - low, depth=m,
                alpha=alpha, beta=beta,
            )  # fmt: skip
        return 0

    return gradient

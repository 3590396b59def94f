"""A matrix product: z = x.W, with the bias in W's last row."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import piece
from nbmlp.kernels.tables import records_at
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []


@piece("dense.forward", abi.layer_pass, typed=False)
def _make_forward(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Over a part of the inputs, it may be, whose product is added to that of others."""
        j, s, t = records_at(job, layer, thread)
        at = low * PANEL_BYTES
        abi.product(
            j.gemm, a=s.x + t.copy * s.own + first * s.x_row, a_row=s.x_row, a_col=j.size,
            b=s.w + at, b_row=s.w_row, c=s.a + first * s.a_row + at, c_row=s.a_row, m=rows,
            panels=high - low, depth=s.depth, alpha=1.0, beta=s.beta,
        )  # fmt: skip
        return -1

    return forward


@piece("dense.backward", abi.layer_pass, typed=False)
def _make_backward(_: type) -> Any:
    def backward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """dx = dz.W', through the transposed copy."""
        j, s, _ = records_at(job, layer, thread)
        at = low * PANEL_BYTES
        abi.product(
            j.gemm, a=s.dz + first * s.dz_row, a_row=s.dz_row, a_col=j.size,
            b=s.wt + at, b_row=s.wt_row, c=s.dx + first * s.dx_row + at, c_row=s.dx_row, m=rows,
            panels=high - low, depth=s.n, alpha=1.0, beta=s.back_beta,
        )  # fmt: skip
        return -1

    return backward


@piece("dense.gradient", abi.layer_gradient, typed=False)
def _make_gradient(_: type) -> Any:
    def gradient(
        job: int, layer: int, thread: int, c: int, first: int, rows: int, low: int, high: int,
        start: int, m: int, alpha: float, beta: float,
    ) -> int:  # fmt: skip
        """x'.dz: the column of ones makes the bias's."""
        j, s, t = records_at(job, layer, thread)
        at, x = low * PANEL_BYTES, s.x + t.copy * s.own + start * s.x_row
        abi.product(
            j.gemm, a=x + first * j.size, a_row=j.size, a_col=s.x_row,
            b=s.dz + start * s.dz_row + at, b_row=s.dz_row,
            c=c + first * s.w_row + at, c_row=s.w_row, m=rows, panels=high - low, depth=m,
            alpha=alpha, beta=beta,
        )  # fmt: skip
        return 0

    return gradient

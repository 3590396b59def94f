"""An activation over its own input: z becomes a, da becomes dz."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.tables import records_at
from nbmlp.tuning import PANEL_BYTES

__all__ = ["columns_of"]


@inner
def columns_of(job, layer, low, high):
    """Units in panels low..high, and the column of ones counted from the first, or -1."""
    start = low * job.panel
    n = min(high * job.panel, layer.n) - start
    one = layer.one - start if layer.one >= 0 and high == layer.panels else -1
    return n, one


@piece("activation.forward", abi.layer_pass, typed=False)
def _make_forward(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        j, s, _ = records_at(job, layer, thread)
        at = first * s.a_row + low * PANEL_BYTES
        n, one = columns_of(j, s, low, high)
        abi.forward(
            s.activate, a=s.a + at, saved=s.saved + at, row=s.a_row, rows=rows, n=n, p=s.act,
            one=one,
        )  # fmt: skip
        return -1

    return forward


@piece("bare.forward", abi.layer_pass, typed=False)
def _make_bare(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Leaves what it is given as it is: who asks for z takes this instead of all behind it."""
        return -1

    return forward


@piece("activation.backward", abi.layer_pass, typed=False)
def _make_backward(_: type) -> Any:
    def backward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        j, s, _ = records_at(job, layer, thread)
        at = low * PANEL_BYTES
        n, _ = columns_of(j, s, low, high)
        abi.backward(
            s.derive, dz=s.dz + first * s.dz_row + at, dz_row=s.dz_row,
            saved=s.saved + first * s.a_row + at, saved_row=s.a_row, rows=rows, n=n, p=s.act,
        )  # fmt: skip
        return -1

    return backward

"""Dropout of units, or of the net's inputs: the same mask forward and back."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.layers.activation import columns_of
from nbmlp.kernels.tables import records_at
from nbmlp.kernels.vecmath import vector_of
from nbmlp.tuning import PANEL_BYTES

__all__: list[str] = []

_doubles = vector_of("float64")


@inner
def _shares(job, layer, thread):
    """The share that is kept, and the factor on it; with a schedule those of the update at hand."""
    if job.drops == 0:
        return layer.keep, layer.factor
    keep = 1.0 - (1.0 - layer.keep) * _doubles(job.drops, thread.update + 1)[thread.update]
    return keep, 1.0 / keep


@piece("dropout.forward", abi.layer_pass, typed=False)
def _make_forward(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """With a copy of what comes in, for an activation that is derived by it."""
        j, s, t = records_at(job, layer, thread)
        at = first * s.a_row + low * PANEL_BYTES
        n, one = columns_of(j, s, low, high)
        keep, factor = _shares(j, s, t)
        abi.dropout(
            j.dropout, a=s.a + t.copy * s.own + at, row=s.a_row,
            saved=s.saved + at if s.saved != 0 else 0, rows=rows, n=n, seed=t.key,
            stream=s.stream, first=t.place + first, column=low * j.panel, keep=keep,
            factor=factor, one=one,
        )  # fmt: skip
        return -1

    return forward


@piece("dropout.backward", abi.layer_pass, typed=False)
def _make_backward(_: type) -> Any:
    def backward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        j, s, t = records_at(job, layer, thread)
        n, _ = columns_of(j, s, low, high)
        keep, factor = _shares(j, s, t)
        abi.dropout(
            j.dropout, a=s.dz + first * s.dz_row + low * PANEL_BYTES, row=s.dz_row, saved=0,
            rows=rows, n=n, seed=t.key, stream=s.stream, first=t.place + first,
            column=low * j.panel, keep=keep, factor=factor, one=-1,
        )  # fmt: skip
        return -1

    return backward

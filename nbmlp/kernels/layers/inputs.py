"""The net's inputs: rows of data, written out into the workspace. Nothing flows back to them."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.tables import records_at

__all__ = ["write_rows"]


@inner
def write_rows(job, layer, thread, first, rows):
    """Rows of the epoch into the thread's copy; returns the first bad row, or -1."""
    return abi.inputs(
        job.inputs, x=job.x, x_row=job.x_row, order=job.order, start=thread.start + first,
        rows=rows, n=layer.n, out=layer.a + thread.copy * layer.own + first * layer.a_row,
        out_row=layer.a_row, one=layer.one, scale=job.x_scale,
    )  # fmt: skip


@piece("inputs.forward", abi.layer_pass, typed=False)
def _make_forward(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Converted and scaled; of thin sparse rows, where their values lie (`sparse`)."""
        own_job, own_layer, own_thread = records_at(job, layer, thread)
        return write_rows(own_job, own_layer, own_thread, first, rows)

    return forward

"""The loss: targets are read, the outputs compared, and the last delta begins its way back."""

from __future__ import annotations

from typing import Any

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.tables import records_at

__all__: list[str] = []


@inner
def _read_targets(job, thread, first, rows):
    """Targets and weights of the same rows."""
    abi.targets(
        job.targets, y=job.y, y_row=job.y_row, order=job.order, start=thread.start + first,
        rows=rows, n=job.n_targets, out=job.target + first * job.target_row,
        out_row=job.target_row, given=job.given, weights=job.weights + first * 8,
        scale=job.y_scale, shift=job.y_shift,
    )  # fmt: skip


@piece("loss.forward", abi.layer_pass, typed=False)
def _make_forward(_: type) -> Any:
    def forward(
        job: int, layer: int, thread: int, first: int, rows: int, low: int, high: int
    ) -> int:
        """Also the delta by z, through the output's activation where the loss does not read z."""
        j, s, t = records_at(job, layer, thread)
        if j.loss == 0:  # a prediction without
            return -1
        _read_targets(j, t, first, rows)
        a, dz = s.a + first * s.a_row, s.dz + first * s.dz_row
        bad = abi.loss(
            j.loss, y=a, y_row=s.a_row, dz=dz, dz_row=s.dz_row,
            target=j.target + first * j.target_row, target_row=j.target_row, rows=rows,
            n=j.n_outputs, n_targets=j.n_targets, weights=j.weights + first * 8,
            values=j.values + first * 8, p=j.loss_parameter,
        )  # fmt: skip
        if s.derive != 0:
            abi.backward(
                s.derive, dz=dz, dz_row=s.dz_row, saved=s.saved + first * s.a_row,
                saved_row=s.a_row, rows=rows, n=s.n, p=s.act,
            )  # fmt: skip
        return bad

    return forward

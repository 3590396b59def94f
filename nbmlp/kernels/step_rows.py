"""First half of a step: rows through gather, forward, loss and backward. Weights are only read."""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc"
from __future__ import annotations

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import STATUS

__all__ = ["gather_inputs", "gather_targets", "run_forward", "run_loss", "run_rows"]

_call = _llvm.call
_BAD_INPUT, _BAD_OUTPUT = STATUS.BAD_INPUT, STATUS.BAD_OUTPUT


@inner
def run_forward(job, layers, key, first, rows, place):
    """Rows `first`... of the sub-batch (row `place`... of the batch) through all layers."""
    last = len(layers) - 1
    for k in range(len(layers)):
        layer = layers[k]
        a = layer.a + first * layer.a_row
        saved = layer.saved + first * layer.a_row
        _call(
            job.gemm,
            (
                layer.x + first * layer.x_row, layer.x_row, job.size, layer.w, layer.w_row,
                a, layer.a_row, rows, layer.panels_out, layer.depth, 1.0, 0.0,
            ),
        )  # fmt: skip
        if k == last and job.fused_output:
            return
        _call(layer.forward, (a, saved, layer.a_row, rows, layer.n_out, layer.act, layer.one))
        if layer.drops:
            _call(
                job.dropout,
                (
                    a, layer.a_row, saved if layer.copies else 0, rows, layer.n_out, key, k + 1,
                    place, layer.keep, layer.factor, layer.one,
                ),
            )  # fmt: skip


@inner
def run_loss(job, layer, first, rows):
    """Loss and delta of the last layer; returns the first bad row, or -1."""
    a, dz = layer.a + first * layer.a_row, layer.dz + first * layer.dz_row
    return _call(
        job.loss,
        (
            a, layer.a_row, dz, layer.dz_row, job.target + first * job.target_row, job.target_row,
            rows, job.n_outputs, job.weights + first * 8, job.values + first * 8,
            job.loss_parameter,
        ),
    )  # fmt: skip


@inner
def _backward(job, layers, key, first, rows, place):
    """Deltas of all layers, from the last to the first."""
    if not job.fused_output:
        _derive(layers[len(layers) - 1], first, rows)
    for k in range(len(layers) - 1, 0, -1):
        above, layer = layers[k], layers[k - 1]
        dz = layer.dz + first * layer.dz_row
        _call(
            job.gemm,
            (
                above.dz + first * above.dz_row, above.dz_row, job.size, above.wt, above.wt_row,
                dz, layer.dz_row, rows, layer.panels_out, above.n_out, 1.0, 0.0,
            ),
        )  # fmt: skip
        if layer.drops:
            _call(
                job.dropout,
                (
                    dz, layer.dz_row, 0, rows, layer.n_out, key, k, place, layer.keep,
                    layer.factor, -1,
                ),
            )  # fmt: skip
        _derive(layer, first, rows)


@inner
def _derive(layer, first, rows):
    """da at dz becomes dz."""
    dz, saved = layer.dz + first * layer.dz_row, layer.saved + first * layer.a_row
    _call(layer.backward, (dz, layer.dz_row, saved, layer.a_row, rows, layer.n_out, layer.act))


@inner
def gather_inputs(job, key, start, first, rows, place):
    """Gather rows `start + first`... of the epoch; returns the first bad row, or -1."""
    buffer = job.x_buffer + first * job.x_buffer_row
    bad = _call(
        job.inputs,
        (
            job.x, job.x_row, job.order, start + first, rows, job.n_inputs, buffer,
            job.x_buffer_row, job.x_one, job.x_scale,
        ),
    )  # fmt: skip
    if job.input_drops:
        _call(
            job.dropout,
            (
                buffer, job.x_buffer_row, 0, rows, job.n_inputs, key, 0, place, job.input_keep,
                job.input_factor, job.x_one,
            ),
        )  # fmt: skip
    return bad


@inner
def gather_targets(job, start, first, rows):
    """Targets and sample weights of the same rows."""
    _call(
        job.targets,
        (
            job.y, job.y_row, job.order, start + first, rows, job.n_outputs,
            job.target + first * job.target_row, job.target_row, job.given,
            job.weights + first * 8, job.y_scale, job.y_shift,
        ),
    )  # fmt: skip


@inner
def run_rows(job, layers, key, start, offset, low, high, flag):
    """First half of a step for rows low..high of the sub-batch, in blocks that stay in cache."""
    for first in range(low, high, job.row_block):
        rows = min(job.row_block, high - first)
        place = offset + first
        bad = gather_inputs(job, key, start, first, rows, place)
        status = _BAD_INPUT
        if bad < 0:
            gather_targets(job, start, first, rows)
            run_forward(job, layers, key, first, rows, place)
            bad = run_loss(job, layers[len(layers) - 1], first, rows)
            status = _BAD_OUTPUT
        if bad >= 0:
            flag[0], flag[1] = status, start + first + bad
            return
        _backward(job, layers, key, first, rows, place)

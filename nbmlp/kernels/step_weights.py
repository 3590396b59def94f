"""Second half of a step: each thread's blocks of every W, from gradient to transposed copy."""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc"
from __future__ import annotations

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner
from nbmlp.kernels.team import barrier, share
from nbmlp.kernels.vecmath import vector_of

__all__ = ["run_weights"]

_call = _llvm.call
_doubles = vector_of("float64")


@inner
def _gradient(job, layer, first, rows, m, scale, carry):
    """g[first:first+rows] = scale * (x'.dz + previous sum) over the m rows of the sub-batch."""
    _call(
        job.gemm,
        (
            layer.x + first * job.size, job.size, layer.x_row, layer.dz, layer.dz_row,
            layer.g + first * layer.w_row, layer.w_row, rows, layer.panels_out, m,
            scale, scale if carry else 0.0,
        ),
    )  # fmt: skip


@inner
def _descend(job, layer, first, rows, m, step):
    """Plain gradient descent as one product: W <- W - step * x'.dz; g is never written."""
    _call(
        job.gemm,
        (
            layer.x + first * job.size, job.size, layer.x_row, layer.dz, layer.dz_row,
            layer.w + first * layer.w_row, layer.w_row, rows, layer.panels_out, m, -step, 1.0,
        ),
    )  # fmt: skip
    weights = min(rows, layer.n_in - first)
    if layer.wt != 0 and weights > 0 and job.norm_bound == 0.0:
        _transpose(job, layer, first, weights)


@inner
def _penalise(job, layer, first, rows):
    """Penalty and clipping by value; a bias row, the last, is clipped but not penalised."""
    offset = first * layer.w_row
    g, n = layer.g + offset, rows * layer.w_row // job.size
    weights = min(rows, layer.n_in - first) * layer.w_row // job.size
    if job.l1 != 0.0 or job.l2 != 0.0:
        _call(job.penalise, (layer.w + offset, g, weights, job.l1, job.l2))
    if job.clip_value > 0.0:
        _call(job.clip_values, (g, n, job.clip_value))


@inner
def _apply(job, layer, first, rows, rate, decay, power1, power2):
    """The update rule on some rows of one layer."""
    offset = first * layer.w_row
    _call(
        job.rule,
        (
            layer.w + offset, layer.g + offset, layer.slots + offset, job.slot_stride,
            rows * layer.w_row // job.size, rate, decay, power1, power2,
            job.h0, job.h1, job.h2, job.h3, job.h4, job.h5,
        ),
    )  # fmt: skip


@inner
def _update(job, layer, first, rows, rate, power1, power2):
    """Update some rows of one layer, then their transposed copy."""
    weights = min(rows, layer.n_in - first)
    if weights == rows or job.decay == 0.0:
        _apply(job, layer, first, rows, rate, job.decay, power1, power2)
    else:
        if weights > 0:
            _apply(job, layer, first, weights, rate, job.decay, power1, power2)
        _apply(job, layer, first + weights, rows - weights, rate, 0.0, power1, power2)
    if layer.wt != 0 and weights > 0 and job.norm_bound == 0.0:
        _transpose(job, layer, first, weights)


@inner
def _transpose(job, layer, first, rows):
    _call(
        job.transpose,
        (layer.w, layer.w_row, first, rows, layer.panels_out, layer.wt, layer.wt_row),
    )


@inner
def _block(layer, low, high):
    """First row and number of rows of the update blocks low..high."""
    first = low * layer.block_rows
    return first, min(high * layer.block_rows, layer.depth) - first


@inner
def _sum_norms(job, layers, rank):
    """Squared gradient norm of each layer into `layer_norms` (rank 0); returns the total's root.

    Every thread adds all blocks in the same order, so all agree to the last bit.
    """
    norms, sums = _doubles(job.norms, job.n_blocks), _doubles(job.layer_norms, len(layers))
    total = 0.0
    for k in range(len(layers)):
        part = 0.0
        for b in range(layers[k].blocks):
            part += norms[layers[k].first_block + b]
        if rank == 0 and job.want_norms:
            sums[k] += part
        total += part
    return total**0.5


@inner
def _finish(job, layer, low, high, waits, rate, power1, power2):
    """Penalty and update of blocks whose gradient is complete; or their norm, if all must wait."""
    for b in range(low, high):
        first, rows = _block(layer, b, b + 1)
        _penalise(job, layer, first, rows)
        if waits:
            n = rows * layer.w_row // job.size
            at = job.norms + (layer.first_block + b) * 8
            _call(job.sum_squares, (layer.g + first * layer.w_row, n, at))
        elif job.rule != 0:
            _update(job, layer, first, rows, rate, power1, power2)


@inner
def _scale_and_update(job, layer, low, high, factor, rate, power1, power2):
    for b in range(low, high):
        first, rows = _block(layer, b, b + 1)
        if factor != 1.0:
            n = rows * layer.w_row // job.size
            _call(job.scale, (layer.g + first * layer.w_row, n, factor))
        if job.rule != 0:
            _update(job, layer, first, rows, rate, power1, power2)


@inner
def run_weights(job, layers, rank, size, m, scale, carry, last, rate, power1, power2, passed):
    """Second half of a step: this thread's blocks of every layer. `last`: the batch is complete."""
    waits = last and (job.clip_norm > 0.0 or job.want_norms)
    at_once = last and job.plain and not carry
    for k in range(len(layers)):
        layer = layers[k]
        low, high = share(layer.blocks, 1, rank, size)
        for start in range(low, high, layer.group):
            end = min(start + layer.group, high)
            first, rows = _block(layer, start, end)
            if at_once:
                _descend(job, layer, first, rows, m, scale * rate)
                continue
            _gradient(job, layer, first, rows, m, scale, carry)
            if last:
                _finish(job, layer, start, end, waits, rate, power1, power2)
    if waits:
        passed = barrier(job.sync, size, passed)
        norm = _sum_norms(job, layers, rank)
        factor = job.clip_norm / norm if job.clip_norm > 0.0 and norm > job.clip_norm else 1.0
        for k in range(len(layers)):
            low, high = share(layers[k].blocks, 1, rank, size)
            _scale_and_update(job, layers[k], low, high, factor, rate, power1, power2)
    if last and job.rule != 0 and job.norm_bound > 0.0:
        passed = barrier(job.sync, size, passed)
        _bound_norms(job, layers, rank, size)
    return passed


@inner
def _bound_norms(job, layers, rank, size):
    """Max-norm: whole columns, so whole panels are shared instead of rows."""
    panel = 64
    for k in range(len(layers)):
        layer = layers[k]
        low, high = share(layer.panels_out, 1, rank, size)
        for p in range(low, high):
            w = layer.w + p * panel
            scratch = job.scratch + rank * 2 * panel
            _call(job.max_norm, (w, layer.w_row, layer.n_in, scratch, job.norm_bound))
            if layer.wt != 0:
                wt = layer.wt + p * (panel // job.size) * layer.wt_row
                _call(job.transpose, (w, layer.w_row, 0, layer.n_in, 1, wt, layer.wt_row))

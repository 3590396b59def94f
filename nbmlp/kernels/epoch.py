"""The fused loop: gather, forward, loss, backward, barrier, gradient and update, barrier.

Many steps run inside one parallel region. In the first half of a step every thread takes its own
rows through all layers (weights are read only); in the second every thread owns blocks of each
weight matrix, sums their gradient over all rows and updates them at once. The loop handles
addresses and counts only: whatever touches floats is a piece, so that one compiled loop serves
every topology, activation, loss, rule and element type.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, misc"
from __future__ import annotations

from typing import Any

from numba import prange

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner, parallel, piece
from nbmlp.kernels.records import FLAGS, JOB, LAYER, LINE, STATUS
from nbmlp.kernels.rng import step_key
from nbmlp.kernels.team import barrier, join, share
from nbmlp.kernels.vecmath import vector_of

__all__ = ["run_parallel"]

_call = _llvm.call
_jobs, _layers = vector_of(JOB), vector_of(LAYER)
_doubles, _words = vector_of("float64"), vector_of("int64")
_OK, _BAD_INPUT, _BAD_OUTPUT = STATUS.OK, STATUS.BAD_INPUT, STATUS.BAD_OUTPUT
_ROW_GRAIN = 8  # rows are shared in whole register tiles


# ----------------------------------------------------------------- first half: rows


@inner
def _forward(job, layers, key, first, rows, place):
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
def _loss(job, layer, first, rows):
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
def _inputs(job, key, start, first, rows, place):
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
def _targets(job, start, first, rows):
    _call(
        job.targets,
        (
            job.y, job.y_row, job.order, start + first, rows, job.n_outputs,
            job.target + first * job.target_row, job.target_row, job.given,
            job.weights + first * 8, job.y_scale, job.y_shift,
        ),
    )  # fmt: skip


@inner
def _rows(job, layers, key, start, offset, low, high, flag):
    """First half of a step for rows low..high of the sub-batch, in blocks that stay in cache."""
    for first in range(low, high, job.row_block):
        rows = min(job.row_block, high - first)
        place = offset + first
        bad = _inputs(job, key, start, first, rows, place)
        status = _BAD_INPUT
        if bad < 0:
            _targets(job, start, first, rows)
            _forward(job, layers, key, first, rows, place)
            bad = _loss(job, layers[len(layers) - 1], first, rows)
            status = _BAD_OUTPUT
        if bad >= 0:
            flag[0], flag[1] = status, start + first + bad
            return
        _backward(job, layers, key, first, rows, place)


# ------------------------------------------------------------- second half: weights


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
def _weights(job, layers, rank, size, m, scale, carry, last, rate, power1, power2, passed):
    """Second half of a step: this thread's blocks of every layer. `last`: the batch is complete."""
    waits = last and (job.clip_norm > 0.0 or job.want_norms)
    for k in range(len(layers)):
        layer = layers[k]
        low, high = share(layer.blocks, 1, rank, size)
        for start in range(low, high, layer.group):
            end = min(start + layer.group, high)
            first, rows = _block(layer, start, end)
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


# ------------------------------------------------------------------------- the region


@inner
def _add_up(job, m):
    """Loss and weight of a sub-batch, in row order."""
    values, weights = _doubles(job.values, m), _doubles(job.weights, m)
    loss, weight = 0.0, 0.0
    for i in range(m):
        loss += values[i]
        weight += weights[i]
    return loss, weight


@inner
def _worst(job, size):
    """Status and row of the first bad row that any thread has met."""
    status, row = _OK, -1
    for t in range(size):
        flag = _words(job.sync + (FLAGS + t * LINE) * 8, 2)
        if flag[0] != _OK and (status == _OK or flag[1] < row):
            status, row = flag[0], flag[1]
    return status, row


@inner
def _powers(job, step):
    return job.beta1**step, job.beta2**step


@piece("train")
def _make_train(_: type) -> Any:
    def train(job_address: int, tid: int) -> int:
        """One thread's part of a region: whole sub-batches until the epoch or the limit ends."""
        job = _jobs(job_address, 1)[0]
        layers = _layers(job.layers, job.n_layers)
        rank, size = join(job.sync, job.threads)
        if rank < 0:
            return 0
        flag = _words(job.sync + (FLAGS + rank * LINE) * 8, 2)
        cursor, batch_start, step = job.cursor, job.batch_start, job.step
        accumulated, status, row = job.accumulated, _OK, -1
        loss_sum, weight_sum = job.loss_sum, job.weight_sum
        stop = min(job.n_rows, cursor + job.rows_limit)
        passed = 0
        while cursor < stop:
            batch_end = min(batch_start + job.batch, job.n_rows)
            m = min(job.sub_batch, batch_end - cursor)
            key = step_key(job.seed, step)
            low, high = share(m, _ROW_GRAIN, rank, size)
            _rows(job, layers, key, cursor, cursor - batch_start, low, high, flag)
            passed = barrier(job.sync, size, passed)
            status, row = _worst(job, size)
            if status != _OK:
                break
            loss, weight = _add_up(job, m)
            loss_sum += loss
            weight_sum += weight
            accumulated += weight
            last = cursor + m == batch_end
            scale = 1.0 / accumulated if last and job.mean and accumulated > 0.0 else 1.0
            rate = 0.0
            power1, power2 = 0.0, 0.0
            if last and job.rule != 0:
                rate = _doubles(job.rates, step - job.first_step + 1)[step - job.first_step]
                power1, power2 = _powers(job, step + 1)
            passed = _weights(
                job, layers, rank, size, m, scale, cursor > batch_start, last, rate,
                power1, power2, passed,
            )  # fmt: skip
            passed = barrier(job.sync, size, passed)
            cursor += m
            if last:
                batch_start = cursor
                accumulated = 0.0
                step += 1
        if rank == 0:
            out = _jobs(job_address, 1)
            out[0].cursor, out[0].batch_start, out[0].step = cursor, batch_start, step
            out[0].accumulated, out[0].loss_sum = accumulated, loss_sum
            out[0].weight_sum, out[0].joined = weight_sum, size
            out[0].status, out[0].bad_row = status, row
        return 0

    return train


@inner
def _infer_block(job, layers, block, first, flag):
    """Rows of one block of the data through the net, in the buffer rows from `first` on."""
    low = block * job.row_block
    rows = min(job.row_block, job.n_rows - low)
    last = layers[len(layers) - 1]
    bad = _inputs(job, 0, low - first, first, rows, 0)
    if bad >= 0:
        flag[0], flag[1] = _BAD_INPUT, low + bad
        return
    _forward(job, layers, 0, first, rows, 0)
    a = last.a + first * last.a_row
    if job.loss != 0:
        _targets(job, low - first, first, rows)
        _loss(job, last, first, rows)
        sums = _doubles(job.norms, 2 * job.n_blocks)
        values, weights = _doubles(job.values, first + rows), _doubles(job.weights, first + rows)
        for i in range(first, first + rows):
            sums[2 * block] += values[i]
            sums[2 * block + 1] += weights[i]
    if job.out != 0:
        if job.fused_output:
            _call(last.forward, (a, a, last.a_row, rows, last.n_out, last.act, last.one))
        to = job.out + low * job.out_row
        _call(job.copy_rows, (a, last.a_row, to, job.out_row, rows, last.n_out))


@piece("infer")
def _make_infer(_: type) -> Any:
    def infer(job_address: int, tid: int) -> int:
        """One thread's part of a prediction: blocks of rows from `cursor` on, at most the limit.

        Outputs (n_rows, n_outputs) go to `out` unless it is 0; with a `loss`, each block's sums of
        losses and weights go to `norms` (blocks, 2).
        """
        job = _jobs(job_address, 1)[0]
        layers = _layers(job.layers, job.n_layers)
        rank, size = join(job.sync, job.threads)
        if rank < 0:
            return 0
        flag = _words(job.sync + (FLAGS + rank * LINE) * 8, 2)
        start = job.cursor // job.row_block
        stop = min(job.n_rows, job.cursor + job.rows_limit)
        low, high = share((stop + job.row_block - 1) // job.row_block - start, 1, rank, size)
        for block in range(start + low, start + high):
            _infer_block(job, layers, block, rank * job.row_block, flag)
        barrier(job.sync, size, 0)
        if rank == 0:
            out = _jobs(job_address, 1)
            out[0].status, out[0].bad_row = _worst(job, size)
            out[0].cursor, out[0].joined = stop, size
        return 0

    return infer


@parallel
def run_parallel(address, job, threads):
    """Call the piece at `address` with (job, i) for i < threads, each on a thread of its own."""
    for i in prange(threads):
        _llvm.call(address, (job, i))

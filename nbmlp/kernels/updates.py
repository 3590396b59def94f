"""Second half of a step: each thread's part of all parameters, from gradient to transposed copy.

What a thread owns of a block of parameters is a rectangle: some update blocks of its rows by all
panels of columns, or all of its rows by some panels.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.afterwards import bound_norms, refresh_copies
from nbmlp.kernels.blocks import block_rows, own_part, rectangle, scale_part, transpose
from nbmlp.kernels.records import COLLECT, PARAMETER
from nbmlp.kernels.shards import sum_gradient, sum_shards
from nbmlp.kernels.threads import barrier, share
from nbmlp.kernels.together import exchange, meet, take_weights
from nbmlp.kernels.vecmath import vector_of
from nbmlp.tuning import PANEL_BYTES

__all__ = ["update_parameters"]

_doubles = vector_of("float64")
_NEXT = PARAMETER.itemsize
_NORMS, _LENGTHS = COLLECT.NORMS, COLLECT.LENGTHS


@inner
def _penalise(job, own, part, scale):
    """Penalty and clipping by value; a bias row, the last, is clipped but not penalised.

    scale: 1 over the weight of the batch, which shares out the penalty if `l2_shared`.
    """
    first, rows, low, high = part
    offset = first * own.row + low * PANEL_BYTES
    w, g, panels = own.w + offset, own.g + offset, high - low
    weights = min(rows, own.weights - first)
    if job.l1 != 0.0 or job.l2 != 0.0:
        l2 = job.l2 * scale if job.l2_shared else job.l2
        abi.penalise(
            job.penalise, w=w, g=g, rows=weights, row=own.row, panels=panels,
            l1=job.l1 * own.decay, l2=l2 * own.decay,
        )  # fmt: skip
    if job.clip_value > 0.0:
        bound = job.clip_value * own.clip
        abi.clip_values(job.clip_values, g=g, rows=rows, row=own.row, panels=panels, bound=bound)


@inner
def _apply(job, own, part, pace):
    """The update rule on a part of a block of parameters."""
    first, rows, low, high = part
    rate, power1, power2, decay = pace
    offset = first * own.row + low * PANEL_BYTES
    abi.rule(
        job.rule, w=own.w + offset, g=own.g + offset, slots=own.slots + offset,
        stride=job.slot_stride, rows=rows, row=own.row, panels=high - low, rate=rate * own.rate,
        decay=decay * own.decay, power1=power1, power2=power2, settings=job.settings,
    )  # fmt: skip


@inner
def _apply_runs(job, own, part, pace):
    """The update rule on those runs of rows that a part has, each with its factors."""
    first, rows, low, high = part
    rate, power1, power2, decay = pace
    table = _doubles(own.factors, 4 * own.runs)
    for k in range(0, 4 * own.runs, 4):
        start, stop = max(first, int(table[k])), min(first + rows, int(table[k + 1]))
        if start < stop:
            run, factor = (start, stop - start, low, high), table[k + 3]
            _apply(job, own, run, (rate * table[k + 2], power1, power2, decay * factor))


@inner
def _update(job, own, part, pace):
    """Update a part (a bias without decay), then its transposed copy, unless all must wait."""
    first, rows, low, high = part
    weights = max(0, min(rows, own.weights - first))
    if own.runs > 0:
        _apply_runs(job, own, part, pace)
    elif weights == rows or job.decay == 0.0:
        _apply(job, own, part, pace)
    else:
        bias = first + weights, rows - weights, low, high
        _apply(job, own, (first, weights, low, high), pace)
        _apply(job, own, bias, (pace[0], pace[1], pace[2], 0.0))
    if job.descend == 0:
        transpose(job, own, part)
    elif weights > 0:
        _measure(job, own, first, weights)


@inner
def _measure(job, own, first, rows):
    """Squares of the weights of an update block, and of the direction that they are to take."""
    n, offset = rows * own.row // job.size, first * own.row
    at = job.lengths + (own.first_block + first // own.block_rows) * 16
    abi.sum_squares(job.sum_squares, g=own.w + offset, n=n, out=at)
    abi.sum_squares(job.sum_squares, g=own.g + offset, n=n, out=at + 8)


@inner
def _descend(job, own, thread, rate):
    """Along the rule's direction, as far as the weights are long; biases take the rate alone."""
    lengths = _doubles(job.lengths, 2 * job.n_blocks)
    weight = direction = 0.0
    for b in range(own.first_block, own.first_block + own.blocks):
        weight += lengths[2 * b]
        direction += lengths[2 * b + 1]
    rate *= own.rate
    reach = rate * (weight / direction) ** 0.5 if weight > 0.0 and direction > 0.0 else rate
    start, stop, _, _ = own_part(own, thread)
    for b in range(start, stop):
        first, rows = block_rows(own, b, b + 1)
        if own.runs > 0:
            _step_runs(job, own, first, rows, reach, rate)
        else:
            weights = max(0, min(rows, own.weights - first))
            _step(job, own, first, weights, reach)
            _step(job, own, first + weights, rows - weights, rate)
        transpose(job, own, (first, rows, 0, own.panels))


@inner
def _step_runs(job, own, first, rows, reach, rate):
    table = _doubles(own.factors, 4 * own.runs)
    for k in range(0, 4 * own.runs, 4):
        start, stop = max(first, int(table[k])), min(first + rows, int(table[k + 1]))
        step = reach if start < own.weights else rate
        _step(job, own, start, stop - start, step * table[k + 2])


@inner
def _step(job, own, first, rows, step):
    if rows > 0:
        w, g = own.w + first * own.row, own.g + first * own.row
        abi.descend(job.descend, w=w, g=g, rows=rows, row=own.row, panels=own.panels, step=step)


@inner
def _sum_norms(job, parameters, thread):
    """Squared gradient norm of all parameters, block by block into `block_norms`; the total's root.

    Every thread adds all blocks in the same order, so all agree to the last bit.
    """
    norms, sums = _doubles(job.norms, job.n_blocks), _doubles(job.block_norms, len(parameters))
    total = 0.0
    for k in range(len(parameters)):
        part = 0.0
        for b in range(parameters[k].blocks):
            part += norms[parameters[k].first_block + b]
        if thread.rank == 0 and job.want_norms:
            sums[k] += part
        total += part
    return total**0.5


@inner
def _square(job, own, b, first, rows):
    """Sum of squares of a block of W, its bias excluded, into `squares`."""
    n = max(0, min(rows, own.weights - first)) * own.row // job.size
    at = job.squares + (own.first_block + b) * 8
    abi.sum_squares(job.sum_squares, g=own.w + first * own.row, n=n, out=at)


@inner
def _finish(job, own, b, low, high, scale, waits, pace):
    """Penalty and update of a block whose gradient is complete; or its norm, if all must wait."""
    first, rows = block_rows(own, b, b + 1)
    part = first, rows, low, high
    if job.squares != 0:
        _square(job, own, b, first, rows)
    _penalise(job, own, part, scale)
    if waits:
        n = rows * own.row // job.size
        at = job.norms + (own.first_block + b) * 8
        abi.sum_squares(job.sum_squares, g=own.g + first * own.row, n=n, out=at)
    elif job.rule != 0:
        _update(job, own, part, pace)


@inner
def _scale_and_update(job, own, b, factor, pace):
    first, rows = block_rows(own, b, b + 1)
    part = first, rows, 0, own.panels
    if factor != 1.0:
        scale_part(job, own, part, factor)
    if job.rule != 0:
        _update(job, own, part, pace)


@inner
def _later(job):
    """Whether something comes between a gradient's sum and its update."""
    return job.exchange != 0 or job.completes


@inner
def _sum(job, own, at, thread, batch, waits, pace):
    """One thread's part of one block of parameters: its gradient and, if nobody must wait, update.

    Plain gradient descent is one product: W <- W - rate * scale * x'.dz.
    """
    m, scale, carry, last = batch
    start, stop, low, high = rectangle(own, thread)
    at_once, finish = last and job.plain and not carry, last and not _later(job)
    for block in range(start, stop, own.group):
        end = min(block + own.group, stop)
        first, rows = block_rows(own, block, end)
        part = first, rows, low, high
        if at_once:
            sum_gradient(own, at, own.w, part, 0, m, -scale * pace[0] * own.rate, 1.0)
            transpose(job, own, part)
            continue
        if job.shards > 1:
            sum_shards(job, own, at, thread, part, m, last)
            if scale != 1.0:
                scale_part(job, own, part, scale)
        else:
            sum_gradient(own, at, own.g, part, 0, m, scale, scale if carry else 0.0)
        if finish:
            for b in range(block, end):
                _finish(job, own, b, low, high, scale, waits, pace)


@inner
def _complete(job, parameters, thread, at):
    """This thread's rows of each gradient that another one follows from."""
    address = job.parameters
    for k in range(len(parameters)):
        own = parameters[k]
        low, high = share(own.rows, 1, thread.rank, thread.size)
        if own.complete != 0 and low < high:
            rows = high - low
            abi.parameter_pass(own.complete, job=at[0], own=address, first=low, rows=rows)
        address += _NEXT


@inner
def _finish_later(job, parameters, thread, at, scale, waits, pace):
    """Gradients of all blocks are complete: the rest of their update."""
    if job.completes:
        barrier(job.sync, thread)
        _complete(job, parameters, thread, at)
        barrier(job.sync, thread)
    for k in range(len(parameters)):
        own = parameters[k]
        start, stop, low, high = own_part(own, thread)
        for b in range(start, stop):
            _finish(job, own, b, low, high, scale, waits, pace)


@inner
def update_parameters(job, parameters, thread, at, batch, weight, pace):
    """Second half of a step: sum, exchange, update; this thread's part of all parameters.

    at: addresses of job and thread; batch: rows of the sub-batch, factor on their gradient, whether
    others of its batch came before, whether it is complete; weight: of the batch so far; pace:
    learning rate, beta1^t, beta2^t, decay. Returns whether all who train together can go on.
    """
    last = batch[3]
    waits = last and (job.clip_norm > 0.0 or job.want_norms)
    for k in range(len(parameters)):
        _sum(job, parameters[k], at, thread, batch, waits, pace)
    if last and _later(job):
        scale = batch[1]
        if job.exchange != 0:
            scale = exchange(job, parameters, thread, weight)
            if scale == 0.0:
                return False
        _finish_later(job, parameters, thread, at, scale, waits, pace)
    if waits:
        if not meet(job, thread, _NORMS):
            return False
        norm = _sum_norms(job, parameters, thread)
        for k in range(len(parameters)):
            bound = job.clip_norm * parameters[k].clip
            factor = bound / norm if 0.0 < bound < norm else 1.0
            start, stop, _, _ = own_part(parameters[k], thread)
            for b in range(start, stop):
                _scale_and_update(job, parameters[k], b, factor, pace)
    if last and job.rule != 0 and job.descend != 0:
        if not meet(job, thread, _LENGTHS):
            return False
        for k in range(len(parameters)):
            _descend(job, parameters[k], thread, pace[0])
    if last and job.collect != 0 and not take_weights(job, parameters, thread):
        return False
    if last and job.rule != 0 and job.norm_bound > 0.0:
        barrier(job.sync, thread)
        bound_norms(job, parameters, thread)
    if last and job.rule != 0 and job.completes:
        barrier(job.sync, thread)
        refresh_copies(job, parameters, thread, at)
    return True

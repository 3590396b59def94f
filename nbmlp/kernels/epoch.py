"""The fused loop: forward, loss, backward, barrier, gradient and update, barrier.

Many steps run inside one parallel region. In the first half of a step every thread takes its own
rows through all layers (or its own columns, for small batches; weights are read only); in the
second every thread owns a part of each block of parameters, sums its gradient over all rows and
updates it at once. The loop handles addresses and counts only, and knows no kind of layer: what
there is to do stands in tables, and whatever touches floats is a piece. So one compiled loop serves
every topology, layer, activation, loss, rule and element type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, parallel, piece
from nbmlp.kernels.afterwards import average_parameters
from nbmlp.kernels.passes import pass_back, pass_blocks, pass_forward, take_rows
from nbmlp.kernels.records import STATUS, THREAD
from nbmlp.kernels.rng import step_key
from nbmlp.kernels.shards import add_losses, add_shards, next_rows, totals
from nbmlp.kernels.tables import job_at, layers_at, parameters_at, threads_at
from nbmlp.kernels.threads import barrier, join, share
from nbmlp.kernels.together import exchange_sums
from nbmlp.kernels.updates import update_parameters
from nbmlp.kernels.vecmath import vector_of

__all__ = ["run_parallel"]

_doubles, _RECORD = vector_of("float64"), THREAD.itemsize
_OK, _ELSEWHERE = STATUS.OK, STATUS.ELSEWHERE


@inner
def _sub_batch(job, thread, start, end, cursor):
    """What comes next of the batch start..end: the first row, how many, whether they end it."""
    if job.shards > 1:
        return next_rows(job, thread, start, end, cursor)
    m = min(job.sub_batch, end - cursor)
    return cursor, m, cursor + m == end


@inner
def _add_up_shards(job, thread, m, last):
    """Those of the whole batch at its end, by the tree of its shards; before that, nothing."""
    alone = job.exchange == 0
    if thread.rank == 0:
        add_losses(job, thread, m)
        if last and alone:
            add_shards(job)
    if not (last and alone):
        return 0.0, 0.0
    barrier(job.sync, thread)
    return totals(job)


@inner
def _add_up(job, thread, m, last):
    """Loss and weight of a sub-batch, in row order."""
    if job.shards > 1:
        return _add_up_shards(job, thread, m, last)
    values, weights = _doubles(job.values, m), _doubles(job.weights, m)
    loss, weight = 0.0, 0.0
    for i in range(m):
        loss += values[i]
        weight += weights[i]
    return loss, weight


@inner
def _account(job, step, loss, weight, last):
    """Sums of a batch so far: losses, weights; at its end the squares of the W it was met with."""
    if job.batches != 0:
        at = job.batches + (step - job.first_step) * 24
        sums = _doubles(at, 3)
        sums[0] += loss
        sums[1] += weight
        if last and job.squares != 0:
            squares = _doubles(job.squares, job.n_blocks)
            for b in range(job.n_blocks):
                sums[2] += squares[b]


@inner
def _worst(job, size):
    """Status and row of the first bad row that any thread has met."""
    status, row = _OK, -1
    threads = threads_at(job.thread_records, size)
    for t in range(size):
        if threads[t].status != _OK and (status == _OK or threads[t].bad_row < row):
            status, row = threads[t].status, threads[t].bad_row
    return status, row


@inner
def _begin(job, thread, rank, size):
    """A thread's record at the beginning of a region."""
    thread.rank, thread.size, thread.passed = rank, size, 0
    thread.columns = 1 if job.columns and size > 1 else 0
    thread.copy = rank if thread.columns else 0
    thread.status = _OK


@inner
def _pace(job, step):
    """Learning rate of a step, the powers of beta1 and beta2 at its end, and its decay."""
    update, decay = step - job.first_step, job.decay
    rate = _doubles(job.rates, update + 1)[update]
    if job.decays != 0:
        decay *= _doubles(job.decays, update + 1)[update]
    return rate, job.beta1 ** (step + 1), job.beta2 ** (step + 1), decay


@inner
def _first_half(job, layers, thread, at, m):
    """Rows of a sub-batch of m forward and back; returns the status and the first bad row."""
    if thread.columns:
        take_rows(thread, 0, m, thread.start + m)
        pass_forward(job, layers, thread, at)
    else:
        pass_blocks(job, layers, thread, at, m)
    barrier(job.sync, thread)
    status, row = _worst(job, thread.size)
    if status == _OK and thread.columns:
        pass_back(job, layers, thread, at)
    return status, row


@piece("train", abi.region)
def _make_train(_: type) -> Any:
    def train(job_address: int, tid: int) -> int:
        """One thread's part of a region: whole sub-batches until the epoch or the limit ends."""
        job = job_at(job_address)
        layers = layers_at(job.layers, job.n_layers)
        parameters = parameters_at(job.parameters, job.n_parameters)
        rank, size = join(job.sync, job.threads)
        if rank < 0:
            return 0
        at = job_address, job.thread_records + rank * _RECORD
        thread = threads_at(at[1], 1)[0]
        _begin(job, thread, rank, size)
        cursor, batch_start, step = job.cursor, job.batch_start, job.step
        accumulated, status, row = job.accumulated, _OK, -1
        loss_sum, weight_sum = job.loss_sum, job.weight_sum
        stop = min(job.n_rows, cursor + job.rows_limit)
        while cursor < stop or (job.exchange != 0 and cursor != batch_start):
            batch_end = min(batch_start + job.batch, job.n_rows)
            cursor, m, last = _sub_batch(job, thread, batch_start, batch_end, cursor)
            thread.key, thread.start = step_key(job.seed, step), cursor
            thread.place, thread.update = cursor - batch_start, step - job.first_step
            status, row = _first_half(job, layers, thread, at, m)
            if status != _OK:
                if job.exchange != 0 and rank == 0:
                    exchange_sums(job, 0.0, 1.0)
                break
            loss, weight = _add_up(job, thread, m, last)
            loss_sum += loss
            weight_sum += weight
            accumulated += weight
            whole = last and job.mean and job.exchange == 0 and accumulated > 0.0
            scale = 1.0 / accumulated if whole else 1.0
            pace = _pace(job, step) if last and job.rule != 0 else (0.0, 0.0, 0.0, 0.0)
            batch = m, scale, cursor > batch_start, last
            if not update_parameters(job, parameters, thread, at, batch, accumulated, pace):
                status = _ELSEWHERE
                break
            if job.shards > 1 and last and job.exchange != 0:
                loss, weight = totals(job)
                loss_sum += loss
                weight_sum += weight
            barrier(job.sync, thread)
            if rank == 0:
                _account(job, step, loss, weight, last)
            if last and job.mean_weights != 0:
                average_parameters(job, parameters, thread, step)
            cursor = batch_end if last else cursor + m
            if last:
                batch_start = cursor
                accumulated = 0.0
                step += 1
        if rank == 0:
            out = job_at(job_address)
            out.cursor, out.batch_start, out.step = cursor, batch_start, step
            out.accumulated, out.loss_sum = accumulated, loss_sum
            out.weight_sum, out.joined = weight_sum, size
            out.status, out.bad_row = status, row
        return 0

    return train


@inner
def _infer_block(job, layers, thread, at, block):
    """Rows of one block of the data through the net, in this thread's rows of the buffers."""
    first, low = thread.rank * job.row_block, block * job.row_block
    rows = min(job.row_block, job.n_rows - low)
    thread.start = low - first
    take_rows(thread, first, rows, low + rows)
    if not pass_forward(job, layers, thread, at):
        return
    if job.loss != 0:
        sums = _doubles(job.norms, 2 * job.n_blocks)
        values, weights = _doubles(job.values, first + rows), _doubles(job.weights, first + rows)
        for i in range(first, first + rows):
            sums[2 * block] += values[i]
            sums[2 * block + 1] += weights[i]
    if job.out != 0:
        abi.copy_rows(
            job.copy_rows, a=job.a + first * job.a_row, a_row=job.a_row,
            out=job.out + low * job.out_row, out_row=job.out_row, rows=rows, n=job.n_outputs,
        )  # fmt: skip


@piece("infer", abi.region)
def _make_infer(_: type) -> Any:
    def infer(job_address: int, tid: int) -> int:
        """One thread's part of a prediction: blocks of rows from `cursor` on, at most the limit.

        Outputs (n_rows, n_outputs) go to `out` unless it is 0; with a `loss`, each block's sums of
        losses and weights go to `norms` (blocks, 2).
        """
        job = job_at(job_address)
        layers = layers_at(job.layers, job.n_layers)
        rank, size = join(job.sync, job.threads)
        if rank < 0:
            return 0
        at = job_address, job.thread_records + rank * _RECORD
        thread = threads_at(at[1], 1)[0]
        _begin(job, thread, rank, size)
        thread.key = thread.place = thread.update = 0
        start = job.cursor // job.row_block
        stop = min(job.n_rows, job.cursor + job.rows_limit)
        low, high = share((stop + job.row_block - 1) // job.row_block - start, 1, rank, size)
        for block in range(start + low, start + high):
            _infer_block(job, layers, thread, at, block)
        barrier(job.sync, thread)
        if rank == 0:
            out = job_at(job_address)
            out.status, out.bad_row = _worst(job, size)
            out.cursor, out.joined = stop, size
        return 0

    return infer


@parallel
def run_parallel(address, job, threads):
    """Call the piece at `address` with (job, i) for i < threads, each on a thread of its own."""
    for i in prange(threads):
        abi.region(address, job_address=job, tid=np.int64(i))  # Numba counts unsigned

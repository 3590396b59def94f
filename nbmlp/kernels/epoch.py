"""The fused loop: gather, forward, loss, backward, barrier, gradient and update, barrier.

Many steps run inside one parallel region. In the first half of a step every thread takes its own
rows through all layers (or its own columns, for small batches; weights are read only); in the
second every thread owns a part of each weight matrix, sums its gradient over all rows and updates
it at once. The loop handles
addresses and counts only: whatever touches floats is a piece, so that one compiled loop serves
every topology, activation, loss, rule and element type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, parallel, piece
from nbmlp.kernels.records import FLAGS, JOB, LAYER, LINE, STATUS
from nbmlp.kernels.rng import step_key
from nbmlp.kernels.step_columns import run_columns_back, run_columns_forward
from nbmlp.kernels.step_inputs import gather_targets, read_inputs
from nbmlp.kernels.step_rows import (
    run_forward,
    run_loss,
    run_rows,
)
from nbmlp.kernels.step_weights import run_weights
from nbmlp.kernels.team import barrier, join, share
from nbmlp.kernels.vecmath import vector_of

__all__ = ["run_parallel"]

_jobs, _layers = vector_of(JOB), vector_of(LAYER)
_doubles, _words = vector_of("float64"), vector_of("int64")
_OK, _BAD_INPUT = STATUS.OK, STATUS.BAD_INPUT


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
    for t in range(size):
        flag = _words(job.sync + (FLAGS + t * LINE) * 8, 2)
        if flag[0] != _OK and (status == _OK or flag[1] < row):
            status, row = flag[0], flag[1]
    return status, row


@inner
def _pace(job, step):
    """Learning rate of a step, and the powers of beta1 and beta2 at its end."""
    rate = _doubles(job.rates, step - job.first_step + 1)[step - job.first_step]
    return rate, job.beta1 ** (step + 1), job.beta2 ** (step + 1)


@piece("train", abi.region)
def _make_train(_: type) -> Any:
    def train(job_address: int, tid: int) -> int:
        """One thread's part of a region: whole sub-batches until the epoch or the limit ends."""
        job = _jobs(job_address, 1)[0]
        layers = _layers(job.layers, job.n_layers)
        rank, size = join(job.sync, job.threads)
        if rank < 0:
            return 0
        flag = _words(job.sync + (FLAGS + rank * LINE) * 8, 2)
        flag[0] = _OK
        cursor, batch_start, step = job.cursor, job.batch_start, job.step
        accumulated, status, row = job.accumulated, _OK, -1
        loss_sum, weight_sum = job.loss_sum, job.weight_sum
        stop = min(job.n_rows, cursor + job.rows_limit)
        columns = job.columns and size > 1
        passed = 0
        while cursor < stop:
            batch_end = min(batch_start + job.batch, job.n_rows)
            m = min(job.sub_batch, batch_end - cursor)
            key = step_key(job.seed, step)
            place = cursor - batch_start
            if columns:
                passed = run_columns_forward(
                    job, layers, key, cursor, place, m, rank, size, flag, passed
                )
            else:
                low, high = share(m, 1, rank, size)
                run_rows(job, layers, key, cursor, place, m, rank, low, high, flag)
            passed = barrier(job.sync, size, passed)
            status, row = _worst(job, size)
            if status != _OK:
                break
            if columns:
                passed = run_columns_back(job, layers, key, place, m, rank, size, passed)
            loss, weight = _add_up(job, m)
            loss_sum += loss
            weight_sum += weight
            accumulated += weight
            last = cursor + m == batch_end
            scale = 1.0 / accumulated if last and job.mean and accumulated > 0.0 else 1.0
            pace = _pace(job, step) if last and job.rule != 0 else (0.0, 0.0, 0.0)
            passed = run_weights(
                job, layers, rank, size, columns, m, scale, place > 0, last, pace, passed
            )
            passed = barrier(job.sync, size, passed)
            if rank == 0:
                _account(job, step, loss, weight, last)
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
def _infer_block(job, layers, block, rank, flag):
    """Rows of one block of the data through the net, in this thread's rows of the buffers."""
    first = rank * job.row_block
    low = block * job.row_block
    rows = min(job.row_block, job.n_rows - low)
    last = layers[len(layers) - 1]
    part = first, rows, 0, layers[0].panels_out
    bad = read_inputs(job, layers[0], 0, low - first, first, rows, 0, low + rows, part, rank)
    if bad >= 0:
        flag[0], flag[1] = _BAD_INPUT, low + bad
        return
    run_forward(job, layers, 0, first, rows, 0)
    a = last.a + first * last.a_row
    if job.loss != 0:
        gather_targets(job, low - first, first, rows)
        run_loss(job, last, first, rows)
        sums = _doubles(job.norms, 2 * job.n_blocks)
        values, weights = _doubles(job.values, first + rows), _doubles(job.weights, first + rows)
        for i in range(first, first + rows):
            sums[2 * block] += values[i]
            sums[2 * block + 1] += weights[i]
    if job.out != 0:
        if job.fused_output:
            abi.forward(
                last.forward, a=a, saved=a, row=last.a_row, rows=rows, n=last.n_out, p=last.act,
                one=last.one,
            )  # fmt: skip
        to = job.out + low * job.out_row
        abi.copy_rows(
            job.copy_rows, a=a, a_row=last.a_row, out=to, out_row=job.out_row, rows=rows,
            n=last.n_out,
        )  # fmt: skip


@piece("infer", abi.region)
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
        flag[0] = _OK
        start = job.cursor // job.row_block
        stop = min(job.n_rows, job.cursor + job.rows_limit)
        low, high = share((stop + job.row_block - 1) // job.row_block - start, 1, rank, size)
        for block in range(start + low, start + high):
            _infer_block(job, layers, block, rank, flag)
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
        abi.region(address, job_address=job, tid=np.int64(i))  # Numba counts unsigned

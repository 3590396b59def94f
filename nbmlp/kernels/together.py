"""Where an update meets those of others who train together: sums of all, and what each has made.

Processes may share the update: each has some update blocks, whose sum it gets, and all get what it
has made of them. `abi.collect` does that, of weights and of what norms are added up from.
"""

from __future__ import annotations

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner
from nbmlp.kernels.blocks import block_rows, own_part, scale_part, transpose
from nbmlp.kernels.records import COLLECT
from nbmlp.kernels.shards import add_shards, totals
from nbmlp.kernels.threads import barrier, share
from nbmlp.kernels.vecmath import vector_of

__all__ = ["exchange", "exchange_sums", "meet", "take_weights"]

_doubles = vector_of("float64")
_WEIGHTS = COLLECT.WEIGHTS


@inner
def exchange_sums(job, weight, lost):
    """Sum gradient and weight over all who train together. lost: 1 of one who cannot go on."""
    sums = _doubles(job.sums, 2)
    sums[0], sums[1] = weight, lost
    abi.exchange(
        job.exchange, context=job.exchange_context, gradient=job.gradient, n=job.n_gradient,
        sums=job.sums,
    )  # fmt: skip


@inner
def exchange(job, parameters, thread, weight):
    """What all have summed takes the gradient's place; returns 1 over its weight, 0 if lost."""
    barrier(job.sync, thread)
    if thread.rank == 0:
        exchange_sums(job, weight, 0.0)
        if job.shards > 1:
            add_shards(job)
    barrier(job.sync, thread)
    sums = _doubles(job.sums, 2)
    if sums[1] > 0.0:
        return 0.0
    total = totals(job)[1] if job.shards > 1 else sums[0]
    scale = 1.0 / total if job.mean and total > 0.0 else 1.0
    for k in range(len(parameters)):
        own = parameters[k]
        start, stop, low, high = own_part(own, thread)
        for b in range(start, stop):
            first, rows = block_rows(own, b, b + 1)
            scale_part(job, own, (first, rows, low, high), scale)
    return scale


@inner
def meet(job, thread, what):
    """Behind it all threads have what all have made, and all processes; returns whether they do."""
    barrier(job.sync, thread)
    if job.collect == 0:
        return True
    if thread.rank == 0:
        abi.collect(job.collect, context=job.exchange_context, what=what, sums=job.sums)
    barrier(job.sync, thread)
    return _doubles(job.sums, 2)[1] == 0.0


@inner
def take_weights(job, parameters, thread):
    """Let all have the weights that each has updated; returns whether they do."""
    if not meet(job, thread, _WEIGHTS):
        return False
    for k in range(len(parameters)):
        own = parameters[k]
        start, stop = share(own.blocks, 1, thread.rank, thread.size)
        for b in range(start, stop):
            if b < own.first_own or b >= own.end_own:
                first, rows = block_rows(own, b, b + 1)
                transpose(job, own, (first, rows, 0, own.panels))
    return True

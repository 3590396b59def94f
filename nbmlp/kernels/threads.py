"""Threads inside one parallel region: a bounded join, then barriers that spin and yield.

Numba promises neither how many threads run a region's iterations nor that they run at once (tbb
gives no concurrency guarantee, a busy pool may start late). So work is shared by those who have
joined when the first to arrive stops waiting; who comes later goes home. Nobody waits for a thread
that might never come.
"""

from __future__ import annotations

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner
from nbmlp.kernels.records import CLOSED, LINE

__all__ = ["barrier", "join", "share"]

_START = 8 * LINE  # byte offsets in the sync area
_BARRIER = 16 * LINE
_SPINS = 2000  # pauses before the first yield: about 20 microseconds
_PATIENCE = 20000  # yields before the first to arrive closes the door


@inner
def join(sync, expected):
    """Join the threads of a region; returns (rank, size), rank -1 for who came too late.

    Who is alone touches nothing.
    """
    if expected == 1:
        return 0, 1
    ticket = _llvm.atomic_add(sync, 1)
    if ticket >= CLOSED:
        return -1, 0
    if ticket == 0:
        waited = 0
        while _llvm.atomic_load(sync) < expected and waited < _SPINS + _PATIENCE:
            _wait(waited)
            waited += 1
        size = _llvm.atomic_add(sync, CLOSED)
        _llvm.atomic_store(sync + _START, size)
        return 0, size
    waited = 0
    while _llvm.atomic_load(sync + _START) == 0:
        _wait(waited)
        waited += 1
    return ticket, _llvm.atomic_load(sync + _START)


@inner
def barrier(sync, thread):
    """Wait for all who have joined; the thread's record counts its barriers."""
    if thread.size == 1:
        return
    thread.passed += 1
    _llvm.atomic_add(sync + _BARRIER, 1)
    waited = 0
    while _llvm.atomic_load(sync + _BARRIER) < thread.size * thread.passed:
        _wait(waited)
        waited += 1


@inner
def _wait(waited):
    if waited < _SPINS:
        _llvm.pause()
    else:
        _llvm.yield_core()


@inner
def share(count, grain, rank, size):
    """First and last of `count` items for one thread, cut at multiples of `grain`."""
    grains = (count + grain - 1) // grain
    first = grains * rank // size * grain
    last = grains * (rank + 1) // size * grain
    return min(first, count), min(last, count)

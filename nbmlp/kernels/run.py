"""Start a region: on how many threads, on which threading layer, and never where it would abort.

Numba's threading layer is process-wide, chosen at the first launch. workqueue aborts the process
when two Python threads enter at once; GNU OpenMP ends a forked child that enters. So one lock
guards all parallel regions, and who does not get it (or has been forked) computes alone, with
the same result.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Protocol

import numba
import numpy as np
from numba import config
from numba.np.ufunc import parallel as numba_pool
from numpy.typing import NDArray

from nbmlp.kernels.epoch import run_parallel
from nbmlp.kernels.pieces import piece_address, piece_function

__all__ = ["Task", "pool_size", "prepare", "run", "threading_layer"]

_lock = threading.Lock()
_launched = False
_forked = False
#: Linux's mark of a process that was forked and has not become another program since.
_FORKED_ONLY = 0x40


def _after_fork() -> None:
    global _lock, _forked
    _lock = threading.Lock()  # the parent's may be held by a thread that this child lacks
    _forked = numba_pool._is_initialized  # by whomever: the pool's threads did not come along
    _inherits_openmp.cache_clear()


@functools.cache
def _inherits_openmp() -> bool:
    """Whether GNU OpenMP came with a fork: if it has run there, its first region here never ends.

    To be asked before it is loaded here.
    """
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
            flags = int(stat.read().rpartition(")")[2].split()[6])
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            return bool(flags & _FORKED_ONLY) and "/libgomp.so" in maps.read()
    except (OSError, ValueError, IndexError):  # another system
        return False


def _alone() -> bool:
    """Whether this process can have no threads of Numba's."""
    return _forked or _inherits_openmp()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def pool_size() -> int:
    """Most threads that Numba's pool has (``NUMBA_NUM_THREADS``)."""
    return int(config.NUMBA_NUM_THREADS)


def threading_layer() -> str | None:
    """Name of the threading layer that runs, or None before the first parallel region."""
    return numba.threading_layer() if _launched else None


@functools.cache
def _prefer_omp() -> None:
    """Take OpenMP unless the user chose: a region costs 1 us there, 94 us under workqueue."""
    if numba_pool._is_initialized or str(config.THREADING_LAYER).lower() != "default":
        return
    try:
        from numba.np.ufunc import omppool  # noqa: F401
    except ImportError:  # no OpenMP runtime on this machine
        return
    config.THREADING_LAYER = "omp"


def prepare(piece: str, threads: int) -> None:
    """Compile or load what :func:`run` needs, so that the first region is as quick as the rest."""
    piece_address(piece, np.float64)
    if threads > 1 and not _alone() and not run_parallel.signatures:
        _prefer_omp()
        run_parallel.compile((numba.int64, numba.int64, numba.int64))


class Task(Protocol):
    """What a region works on: a record JOB, which says afterwards what happened.

    Attributes
    ----------
    address : int
        Of the record.
    sync : ndarray of int64
        Where threads meet, with room for as many as will ever run.
    """

    address: int
    sync: NDArray[np.int64]

    def share_among(self, threads: int) -> None:
        """How many threads may take part."""


def run(piece: str, task: Task, threads: int) -> None:
    """Run a region to its end.

    Parameters
    ----------
    piece : str
        ``"train"`` or ``"infer"``.
    task : Task
    threads : int
        Most threads to use.
    """
    global _launched
    threads = min(threads, pool_size())
    if threads > 1 and not _alone() and _lock.acquire(blocking=False):
        try:
            _prefer_omp()
            task.sync[:] = 0
            task.share_among(threads)
            before = numba.get_num_threads()
            numba.set_num_threads(threads)
            try:
                run_parallel(piece_address(piece, np.float64), task.address, threads)
            finally:
                numba.set_num_threads(before)
            _launched = True
        finally:
            _lock.release()
        return
    task.share_among(1)
    piece_function(piece, np.float64)(task.address, 0)

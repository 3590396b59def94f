"""What a job's process may use, as the kernel enforces it, and what it does use."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

from nbmlp.server.jobs.protocol import Order

__all__ = ["PULSE", "Bounds", "die_with", "end_when_stuck", "live_on", "memory"]

_MB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Address space for last words; who has come that close to the limit has failed for it.
_RESERVE = 32 * _MB
#: Of address space for compiling: LLVM that is refused memory aborts, or asks again for ever.
_COMPILER = 512 * _MB
#: Seconds between two signs of life.
PULSE = 2.0
#: CPU seconds without one that make a process a stuck one: those, and a few pulses of each thread.
_SILENCE, _PULSES = 120.0, 5
#: Of -1000 to 1000: when the machine itself is short of memory, a job is to go, not the server.
_OOM_SCORE = "500"
#: From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


def memory() -> tuple[int, int]:
    """Bytes of this process's address space, and those of them in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped, resident = file.read().split()[:2]
    return int(mapped) * _PAGE, int(resident) * _PAGE


# -- a process that no longer answers


def die_with(server: int) -> None:
    """Have the kernel kill this process when its server dies, whatever it is doing then.

    Parameters
    ----------
    server : int
        Process number of the server, which started this process.
    """
    # The signal comes when the *thread* ends that started this process. That is the executor's,
    # which ends only with its server, or after it was told to close: then all jobs are to end.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before it could be asked for
        os.killpg(0, signal.SIGKILL)


def end_when_stuck() -> None:
    """From the first :func:`live_on` to the last: who falls silent says where it is, and dies."""
    faulthandler.register(signal.SIGPROF, chain=True)


def live_on(threads: int) -> None:
    """Give a sign of life, which native code that keeps the interpreter's lock does not.

    Counted in CPU time, so that a machine that is busy or suspended harms nobody.
    """
    signal.setitimer(signal.ITIMER_PROF, _SILENCE + _PULSES * PULSE * threads)


# -- resources


class Bounds:
    """What this process may use from here on; what is loaded already is not counted.

    Parameters
    ----------
    order : Order
        Its memory is what training may use; until then there is more, for the compiler.
    """

    def __init__(self, order: Order) -> None:
        self._space = memory()[0] + order.memory_mb * _MB
        self._compiled = 0
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime) + 1
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead, with a reason
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        wide = self._space + _COMPILER
        # CPU time: at the lower bound a signal says what it was, at the upper one it is over.
        _bound(resource.RLIMIT_CPU, spent + order.cpu_seconds, spent + order.cpu_seconds + 1)
        _bound(resource.RLIMIT_AS, wide, wide + _RESERVE)
        _bound(resource.RLIMIT_FSIZE, order.largest_file, order.largest_file)
        _bound(resource.RLIMIT_CORE, 0, 0)

    def narrow(self) -> None:
        """All is compiled: no more than the job's own memory.

        Raises
        ------
        MemoryError
            It is used up already.
        """
        self._compiled = _peak()
        self._set_space(self._space)
        if memory()[0] > self._space:
            raise MemoryError

    def widen(self) -> None:
        """There will be more to compile."""
        self._set_space(self._space + _COMPILER)

    def _set_space(self, soft: int) -> None:
        _bound(resource.RLIMIT_AS, soft, resource.getrlimit(resource.RLIMIT_AS)[1])

    def before_last_words(self) -> bool:
        """Free the reserve; returns whether the address space was used up, or nearly so.

        Short of memory, any line of code may fail, with any error.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        peak = _peak()
        most = memory()[0] if peak == self._compiled else peak
        return soft != resource.RLIM_INFINITY and most > soft - _RESERVE


def _bound(which: int, soft: int, hard: int) -> None:
    """Set a limit, but none above what somebody has set already."""
    most = resource.getrlimit(which)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(which, (soft, hard))


def _peak() -> int:
    """The most bytes of address space that this process ever had."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(x.split()[1]) << 10 for x in file if x.startswith("VmPeak"))

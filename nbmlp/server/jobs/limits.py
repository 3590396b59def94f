"""What a job's process may use, as the kernel enforces it, and what it does use."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

from nbmlp.server.jobs.protocol import Order

__all__ = ["before_last_words", "limit", "memory"]

_MB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Address space for last words; who has come that close to the limit has failed for it.
_RESERVE = 32 * _MB
#: Of -1000 to 1000: when the machine itself is short of memory, a job is to go, not the server.
_OOM_SCORE = "500"


def memory() -> tuple[int, int]:
    """Bytes of this process's address space, and those of them in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped, resident = file.read().split()[:2]
    return int(mapped) * _PAGE, int(resident) * _PAGE


def limit(order: Order) -> None:
    """Bounds that hold from here on; what is loaded already is not counted."""
    mapped, _ = memory()
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead, with a reason
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    space = mapped + order.memory_mb * _MB
    # CPU time: at the lower bound a signal says what it was, at the upper one it is over.
    _bound(resource.RLIMIT_CPU, spent + order.cpu_seconds, spent + order.cpu_seconds + 1)
    _bound(resource.RLIMIT_AS, space, space + _RESERVE)
    _bound(resource.RLIMIT_FSIZE, order.largest_file, order.largest_file)
    _bound(resource.RLIMIT_CORE, 0, 0)


def _bound(which: int, soft: int, hard: int) -> None:
    """Set a limit, but none above what somebody has set already."""
    most = resource.getrlimit(which)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(which, (soft, hard))


def before_last_words() -> bool:
    """Free the reserve; returns whether the address space was used up, or nearly so.

    Short of memory, any line of code may fail, with any error.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return soft != resource.RLIM_INFINITY and _peak() > soft - _RESERVE


def _peak() -> int:
    """The most bytes of address space that this process ever had."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(x.split()[1]) << 10 for x in file if x.startswith("VmPeak"))

"""What a job's process may use, as the kernel enforces it, and what it does use."""

from __future__ import annotations

import os
import resource
import signal

from nbmlp.server.jobs.protocol import Order

__all__ = ["limit", "memory"]

_MB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


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
    for which, bound in (
        (resource.RLIMIT_AS, mapped + order.memory_mb * _MB),
        (resource.RLIMIT_CPU, spent + order.cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, order.largest_file),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        # CPU time: at the lower bound a signal says what it was, at the upper one it is over.
        lower = max(1, bound - 1) if which == resource.RLIMIT_CPU else bound
        resource.setrlimit(which, (lower, bound))

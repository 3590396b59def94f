"""Faults on purpose, for the tests of crash safety; without the variable NBMLP_FAULT: nothing.

``NBMLP_FAULT=worker.rename:3:kill`` kills the worker right before its third rename. Actions are
``kill``, ``hang`` (in native code that keeps the interpreter's lock) and names of system errors
(``enospc``, ``eio``, ...). A fault happens once: it writes its name into the file that
NBMLP_FAULT_MARK names, and none happens once that file exists.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from nbmlp.io import atomic

__all__ = ["POINTS", "arm", "reach"]

#: Every place where a fault can happen, by the process that passes it.
POINTS = {
    "worker": (
        "start", "leased", "resumed", "epoch", "open", "flush", "fsync", "rename", "sync_folder",
        "renamed", "checkpoint", "model", "report",
    ),
    "server": (
        "begin", "commit", "committed", "spawn", "spawned", "remove", "adopt", "adopted",
        "sync_folder",
    ),
}  # fmt: skip

_passed: Counter[str] = Counter()


def _nothing(point: str) -> None:
    """Most processes have no faults."""


_reach: Callable[[str], None] = _nothing


def reach(point: str) -> None:
    """Pass a place by name; raises OSError or dies if a fault was asked for there."""
    _reach(point)


def arm(role: str) -> None:
    """Read the variables; `role` is ``"worker"`` or ``"server"``."""
    global _reach
    wanted = os.environ.get("NBMLP_FAULT")
    _passed.clear()
    if not wanted:
        _reach = atomic.on_step = _nothing
        return
    place, count, action = wanted.split(":")
    mark = Path(os.environ["NBMLP_FAULT_MARK"])

    def fail(point: str) -> None:
        name = f"{role}.{point}"
        _passed[name] += 1
        if name == place and _passed[name] == int(count) and _first(mark, wanted):
            _act(action)

    _reach = atomic.on_step = fail


def _first(mark: Path, wanted: str) -> bool:
    """Whether no fault has happened yet."""
    try:
        with mark.open("x") as file:
            file.write(wanted)
    except FileExistsError:
        return False
    return True


def _act(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "hang":
        ctypes.PyDLL(None).pause()
        return
    number = getattr(errno, action.upper())
    raise OSError(number, os.strerror(number))

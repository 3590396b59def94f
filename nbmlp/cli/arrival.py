"""Processes of mpiexec meet in MPI; who waits there for one that never comes is ended.

While MPI starts, it holds the interpreter's lock, so that no thread could end this process, and no
signal be answered: a small process beside it does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

__all__ = ["until_arrived"]

#: Waits for this process to have arrived, or ended: for the end of a pipe.
_WAIT = """import os, select, signal, sys
if not select.select([0], [], [], float(sys.argv[1]))[0]:
    os.write(2, sys.argv[3].encode())
    os.kill(int(sys.argv[2]), signal.SIGKILL)"""
#: Seconds within which processes that wait tell it one after the other: the first ends all.
_TURNS = 2.0


def until_arrived(pid: int, rank: int, size: int, seconds: float) -> Callable[[], None]:
    """Let the process `pid` be ended after so many seconds (0: never), unless it calls this.

    Parameters
    ----------
    pid : int
        This process.
    rank, size : int
        Which of how many it is.
    seconds : float
    """
    if not seconds or sys.platform == "win32":
        return lambda: None
    text = (
        f"nbmlp: not all of {size} processes have met within {seconds:g} seconds: see whether each"
        " has been started with the same MPI, and name a network interface that all share (mpiexec"
        " -iface NAME); the training of all has ended.\n"
    )
    after = seconds + _TURNS * rank / size
    waiting = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WAIT, str(after), str(pid), text],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, env={},
    )  # fmt: skip

    def arrived() -> None:
        waiting.communicate()  # closes the pipe

    return arrived

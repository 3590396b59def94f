"""Processes of jobs: started in groups of their own, found again, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from nbmlp.server.jobs.protocol import Order, send

__all__ = ["WorkerProcess", "birth", "kill_orphan", "oom_kills"]

#: What a job's process sees of the server's environment: no secrets.
_PASSED = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "NBMLP_FAULT", "NBMLP_FAULT_MARK",
    "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_THREADING_LAYER", "PATH",
    "PYTHONPATH", "TMPDIR", "TZ", "XDG_CACHE_HOME",
)  # fmt: skip
_THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: So that the server answers while jobs compute.
_NICE = 5
_TAIL = 4000


class WorkerProcess:
    """A process at work on one order.

    Parameters
    ----------
    order : Order

    Attributes
    ----------
    connection : Connection
        Its reports come here.
    pid : int
        Of the process and of its group.
    started : float
        See :func:`birth`: tells it from a later process of the same number.

    Raises
    ------
    OSError
        The system has no room for another process.
    """

    def __init__(self, order: Order) -> None:
        self._log = order.folder / "worker.log"
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self.connection = Connection(ours.detach())
            given = str(theirs.fileno()), str(os.getpid())
            command = [sys.executable, "-m", "nbmlp.server.jobs.worker", *given]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(order),
                pass_fds=(theirs.fileno(),), start_new_session=True, cwd=order.folder,
            )  # fmt: skip
        self.pid = self._process.pid
        self.started = birth(self.pid)
        with suppress(OSError):
            nice = os.getpriority(os.PRIO_PROCESS, 0) + _NICE
            os.setpriority(os.PRIO_PROCESS, self.pid, nice)
        with suppress(BrokenPipeError):  # it is dead already: so says its exit code
            send(self.connection, order.to_dict())

    def tell(self, wish: str) -> None:
        """Ask for ``"pause"``, ``"stop"`` or ``""``."""
        with suppress(OSError):
            send(self.connection, {"wish": wish})

    def kill(self) -> None:
        """End it and its group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code; a process that has hung up its pipe has no more business."""
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self.kill()  # whatever else it may have left in its group
        self.connection.close()
        return code

    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        with suppress(OSError), self._log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode("utf-8", "replace").strip()
        return ""


def _environment(order: Order) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    # A relative path would mean another place in the job's folder.
    for name in ("PYTHONPATH", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        if paths := [p for p in passed.get(name, "").split(os.pathsep) if p]:
            passed[name] = os.pathsep.join(str(Path(p).absolute()) for p in paths)
    return passed | {name: str(order.threads) for name in _THREADS}


def birth(pid: int) -> float:
    """When a process began, in the kernel's ticks since the start of the machine; -1: gone."""
    with suppress(OSError, ValueError, IndexError):
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return -1.0


def kill_orphan(pid: int, started: float) -> bool:
    """End the group of a process of a former server, if it still runs."""
    if birth(pid) != started or started < 0:
        return False
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return True


def oom_kills(system: Path = Path("/")) -> int:
    """How many processes the kernel has ended for want of memory, as far as it tells.

    Those of this process's own control group, else of the machine. `system` is where ``/proc``
    and ``/sys`` are.
    """
    group = ""
    with suppress(OSError):
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        group = next((x[4:] for x in lines if x.startswith("0::/")), "")
    for source in (f"sys/fs/cgroup/{group}/memory.events", "proc/vmstat"):
        with suppress(OSError, ValueError):
            for line in (system / source).read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0

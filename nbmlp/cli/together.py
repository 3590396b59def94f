"""Commands that several processes run together, as mpiexec starts them."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from nbmlp.cli.arrival import until_arrived
from nbmlp.cli.failures import FAILED, exit_code, say, sentence
from nbmlp.cli.reports import encoded, report
from nbmlp.errors import NbmlpError, missing_package
from nbmlp.train.hosts import EndedElsewhere
from nbmlp.train.hosts.copies import newest, second_writer
from nbmlp.train.hosts.exact import Unreachable
from nbmlp.train.hosts.watch import deadline_of, end_this_process, watching
from nbmlp.train.standard import Checkpoint, EarlyStopping

__all__ = ["LAUNCHED", "Launched", "going_on", "launched", "run", "write_on_two"]

#: How many processes there are, and which one this is, as MPICH's and Open MPI's launchers say.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
#: What `nbmlp train --hosts` tells the processes that it starts.
LAUNCHED = "NBMLP_LAUNCHED"
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_LONGEST_LEAVING = 10.0  # seconds
_LINGER = 2.0
#: What has to last as long as this process.
_kept: list[object] = []


class Launched(NamedTuple):
    """What the launcher tells the processes that it starts.

    Attributes
    ----------
    hosts : sequence of str
        Of each process.
    start : int
        0, or how often the training has been started again.
    """

    hosts: Sequence[str]
    start: int


def launched() -> Launched | None:
    """What the launcher has told; None where there is none."""
    told = os.environ.get(LAUNCHED)
    return None if told is None else Launched(**json.loads(told))


def _from_environment(names: Sequence[str], otherwise: int) -> int:
    """What mpiexec says by one of these variables."""
    return int(next((os.environ[name] for name in names if name in os.environ), otherwise))


def _alone() -> bool:
    return all(os.environ.get(name, "1") == "1" for name in _SIZES)


def _communicator() -> Any:
    """MPI's for all processes that were started together; None where this one is alone.

    Raises
    ------
    MissingPackageError
        There are several, and mpi4py is not installed.
    """
    if _alone():
        return None
    try:
        from mpi4py import MPI
    except ImportError:
        raise missing_package("training with mpiexec", "mpi4py", "mpi") from None
    return MPI.COMM_WORLD


def run(work: Callable[[Any], int], seconds: float | None = None) -> int:
    """The exit code of `work`, given the communicator of all processes or None for one alone.

    Processes watch each other meanwhile, with a deadline of so many seconds. An error of one is
    told once, by it, and ends all.
    """
    told = launched()
    if told is None and _alone():
        return work(None)
    rank = _from_environment(_RANKS, 0)
    tell = _nothing if told is None else functools.partial(report, rank)
    if told is not None:
        _follow_the_launcher(rank)
    tell("started", host=socket.gethostname(), pid=os.getpid())

    def lost(text: str, silent: list[int]) -> None:
        tell("lost", text=text, silent=silent)
        if not silent:  # MPI has failed: mpiexec shall see first whose end that was
            time.sleep(_LINGER)
        end_this_process("" if told else text, silent)

    def tried(comm: Any) -> int:
        try:
            code = work(comm)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, Unreachable) or type(error).__module__ == "mpi4py.MPI":
                lost(f"MPI has failed: {error}", [])  # who has died is found out elsewhere
            code = _said(error)
        tell("ended", code=code)
        if code and comm is not None:
            _leave(comm, code)
        return code

    # a launcher waits for them itself, and knows who is missing
    most = deadline_of(seconds) if told is None else 0.0
    arrived = until_arrived(os.getpid(), rank, _from_environment(_SIZES, 1), most)
    try:
        comm = _communicator()
    except NbmlpError as error:
        arrived()
        tell("ended", code=(code := _said(error)))
        return code
    with watching(comm, seconds, None if told is None else told.hosts, lost):
        arrived()
        tell("met")
        return tried(comm)


@contextmanager
def going_on(
    comm: Any, checkpoint: str | None, resume: bool, **how: Any
) -> Iterator[str | Path | None]:
    """The checkpoint to go on from, if that was asked for or the launcher has started again.

    how: as for :func:`newest`.
    """
    told = launched()
    again = told is not None and told.start > 0
    if checkpoint is None or not (resume or again):
        yield None
    elif comm is None and not again:
        yield checkpoint
    else:
        with newest(comm, checkpoint, **how) as found:
            yield checkpoint if found is None and resume else found


def write_on_two(comm: Any, checkpoint: str | None, callbacks: Iterable[object]) -> None:
    """Let a second process write checkpoints, too, where folders are each host's own."""
    if comm is None or checkpoint is None:
        return
    second = second_writer(comm, checkpoint)
    for callback in callbacks:
        if isinstance(callback, Checkpoint | EarlyStopping):  # whose weights checkpoints have
            callback.everywhere = comm.Get_rank() == second


def _nothing(what: str, **facts: Any) -> None:
    """There is no launcher to tell."""


def _said(error: BaseException) -> int:
    """The exit code for an error; it is told, unless another process does."""
    if isinstance(error, EndedElsewhere):
        return FAILED
    if isinstance(error, KeyboardInterrupt):
        say("interrupted.")
        return FAILED
    text = sentence(error)
    if text is None:
        traceback.print_exception(error)
        return FAILED
    say(text)
    return exit_code(error)


def _leave(comm: Any, code: int) -> None:
    """Wait for the others, who end as well; who waits for us elsewhere would do so for ever."""
    all_leave, end = comm.Ibarrier(), time.monotonic() + _LONGEST_LEAVING
    while not all_leave.Test():
        if time.monotonic() > end:
            os._exit(code)
        time.sleep(0.02)


#: Waits for the end of another process, by its end of a pipe, and reports it.
_MOURN = """import os
while os.read(0, 64): pass
os.write(2, bytes.fromhex({0!r}))"""


def _be_mourned(rank: int) -> subprocess.Popen[bytes]:
    """Have a small process report the end of this one, whatever ends it.

    mpiexec kills all when one has died, and may name any of them; whose end is told first, was it.
    """
    program = _MOURN.format(encoded(rank, "gone").hex())
    return subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", program], stdin=subprocess.PIPE, env={},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _follow_the_launcher(rank: int) -> None:
    """End with the process that has started this one; process 0 takes what the launcher writes."""
    _kept.append(_be_mourned(rank))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if rank == 0:
        threading.Thread(target=_obey, name="nbmlp launcher", daemon=True).start()


def _obey() -> None:
    """A line is Ctrl-C at the launcher; its end says nothing."""
    with suppress(OSError):
        while os.read(0, 1):
            os.kill(os.getpid(), signal.SIGINT)

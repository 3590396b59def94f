"""Signs of life between processes that train together: who gives none ends the training of all.

A thread of each process sends them, whatever the others do: a long step, a validation or a compiler
are no silence. Who waits for a process that was stopped, or that lies behind a cut cable, waits
within MPI, where nothing can be raised: the process is ended.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DEADLINE", "Signs", "Watch", "called", "deadline_of", "end_this_process", "heard_of",
    "watching",
]  # fmt: skip

#: Seconds of silence, unless NBMLP_DEADLINE says otherwise; 0: for ever.
DEADLINE = 60.0
_ALIVE, _DONE = 1, 2
_BEATS = 30  # per deadline, one a second at most
_LONGEST_BEAT = 1.0
_LATE = 1.2  # of the deadline
_SILENT = 1  # exit code


class Signs(Protocol):
    """A way for signs of life between processes."""

    def send(self, sign: int) -> bool:
        """Give one to every other process, without waiting; whether all are on their way."""

    def heard(self) -> list[tuple[int, int]]:
        """What has come since: (rank, sign) of each."""

    def close(self) -> None:
        """No more of them; all others say so, too."""


class MPISigns:
    """Signs as messages of a communicator of their own.

    They go the way that gradients go, so that what is heard here can also be trained with, and
    there is no port beside MPI's.
    """

    def __init__(self, comm: Any) -> None:
        self._comm, self._MPI = comm.Dup(), sys.modules[type(comm).__module__]
        others = [k for k in range(comm.Get_size()) if k != comm.Get_rank()]
        self._sends: dict[int, Any] = dict.fromkeys(others)
        self._told = set[int]()  # that this process is done
        self._sent, self._got = np.zeros(1, np.int8), np.zeros(1, np.int8)

    def send(self, sign: int) -> bool:
        """See :class:`Signs`; to whom the one before has not gone yet, none is sent.

        Nothing follows the last one, so that who has heard it has received all that there is: what
        is left when MPI ends, UCX complains of.
        """
        free = [k for k, before in self._sends.items() if before is None or before.Test()]
        for rank in (k for k in free if k not in self._told):
            self._sends[rank] = self._comm.Isend(self._sent, dest=rank, tag=sign)
        if sign == _DONE:
            self._told.update(free)
        return len(free) == len(self._sends)

    def heard(self) -> list[tuple[int, int]]:
        """See :class:`Signs`."""
        MPI, found = self._MPI, []
        status = MPI.Status()
        while self._comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG, status):
            rank, sign = status.Get_source(), status.Get_tag()
            self._comm.Recv(self._got, source=rank, tag=sign)
            found.append((rank, sign))
        return found

    def close(self) -> None:
        """See :class:`Signs`."""
        for sent in self._sends.values():
            sent.Wait()
        self._comm.Free()


class Watch:
    """Who has been heard of, and when silence has lasted too long.

    Silence is counted in one's own pauses, never by the clock: while this process, its machine or
    all of them stand still, no time passes.

    Parameters
    ----------
    rank : int
        Of this process.
    names : sequence of str
        Of the host of each process.
    seconds : float
        Of silence that end the training.
    signs : Signs
    lost : callable
        Given a sentence and the silent ranks; ends this process.
    """

    def __init__(
        self,
        rank: int,
        names: Sequence[str],
        seconds: float,
        signs: Signs,
        lost: Callable[[str, list[int]], None],
    ) -> None:
        self._rank, self._names, self._seconds, self._signs = rank, names, seconds, signs
        self._lost = lost
        self.interval = min(_LONGEST_BEAT, seconds / _BEATS)
        self._silence = np.zeros(len(names))  # of each process, in seconds of pauses
        self._done: set[int] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbmlp signs of life", daemon=True)

    def start(self) -> None:
        """Begin to give signs, and to expect them."""
        self._thread.start()

    def close(self) -> None:
        """Wait until all are done, or until who is not has been silent for too long."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._turns()
        except Exception as error:  # MPI's: the way to somebody is broken
            self._lost(f"MPI has failed ({error}); the training of all has ended.", [])

    def _turns(self) -> None:
        pause = 0.0
        while not self.turn(pause):
            if self._closing.is_set():  # the others are about to end, too
                pause = self.interval / 10
                time.sleep(pause)
            else:
                pause = self.interval
                self._closing.wait(pause)
        self._signs.close()

    def turn(self, pause: float) -> bool:
        """Give a sign, hear the others', after such a pause; whether all are done."""
        closing = self._closing.is_set()
        told = self._signs.send(_DONE if closing else _ALIVE)
        self._silence += pause
        for rank, sign in self._signs.heard():
            self._silence[rank] = 0.0
            if sign == _DONE:
                self._done.add(rank)
        self._silence[[self._rank, *self._done]] = 0.0
        silent = np.flatnonzero(self._silence >= self._seconds)
        if len(silent):
            self._end(silent)
        return closing and told and len(self._done) == len(self._names) - 1

    def called(self, rank: int) -> str:
        """A process in a sentence."""
        return f"process {rank} on {self._names[rank]}"

    def heard(self) -> NDArray[np.bool_]:
        """Of each process, whether it has given a sign within half of the deadline."""
        return self._silence < self._seconds / 2

    def _end(self, silent: NDArray[np.int64]) -> None:
        """One of those who hear each other tells it; the rest only if that one does not."""
        teller = int(np.argmin(self._silence >= self._seconds))
        late = self._silence[silent].max() >= self._seconds * _LATE
        if teller != self._rank and not late:
            return
        who = " and ".join(self.called(int(k)) for k in silent)
        verb = "have" if len(silent) > 1 else "has"
        self._lost(
            f"{who} {verb} given no sign of life for {self._seconds:g} seconds: stopped, or cut"
            " off from the network; the training of all has ended.",
            [int(k) for k in silent],
        )


def deadline_of(seconds: float | None = None) -> float:
    """The deadline given, else that which NBMLP_DEADLINE names, else the usual one."""
    if seconds is not None:
        return seconds
    try:
        return max(0.0, float(os.environ["NBMLP_DEADLINE"]))
    except (KeyError, ValueError):
        return DEADLINE


def end_this_process(sentence: str, silent: list[int]) -> None:
    """Say it, and end without waiting for anything, MPI least of all."""
    if sentence:
        os.write(2, f"nbmlp: {sentence}\n".encode())
    os._exit(_SILENT)


_current: list[Watch] = []


@contextmanager
def watching(
    comm: Any,
    seconds: float | None = None,
    names: Sequence[str] | None = None,
    lost: Callable[[str, list[int]], None] = end_this_process,
) -> Iterator[Watch | None]:
    """Give and expect signs of life meanwhile; all processes of `comm` come here.

    A watch that is on already goes on. None where this process is alone, the deadline is 0, or
    MPI was started in a way that allows no second thread.
    """
    seconds = deadline_of(seconds)
    if _current or comm is None or comm.Get_size() == 1 or not seconds or not _threads(comm):
        yield _current[0] if _current else None
        return
    MPI = sys.modules[type(comm).__module__]
    names = comm.allgather(MPI.Get_processor_name()) if names is None else names
    watch = Watch(comm.Get_rank(), names, seconds, MPISigns(comm), lost)
    _current.append(watch)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()
        _current.clear()


def called(rank: int) -> str:
    """A process in a sentence, with its host where that is known."""
    return _current[0].called(rank) if _current else f"process {rank}"


def heard_of() -> NDArray[np.bool_] | None:
    """Of each process, whether it has been heard of lately; None where nobody listens."""
    return _current[0].heard() if _current else None


def _threads(comm: Any) -> bool:
    MPI = sys.modules[type(comm).__module__]
    return bool(MPI.Query_thread() >= getattr(MPI, "THREAD_MULTIPLE", sys.maxsize))

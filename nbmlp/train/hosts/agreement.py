"""A training by several processes, on one host or many: what they agree on, by MPI.

All have all settings and rows, and each sums the gradients of some shards. mpi4py comes with the
communicator that a caller gives; nothing here imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import NbmlpError, SpecError
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.callbacks import CallbackList, Progress, Run
from nbmlp.train.engine import Engine, Explain
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.hosts.exact import TreeSum, Unreachable
from nbmlp.train.hosts.facts import facts_of
from nbmlp.train.hosts.fence import FENCE, NO_FENCE, Fence, has_majority, number_of
from nbmlp.train.hosts.periodic import AveragedEngine
from nbmlp.train.hosts.reading import Reading
from nbmlp.train.hosts.watch import called, heard_of
from nbmlp.train.interrupt import Interrupted

__all__ = ["ALONE", "EndedElsewhere", "Hosts"]


class EndedElsewhere(NbmlpError):
    """Another process has ended the training of all."""


class Hosts(Reading):
    """All who train together.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        None: this process alone.
    train : TrainSpec

    Attributes
    ----------
    rank, size : int
        Which of how many this process is.

    Raises
    ------
    SpecError
        `comm` is no communicator, or the training can't be divided among so many.
    """

    def __init__(self, comm: Any, train: TrainSpec) -> None:
        self._comm, self.rank, self.size, self._shards = comm, 0, 1, train.shards
        self._periodic = train.sync == "periodic"
        #: Why a callback has interrupted the training, until all know it.
        self.asked: str | None = None
        #: What is called by all where some ask, with the ranks of these.
        self.answer: Callable[[list[int]], None] = lambda ranks: None
        self._asks = False
        if comm is None:
            return
        try:
            self.rank, self.size = comm.Get_rank(), comm.Get_size()
        except AttributeError:
            raise SpecError(
                f"comm={comm!r} must be a communicator of mpi4py, e.g. MPI.COMM_WORLD."
            ) from None
        if self.size > 1:
            with self.told():
                self._check(train)

    def _check(self, train: TrainSpec) -> None:
        if train.shards < self.size:
            raise SpecError(
                f"shards={train.shards} cannot be divided among {self.size} processes: give"
                f" shards={self.size} or more, a multiple of it where all are equally fast."
            )
        if train.on_nonfinite == "ignore":
            raise SpecError("on_nonfinite='ignore' does not go with several processes.")
        if self._periodic and train.reduction == "sum" and train.shards % self.size:
            raise SpecError(
                f"reduction='sum' needs equal parts where weights are averaged: give shards= a"
                f" multiple of {self.size}."
            )
        MPI = sys.modules[type(self._comm).__module__]
        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
            raise SpecError(
                "MPI was started for one thread only: let mpi4py start it with"
                " mpi4py.rc.thread_level = 'multiple', its default."
            )

    def engine(
        self, spec: ModelSpec, train: TrainSpec, state: State, rows: Rows, threads: int,
        whole: bool, explain: Explain, history: History,
    ) -> Engine:  # fmt: skip
        """That of this process: see :class:`Engine`, and its `deterministic` for `whole`."""
        if self.size > 1 and self._periodic:
            return AveragedEngine(
                self, self._comm, history, spec, train, state, rows, threads, explain
            )
        return Engine(
            spec, train, state, rows, threads, whole, explain=explain,
            exchange=None if self.size == 1 else TreeSum(self._comm, train.shards, self),
        )  # fmt: skip

    def callbacks(self, given: Iterable[object]) -> CallbackList:
        """Those of this process: all of them where it is process 0, else what is for everybody."""
        found = CallbackList(given)  # what is wrong with them is wrong everywhere
        if self.size == 1:
            return found
        if self.rank == 0:
            return _Leading(found.callbacks, self)
        return CallbackList([callback for callback in found.callbacks if callback.everywhere])

    # -- what all agree on

    def agree(self, value: Any = None, error: BaseException | None = None) -> list[Any]:
        """What each process says here, in their order; all come to this place, or tell an error.

        Raises
        ------
        EndedElsewhere
            Another process has told an error.
        """
        if self.size == 1:
            return [value]
        told = None if error is None else f"{type(error).__name__}: {error}"
        while True:
            said = self._comm.allgather((told, value, self._asks))
            for rank, (other, *_) in enumerate(said):
                if other is not None and error is None:
                    raise EndedElsewhere(f"process {rank} has ended the training of all: {other}")
            asking = [rank for rank, (*_, asks) in enumerate(said) if asks]
            if asking and error is None:
                self.answer(asking)
            if self._asks or error is not None or not asking:
                return [value for _, value, _ in said]

    def ask(self) -> None:
        """Ask for what others keep; they :attr:`answer` where they agree on something next."""
        self._asks = True
        try:
            self.agree()
        finally:
            self._asks = False

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the others, where they agree on something next, of an error that is raised here.

        All have come to its end before anybody goes on.
        """
        try:
            yield
        except (EndedElsewhere, Unreachable):
            raise
        except BaseException as error:
            self.agree(error=error)
            raise
        self.agree()

    def interruptible(self, check: Callable[[], None]) -> Callable[[], None]:
        """A check that interrupts all as soon as it, or a callback, interrupts one.

        Where weights are averaged, as soon as all meet for the next average.
        """

        def checked() -> None:
            try:
                check()
            except Interrupted as end:
                self.asked = str(end)
            if self._periodic:
                return
            for reason in self.agree(self.asked):
                if reason is not None:
                    raise Interrupted(reason)

        return check if self.size == 1 else checked

    def fence(self, paths: Sequence[Path], carried: Mapping[str, NDArray[Any]]) -> Fence:
        """Who may replace these checkpoints, in a training that goes on so."""
        if self.size == 1 and FENCE not in carried and not any(number_of(p)[0] for p in paths):
            return NO_FENCE
        said = self.agree(Fence.after(paths, carried))
        return Fence(max(number for number, _ in said), said[0][1], self._has_majority)

    def _has_majority(self) -> bool:
        away = np.flatnonzero(~heard) if (heard := heard_of()) is not None else ()
        return has_majority(self.size, [int(k) for k in away], self._shards)

    def check_alike(self, spec: ModelSpec, train: TrainSpec, rows: Rows) -> None:
        """Refuse to train where processes differ in what has to be the same.

        Raises
        ------
        SpecError
            By all of them.
        """
        self.check_same({} if self.size == 1 else facts_of(spec, train, rows), shown=True)

    def check_same(self, facts: Mapping[str, Any], *, shown: bool = False) -> None:
        """Refuse to train where one of these differs; shown: texts are, in the sentence.

        Raises
        ------
        SpecError
            By all of them.
        """
        for rank, other in enumerate(said := self.agree(facts)):
            for what, value in other.items():
                if value != (first := said[0][what]):
                    which = f": {value}, not {first}" if shown and isinstance(value, str) else ""
                    raise SpecError(f"{called(rank)} has another {what} than {called(0)}{which}.")

    @contextmanager
    def led(self, state: State) -> Iterator[None]:
        """If weights are changed by process 0 meanwhile, let all have them."""
        leads = self.rank == 0 and self.size > 1
        before = state.theta.copy() if leads else state.theta
        yield
        if any(self.agree(leads and not np.array_equal(before, state.theta))):
            for arena in (state.theta, state.average):
                self._comm.Bcast(arena, root=0)


class _Leading(CallbackList):
    """Callbacks that interrupt all, at the next place where they agree."""

    def __init__(self, given: Iterable[object], hosts: Hosts) -> None:
        super().__init__(given)
        self._hosts = hosts

    def on_progress(self, run: Run, progress: Progress) -> None:
        """See :class:`CallbackList`."""
        try:
            super().on_progress(run, progress)
        except Interrupted as end:
            self._hosts.asked = str(end)

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """See :class:`CallbackList`."""
        try:
            super().on_epoch_end(run, record)
        except Interrupted as end:
            run.stop(str(end))


ALONE: Hosts = Hosts(None, TrainSpec())

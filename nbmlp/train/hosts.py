"""A training by several processes, on one host or many: what they add up and agree on, by MPI.

All have all settings and rows, and each sums the gradients of some shards. mpi4py comes with the
communicator that a caller gives; nothing here imports it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import NbmlpError, SpecError
from nbmlp.plan import Shards
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.callbacks import CallbackList, Progress, Run
from nbmlp.train.exchange import Exchange
from nbmlp.train.history import EpochRecord
from nbmlp.train.interrupt import Interrupted
from nbmlp.workspace import Workspace

__all__ = ["ALONE", "EndedElsewhere", "Hosts"]


class EndedElsewhere(NbmlpError):
    """Another process has ended the training of all."""


class Hosts:
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
        self._comm, self.rank, self.size = comm, 0, 1
        #: Why a callback has interrupted the training, until all know it.
        self.asked: str | None = None
        if comm is None:
            return
        try:
            self.rank, self.size = comm.Get_rank(), comm.Get_size()
        except AttributeError:
            raise SpecError(
                f"comm={comm!r} must be a communicator of mpi4py, e.g. MPI.COMM_WORLD."
            ) from None
        if self.size > 1:
            self._check(train)

    def _check(self, train: TrainSpec) -> None:
        if train.shards < self.size:
            raise SpecError(
                f"shards={train.shards} cannot be divided among {self.size} processes: give"
                f" shards={self.size} or more, a multiple of it where all are equally fast."
            )
        if train.on_nonfinite == "ignore":
            raise SpecError("on_nonfinite='ignore' does not go with several processes.")
        MPI = sys.modules[type(self._comm).__module__]
        if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
            raise SpecError(
                "MPI was started for one thread only: let mpi4py start it with"
                " mpi4py.rc.thread_level = 'multiple', its default."
            )

    def exchange(self, train: TrainSpec) -> Exchange | None:
        """What an engine's updates wait for; None of a process alone."""
        return None if self.size == 1 else _Sum(self._comm, train.shards)

    def callbacks(self, given: Iterable[object]) -> CallbackList:
        """Those of this process: all of them where it is process 0, else none."""
        found = CallbackList(given)  # what is wrong with them is wrong everywhere
        if self.size == 1:
            return found
        return _Leading(found.callbacks, self) if self.rank == 0 else CallbackList()

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
        said = self._comm.allgather((told, value))
        for rank, (other, _) in enumerate(said):
            if other is not None and error is None:
                raise EndedElsewhere(f"process {rank} has ended the training of all: {other}")
        return [value for _, value in said]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell the others, where they agree on something next, of an error that is raised here."""
        try:
            yield
        except EndedElsewhere:
            raise
        except BaseException as error:
            self.agree(error=error)
            raise

    def interruptible(self, check: Callable[[], None]) -> Callable[[], None]:
        """A check that interrupts all as soon as it, or a callback, interrupts one."""

        def checked() -> None:
            try:
                check()
            except Interrupted as end:
                self.asked = str(end)
            for reason in self.agree(self.asked):
                if reason is not None:
                    raise Interrupted(reason)

        return check if self.size == 1 else checked

    def check_alike(self, spec: ModelSpec, train: TrainSpec, rows: Rows) -> None:
        """Refuse to train where processes differ in what has to be the same.

        Raises
        ------
        SpecError
            By all of them.
        """
        facts = {} if self.size == 1 else _facts(spec, train, rows)
        for rank, other in enumerate(said := self.agree(facts)):
            for what, value in other.items():
                if value != said[0][what]:
                    raise SpecError(f"process {rank} has another {what} than process 0.")

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


ALONE = Hosts(None, TrainSpec())


def _facts(spec: ModelSpec, train: TrainSpec, rows: Rows) -> dict[str, Any]:
    """What has to be the same in all processes; of the rows some are looked at, of targets all."""
    some = rows.take(np.linspace(0, len(rows) - 1, 64).astype(np.int64))
    x = some.x if isinstance(some.x, np.ndarray) else np.zeros(0)
    arrays = [np.ascontiguousarray(a) for a in (x, rows.y, rows.weights) if a is not None]
    sums = [zlib.crc32(array.data) for array in arrays]
    return {
        "version of nbmlp": sys.modules[__name__.partition(".")[0]].__version__,
        "instruction set": tuning.detect().name,
        "net": spec.to_dict(),
        "setting of the training": train.with_(threads=None).to_dict(),
        "set of rows": (rows.x.shape, str(rows.kind), rows.scale, sums),
    }


class _Sum(Exchange):
    """The sum over all processes: each adds up a slice of the gradient of all, by the tree.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    shards : int
        Of all; each process has as many of them that follow each other as any other, or one more.
    """

    def __init__(self, comm: Any, shards: int) -> None:
        super().__init__(self._sum)
        rank, size = comm.Get_rank(), comm.Get_size()
        self._comm, self._rank = comm, rank
        bounds = [k * shards // size for k in range(size + 1)]
        self._all = [Shards(shards, *bounds[k : k + 2]) for k in range(size)]
        self.shards, self.paced = self._all[rank], True

    def common(self, rows: int) -> int:
        """The fewest that anybody wants to take next."""
        return int(min(self._comm.allgather(rows)))

    def bind(self, work: Workspace) -> None:
        """See :class:`Exchange`."""
        super().bind(work)
        n, size = work.gradient.size, len(self._all)
        self._parts = work.buffers.gradients.reshape(-1, n)[: len(self.shards.subtrees)]
        self._shard_sums = work.buffers.shard_sums
        panel = tuning.PANEL_BYTES // work.gradient.itemsize
        ends = [k * (n // panel) // size * panel for k in range(size)] + [n]
        self._slices = [slice(*ends[k : k + 2]) for k in range(size)]
        lengths = np.diff(ends)
        mine = int(lengths[self._rank])
        self._sent = np.empty(self._parts.size, work.gradient.dtype)
        self._sent_counts = lengths * len(self._parts)
        counts = np.array([len(own.subtrees) for own in self._all])
        self._got = np.empty((int(counts.sum()), mine), work.gradient.dtype)
        self._got_counts, self._lengths = counts * mine, lengths

    def _sum(self, gradient: NDArray[Any], sums: NDArray[np.float64]) -> None:
        if lost := self._gather_losses(sums[1]):
            sums[1] = lost
            return
        self._send_parts()
        total = self._added()
        gradient[self._slices[self._rank]] = total
        self._comm.Allgatherv(
            [total, self._lengths[self._rank]], [gradient, (self._lengths, _starts(self._lengths))]
        )

    def _gather_losses(self, lost: float) -> float:
        """Everybody's sums of losses; returns how many cannot go on."""
        own = self._shard_sums[self.shards.first : self.shards.end]
        counts = np.array([2 * (s.end - s.first) + 1 for s in self._all])
        got = np.empty(counts.sum())
        self._comm.Allgatherv(np.append(own.ravel(), lost), [got, (counts, _starts(counts))])
        ends = np.cumsum(counts)
        self._shard_sums[:] = np.delete(got, ends - 1).reshape(-1, 2)
        return float(got[ends - 1].sum())

    def _send_parts(self) -> None:
        """Each process gets its slice of all subtrees here."""
        starts = _starts(self._sent_counts)
        for start, own in zip(starts, self._slices, strict=True):
            parts = self._parts[:, own]
            self._sent[start : start + parts.size] = parts.ravel()
        self._comm.Alltoallv(
            [self._sent, (self._sent_counts, starts)],
            [self._got.ravel(), (self._got_counts, _starts(self._got_counts))],
        )

    def _added(self) -> NDArray[Any]:
        """The upper end of the tree, of this process's slice."""
        subtrees = [tree for own in self._all for tree in own.subtrees]
        parts = dict(zip(subtrees, self._got, strict=True))
        count = self.shards.count

        def add(first: int, span: int) -> NDArray[Any]:
            end = min(first + span, count)
            if (first, end) in parts:
                part: NDArray[Any] = parts[first, end]
                return part
            left = add(first, span // 2)
            if first + span // 2 < count:
                left += add(first + span // 2, span // 2)
            return left

        return add(0, 1 << (count - 1).bit_length())


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts)[:-1]))

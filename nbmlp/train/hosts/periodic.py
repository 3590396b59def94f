"""Updates of each process's own, on the rows of its shards, and averages of all weights.

Between two averages nobody waits for anybody. All make as many updates in an epoch, so that
schedules and steps are those of all; whoever has fewer rows waits at its end.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import NonFiniteError, SpecError, TrainingWarning
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.engine import Engine, Explain
from nbmlp.train.history import History
from nbmlp.train.hosts.exact import Unreachable
from nbmlp.train.hosts.parts import divide, rate_of_all, seed_of
from nbmlp.train.interrupt import Interrupted

__all__ = ["AveragedEngine", "Mean", "enough_updates"]

#: Share of the time that averages may take, where their distance is chosen.
_SHARE = 0.05
#: Updates before updates are timed for the first time.
_FIRST = 4


class Partners(Protocol):
    """All who train together, as far as they are asked here."""

    rank: int
    size: int
    asked: str | None

    def agree(self, value: Any = None) -> list[Any]:
        """What each says."""


def enough_updates(mean: float, update: float, steps: int, at_end: int) -> int:
    """Updates from one average to the next, so that averages take a small share of the time.

    Parameters
    ----------
    mean, update : float
        Seconds of an average of as many numbers as there are parameters, and of an update.
    steps : int
        Updates of an epoch.
    at_end : int
        Averages at the end of each epoch. Where these alone take more, there are no others.
    """
    left = steps * update * _SHARE / (1 - _SHARE) - at_end * mean
    return -(-steps // (1 + int(max(left, 0.0) / mean)))


class Mean:
    """The mean over all processes, weighted by their rows: each makes a slice of it.

    Every number is made in one place and sent to all, so all have the same bits. Where all have the
    same number, it is their mean, bit for bit: what is kept as it is stays as it is.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    rows : sequence of int
        Of each process.
    """

    def __init__(self, comm: Any, rows: list[int]) -> None:
        self._comm, self._rank, self._size = comm, comm.Get_rank(), len(rows)
        self._shares = [n / sum(rows) for n in rows]

    def take(self, array: NDArray[Any]) -> None:
        """Replace an array in one piece, (n,) or more, by the mean of all."""
        flat = array.reshape(-1)
        panel, n, size = tuning.PANEL_BYTES // flat.itemsize, flat.size, self._size
        starts = np.array([k * (n // panel) // size * panel for k in range(size)])
        lengths = np.diff(starts, append=n)
        mine = int(lengths[self._rank])
        parts = np.empty((size, mine), flat.dtype)
        got = np.full(size, mine), np.arange(size) * mine
        try:
            self._comm.Alltoallv([flat, (lengths, starts)], [parts.reshape(-1), got])
            self._comm.Allgatherv([self._mean(parts), mine], [flat, (lengths, starts)])
        except RuntimeError as error:  # as mpi4py's are
            raise Unreachable(f"MPI could not average the weights of all: {error}.") from None

    def _mean(self, parts: NDArray[Any]) -> NDArray[Any]:
        first, *others = parts
        mean: NDArray[Any] = first.copy()
        for part, share in zip(others, self._shares[1:], strict=True):
            part -= first
            part *= share
            mean += part
        return mean


class _Said(NamedTuple):
    """What a process tells the others where they meet."""

    asked: str | None
    lost: bool
    mean_seconds: float
    update_seconds: float
    loss: float
    weight: float


class AveragedEngine(Engine):
    """Updates on the rows of one's own shards, whose weights all average now and then.

    Its steps are those of all, its losses too once an epoch is over. What the optimizer keeps, and
    the moving average of the weights, is averaged at the end of each epoch.

    Parameters
    ----------
    hosts : Partners
    comm : mpi4py.MPI.Comm
        Theirs.
    history : History
        Says how often weights are averaged, of a training that is gone on with; is told of it.
    spec, train, state, rows, threads, explain
        As those of :class:`Engine`; the rows of all.
    """

    def __init__(
        self,
        hosts: Partners,
        comm: Any,
        history: History,
        spec: ModelSpec,
        train: TrainSpec,
        state: State,
        rows: Rows,
        threads: int,
        explain: Explain,
    ) -> None:
        parts = divide(train, len(rows), hosts.size)
        own = parts[hosts.rank]
        self._hosts, self._history, self._all_rows = hosts, history, len(rows)
        self._steps = max(part.steps for part in parts)
        self._rate, self._over = rate_of_all(train, len(rows), parts), False
        self._loss, self._due = math.nan, 0
        local = train.with_(seed=seed_of(train.seed, own), batch_size=own.batch, shards=own.shards)
        rows = rows.between(own.start, own.end)
        super().__init__(spec, local, state, rows, threads, explain=explain)
        self._mean = Mean(comm, [part.end - part.start for part in parts])
        self._every = train.sync_every or history.sync_every
        self._mean_seconds = self._seconds = 0.0
        self._timed_from = 0
        self._note()

    def _note(self) -> None:
        """Write down what the result depends on."""
        history, size = self._history, self._hosts.size
        if self._hosts.rank == 0 and history.sync_hosts not in (0, size):
            warnings.warn(
                f"{history.sync_hosts} processes averaged their weights so far, and {size} go on:"
                " the result is that of neither.", TrainingWarning, stacklevel=2,
            )  # fmt: skip
        history.sync_hosts, history.sync_every = size, self._every

    # -- as all see it

    @property
    def learning_rate(self) -> float:
        """For the batches of all."""
        return self._rate

    @property
    def steps_per_epoch(self) -> int:
        """Of the one who makes most."""
        return self._steps

    @property
    def rows_done(self) -> int:
        """Of all, as far as one knows from oneself."""
        if self._over:
            return self._all_rows
        done = self._job.rows_done * self._all_rows // len(self.rows)
        return min(done, self._all_rows - 1)

    @property
    def between_batches(self) -> bool:
        """Never: within an epoch everybody has weights of its own."""
        return False

    @property
    def mean_loss(self) -> float:
        """That of all once an epoch is over; before that one's own."""
        return self._loss if self._over else super().mean_loss

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See :meth:`Engine.resume`; only between two epochs."""
        if "rows" in arrays:
            raise SpecError(
                "the checkpoint was written within an epoch: sync='periodic' goes on from the end"
                " of one only."
            )
        super().resume(arrays)

    # -- updates

    def start_epoch(
        self, rates: NDArray[np.float64], order: NDArray[np.int64] | None = None,
        decays: NDArray[np.float64] | None = None, drops: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """See :meth:`Engine.start_epoch`."""
        super().start_epoch(rates, order, decays, drops)
        self._over, self._due = False, self._every or _FIRST

    def region(self, most: int | None = None) -> bool:
        """Train for a moment, at most up to where all meet; returns whether the epoch is over.

        Raises
        ------
        NonFiniteError, Interrupted
            By all, where they meet next; they then have the mean of their last good weights.
        """
        if not self._every and not self._mean_seconds:
            self._mean_seconds = self._time_mean()
        due = min(self._due, self._steps)
        rows = min(due * self.batch, len(self.rows))
        left = rows - self._job.rows_done
        failed = None
        if left > 0:
            try:
                self._timed(left if most is None else min(left, most))
            except NonFiniteError as error:
                failed = error
        if failed is None and self._job.rows_done < rows:
            return False
        self._meet(due, failed)
        return self._over

    def _timed(self, most: int) -> None:
        began = time.perf_counter()
        super().region(most)
        self._seconds += time.perf_counter() - began

    # -- where all meet

    def _meet(self, due: int, failed: NonFiniteError | None) -> None:
        """All have made so many updates of the epoch, or all that they have rows for."""
        said = self._hosts.agree(self._say(due, failed))
        self._end_with(said, due, failed)
        chosen = not self._every
        if chosen and not self._choose(said, due):
            return
        if due == self._steps:
            self._end_epoch(said)
        elif due % self._every == 0:
            self._mean.take(self.state.theta)
            self.refresh()
        self._due = (due // self._every + 1) * self._every
        if chosen:
            self._tell()  # last: a warning may be an error, and others must not wait then

    def _say(self, due: int, failed: NonFiniteError | None) -> _Said:
        now = self._job.cursor
        update = self._seconds / max(due - self._timed_from, 1)
        return _Said(
            self._hosts.asked, failed is not None, self._mean_seconds, update, now.loss, now.weight
        )

    def _end_with(self, said: list[_Said], due: int, failed: NonFiniteError | None) -> None:
        """Raise what has ended the training of anybody."""
        asked = next((told.asked for told in said if told.asked is not None), None)
        if asked is None and not any(told.lost for told in said):
            return
        self._average_all(due)
        if failed is not None:
            raise failed
        if any(told.lost for told in said):
            raise NonFiniteError(
                "another of those who train together has met a value that is not finite, and says"
                " where.", step=self.state.step,
            )  # fmt: skip
        assert asked is not None
        raise Interrupted(asked)

    def _end_epoch(self, said: list[_Said]) -> None:
        self._average_all(self._steps)
        weight = sum(told.weight for told in said)
        self._loss = sum(told.loss for told in said) / weight if weight else math.nan
        self._over = True

    def _average_all(self, due: int) -> None:
        """All that there is, so that all have one state, behind so many updates of an epoch."""
        state = self.state
        for array in (state.theta, state.slots, state.average, self.work.block_norms):
            if array.size:
                self._mean.take(array)
        state.step = self._job.first_step + due
        self.refresh()

    # -- how often

    def _time_mean(self) -> float:
        """Seconds that an average takes; that of copies, so that nothing changes."""
        times = []
        for _ in range(3):
            self._hosts.agree()  # whoever has failed meanwhile does not come
            began, theta = time.perf_counter(), self.state.theta.copy()
            self._hosts.agree()
            self._mean.take(theta)
            times.append(time.perf_counter() - began)
        return sorted(times)[1]

    def _choose(self, said: list[_Said], due: int) -> bool:
        """How often, once updates have been timed for about as long; returns whether it is known.

        There has been no average so far, so it is as many updates as were made, or more: who asks
        for as many has the same bits.
        """
        mean = max(told.mean_seconds for told in said)
        update = max(told.update_seconds for told in said)
        at_end = 1 + len(self.state.slots) + (self.state.average.size > 0)
        every = enough_updates(mean, update, self._steps, at_end)
        if every >= 2 * due and due < self._steps:
            self._due, self._seconds, self._timed_from = 2 * due, 0.0, due
            return False
        self._every = self._history.sync_every = min(max(every, due), self._steps)
        return True

    def _tell(self) -> None:
        if self._hosts.rank == 0:
            again = f"sync_every={self._every}"
            warnings.warn(
                f"weights are averaged every {self._every} updates: {again} repeats this training"
                f" on {self._hosts.size} processes. Another number of either gives another result.",
                TrainingWarning, stacklevel=2,
            )  # fmt: skip

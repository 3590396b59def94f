"""Nets of an ensemble on the workers of a Dask cluster, if joblib's backend of the moment is one.

Rows go to all workers once. Between two stretches a net is here: when a worker dies, the stretches
that it was at are begun again elsewhere, to the same bits.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any, NamedTuple, Protocol

from nbmlp import tuning
from nbmlp.tabular.criteria import Criterion
from nbmlp.tabular.restart import bring_back
from nbmlp.tabular.trainee import TIME_LIMIT, Fold, Rest, Trainee
from nbmlp.train.history import EpochRecord
from nbmlp.train.interrupt import Interrupted

__all__ = ["Cluster", "client_of_joblib"]

#: Seconds between two looks at Ctrl-C and at the time.
_LOOK = 0.2
#: Most seconds that a net trains before it comes back ...
_STRETCH = 5.0
#: ... and that is waited for those which the time limit ends there.
_LATE = 5.0
#: Seconds of silence after which the rows are looked for.
_SILENCE = 10.0


class Course(Protocol):
    """The training that the nets belong to."""

    def check(self, late: float = 0.0) -> None:
        """Raise Interrupted where it is to end, if for the time then so many seconds late."""

    def goes_on(self) -> bool:
        """Whether nets are to be trained further."""

    def left(self) -> float:
        """Seconds to the time limit; negative behind it."""

    def stretch(self) -> float:
        """Seconds after which a net is to rest."""

    def take(self, trainee: Trainee, records: Sequence[EpochRecord]) -> None:
        """A net rests, and has had such epochs since its last rest."""


def client_of_joblib() -> Any | None:
    """The Dask client of ``joblib.parallel_config("dask")``.

    None where no such backend is in use, and within a worker's task: other workers have tasks of
    their own.
    """
    parallel = sys.modules.get("joblib.parallel")  # whoever has set a backend has loaded it
    kind = None if parallel is None else parallel.BACKENDS.get("dask")
    if parallel is None or kind is None:
        return None
    backend = parallel.get_active_backend()[0]
    return None if not isinstance(backend, kind) or _in_a_task() else backend.client


def _in_a_task() -> bool:
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


class _Stretch(NamedTuple):
    """What a net is away for: which it is, and where the rows were when it was sent."""

    trainee: Trainee
    rows: Any


class Cluster:
    """Workers that bring nets forward, stretch by stretch.

    Parameters
    ----------
    client : distributed.Client
    folds : sequence of Fold
    criterion : Criterion
    most : int or None
        Nets to train at once; None: as many as the workers have threads.
    """

    def __init__(
        self, client: Any, folds: Sequence[Fold], criterion: Criterion, most: int | None
    ) -> None:
        self._client, self._most = client, most
        self._rows = [(fold, criterion) for fold in folds]
        self._executor = client.get_executor(pure=False)
        self._scatter()

    def _scatter(self) -> None:
        """Hand the rows to all workers, which fetch them from one another."""
        self._there = self._client.scatter(self._rows, broadcast=True, hash=False)
        self._heard = time.monotonic()

    def bring(self, trainees: Sequence[Trainee], until: int, course: Course) -> None:
        """Train nets to that epoch or to their ends.

        Parameters
        ----------
        trainees : sequence of Trainee
        until : int
        course : Course
        """
        waiting, away = deque(trainees), dict[Future[Rest], _Stretch]()
        try:
            while waiting or away:
                course.check(_LATE)
                while waiting and len(away) < self._places() and course.goes_on():
                    trainee = waiting.popleft()
                    away[self._send(trainee, until, course)] = _Stretch(trainee, self._there)
                if not away:
                    break
                back = wait(away, _LOOK, FIRST_COMPLETED).done
                self._look_for_rows(bool(back))
                for future in back:
                    stretch = away.pop(future)
                    self._take(future, stretch, course)
                    if not stretch.trainee.ended and stretch.trainee.epoch < until:
                        waiting.append(stretch.trainee)
                waiting += self._given_up(away)
            if waiting or any(t.ended == TIME_LIMIT for t in trainees):
                course.check()
        except Interrupted as end:  # those under way count as they were before
            for trainee in (*waiting, *(stretch.trainee for stretch in away.values())):
                trainee.end(str(end))
        finally:
            for future in away:
                future.cancel()

    def _look_for_rows(self, heard: bool) -> None:
        """Hand them out again if nobody has them: Dask may not tell of it."""
        now = time.monotonic()
        if heard or now - self._heard < _SILENCE:
            self._heard = now if heard else self._heard
            return
        self._heard = now
        known = all(rows.status == "finished" for rows in self._there)
        if not (known and all(self._client.who_has(self._there).values())):
            self._scatter()

    def _given_up(self, away: dict[Future[Rest], _Stretch]) -> list[Trainee]:
        """Nets that were sent with rows which nobody has any longer; Dask may never answer."""
        lost = [f for f, stretch in away.items() if stretch.rows is not self._there]
        for future in lost:
            future.cancel()
        return [away.pop(future).trainee for future in lost]

    def _places(self) -> int:
        """How many are trained at once: workers come and go."""
        return self._most or max(1, sum(self._client.nthreads().values()))

    def _send(self, trainee: Trainee, until: int, course: Course) -> Future[Rest]:
        t = trainee
        bare = Trainee(t.member, t.fold, t.plan, t.spec, t.train, t.patience)
        seconds = min(_STRETCH, course.stretch())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # a net with its vectors
            future: Future[Rest] = self._executor.submit(
                _advance, self._there[t.fold], bare, t.at_rest(), until, seconds, course.left()
            )
        return future

    def _take(self, future: Future[Rest], stretch: _Stretch, course: Course) -> None:
        trainee = stretch.trainee
        try:
            rest = future.result()
        except CancelledError:  # no worker that had the rows is left
            if stretch.rows is self._there:
                self._scatter()
            return
        before = len(trainee.history)
        bring_back(trainee, rest)
        course.take(trainee, trainee.history.records[before:])


# ------------------------------------------------------------------------------ on a worker


class _Worker:
    """Who is told of a net's epochs where it is trained."""

    def __init__(self, trainee: Trainee, seconds: float, left: float) -> None:
        self._trainee, self._seconds, self._left = trainee, seconds, left
        self._began = time.monotonic()

    def check(self) -> None:
        """Raise Interrupted behind the time limit, once there is an epoch that may count."""
        if time.monotonic() - self._began >= self._left and self._trainee.weights is not None:
            raise Interrupted(TIME_LIMIT)

    def after_epoch(self, trainee: Trainee, record: EpochRecord) -> bool:
        """Whether it has been trained for long enough."""
        return time.monotonic() - self._began >= self._seconds


def _advance(
    there: tuple[Fold, Criterion], trainee: Trainee, rest: Rest, until: int, seconds: float,
    left: float,
) -> Rest:  # fmt: skip
    """A stretch of a net; how long it is changes nothing in it."""
    fold, criterion = there
    bring_back(trainee, rest)
    threads = tuning.granted_threads() or 1
    trainee.advance(fold, criterion, until, threads, _Worker(trainee, seconds, left))
    return trainee.at_rest()

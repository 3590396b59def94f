"""Nets of an ensemble among processes that train together: each brings some of them forward.

Nobody leads. All know where every net stands, divide those that go on among themselves, and tell
each other after some seconds what has become of them; so all have the same ensemble in the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

from nbmlp.spec import TrainSpec
from nbmlp.tabular.criteria import Criterion
from nbmlp.tabular.restart import bring_back
from nbmlp.tabular.trainee import Fold, Rest, Trainee
from nbmlp.train.history import EpochRecord
from nbmlp.train.hosts import ALONE, Hosts
from nbmlp.train.hosts.watch import watching

__all__ = ["Team", "check_alike", "hosts_of", "trained_by", "wait_for"]

#: Seconds between two looks for Ctrl-C ...
_LOOK = 0.2
#: ... and most of them between two meetings of all.
_STRETCH = 5.0


def hosts_of(comm: Any) -> Hosts:
    """The processes of a communicator; this one alone, if there is none."""
    size = getattr(comm, "Get_size", lambda: 1)()
    return ALONE if comm is None else Hosts(comm, TrainSpec(shards=size))


@contextmanager
def trained_by(comm: Any) -> Iterator[Hosts]:
    """The same, of whom each hears when another fails in here, or gives no sign of life."""
    hosts = hosts_of(comm)
    with watching(comm), hosts.told():
        yield hosts


def check_alike(
    hosts: Hosts, trainees: Sequence[Trainee], folds: Sequence[Fold], of: Mapping[str, Any]
) -> None:
    """Refuse to train where processes differ in settings or data.

    Raises
    ------
    SpecError
        By all of them.
    """
    first = trainees[0]
    hosts.check_alike(first.spec, first.train, folds[0].train[first.plan])
    hosts.check_same(of)


def wait_for(found: Sequence[Future[None]]) -> None:
    """Until all are done, or one has failed. A signal may have reached another thread than this
    one, which alone handles it: it looks now and then."""
    waiting: set[Future[None]] = {*found}
    while waiting:
        done, waiting = wait(waiting, _LOOK, FIRST_EXCEPTION)
        for future in done:
            future.result()


class Course(Protocol):
    """The training that the nets belong to."""

    cut: str

    def check(self, late: float = 0.0) -> None:
        """Raise Interrupted where it is to end."""

    def agreed(self, hosts: Hosts) -> bool:
        """Whether nets are to be trained further, by what all processes say."""

    def stretch(self) -> float:
        """Seconds after which a net is to rest."""

    def take(self, trainee: Trainee, records: Sequence[EpochRecord]) -> None:
        """A net rests, and has had such epochs since its last rest."""


class Team:
    """Processes that bring nets forward, from one meeting to the next.

    Parameters
    ----------
    hosts : Hosts
    folds : sequence of Fold
    criterion : Criterion
    threads : int
        Nets that this process trains at once.
    """

    def __init__(
        self, hosts: Hosts, folds: Sequence[Fold], criterion: Criterion, threads: int
    ) -> None:
        self._hosts, self._folds, self._criterion = hosts, folds, criterion
        self._threads = threads

    def bring(self, trainees: Sequence[Trainee], until: int, course: Course) -> None:
        """Train nets to that epoch or to their ends; all processes call it alike.

        Parameters
        ----------
        trainees : sequence of Trainee
        until : int
        course : Course
        """
        while True:
            goes_on = course.agreed(self._hosts)
            running = [k for k, t in enumerate(trainees) if not t.ended and t.epoch < until]
            if not (goes_on and running):
                break
            before = [len(t.history) for t in trainees]
            mine = running[self._hosts.rank :: self._hosts.size]
            begun = self._advance({k: trainees[k] for k in mine}, until, course)
            for rank, rests in enumerate(self._hosts.agree(begun)):
                for k, rest in rests.items():
                    if rank != self._hosts.rank:
                        bring_back(trainees[k], rest)
                    course.take(trainees[k], trainees[k].history.records[before[k] :])
        if course.cut:
            for k in running:
                trainees[k].end(course.cut)

    def _advance(
        self, trainees: Mapping[int, Trainee], until: int, course: Course
    ) -> dict[int, Rest]:
        """Bring some nets forward for a while: as they are then, those that were begun."""
        stretch, begun = _Stretch(course), dict[int, Rest]()
        workers = min(self._threads, len(trainees))
        threads = 1 if workers > 1 else self._threads

        def bring(place: int, k: int, trainee: Trainee) -> None:
            if place < workers or not stretch.over:
                fold = self._folds[trainee.fold]
                trainee.advance(fold, self._criterion, until, threads, stretch)
                begun[k] = trainee.at_rest()

        with ThreadPoolExecutor(max(workers, 1), "nbmlp-member") as pool:
            wait_for([pool.submit(bring, i, *item) for i, item in enumerate(trainees.items())])
        return begun


class _Stretch:
    """Who is told of a net's epochs between two meetings."""

    def __init__(self, course: Course) -> None:
        self._course, self._seconds = course, min(_STRETCH, course.stretch())
        self._began = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it has lasted long enough."""
        return time.monotonic() - self._began >= self._seconds

    def check(self) -> None:
        """Raise Interrupted where training is to end."""
        self._course.check()

    def after_epoch(self, trainee: Trainee, record: EpochRecord) -> bool:
        """Whether the net is to rest."""
        return self.over

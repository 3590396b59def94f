"""How many threads the next region gets: all of them, or one where others keep the cores busy.

The result does not depend on the number of threads, so it may change while training. On cores that
are not ours alone, a thread that waits at a barrier for a partner who is not running loses whole
time slices: two threads then are slower than one, by up to twenty times. Nothing tells beforehand,
so both are measured. What was found is remembered for the next training of the same kind: many
short ones would else never look.
"""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Crew"]

_FIRST_LOOK = 0.02  # seconds of work before the other number of threads is tried
_LATEST_LOOK = 4.0  # seconds between two trials when they never change anything
_TRIAL = 0.004
_REMEMBERED = 256  # kinds of training
#: One thread must be so much faster to be preferred: figures of short trials are noisy.
_CLEARLY = 1.05


class Crew:
    """Chooses between one thread and `most` by their measured speed.

    Parameters
    ----------
    most : int
        Threads when nobody disturbs.
    fixed : bool
        Always `most`.
    kind : hashable
        Trainings of the same kind begin with what the last one has found.

    Attributes
    ----------
    threads : int
        For the next region.
    trying : bool
        The next region is a trial and should be short.
    """

    _found: dict[Hashable, int] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, most: int, fixed: bool, kind: Hashable = None) -> None:
        self.most, self.trying, self._kind = most, False, (most, kind)
        self._fixed = fixed or most == 1
        self.threads = most if self._fixed else self._found.get(self._kind, most)
        self._span = self._period = _FIRST_LOOK
        self._rows, self._seconds = 0, 0.0
        self._speed: dict[int, float] = {}

    def measure(self, rows: int, seconds: float) -> None:
        """Learn from a region that took so many rows and seconds."""
        self._rows, self._seconds = self._rows + rows, self._seconds + seconds
        if self._fixed or self._seconds < self._span:
            return
        self._speed[self.threads] = self._rows / self._seconds
        self._rows, self._seconds = 0, 0.0
        if self.trying:
            self._decide()
        else:
            self.trying, self._span = True, _TRIAL
            self.threads = 1 if self.threads == self.most else self.most

    def _decide(self) -> None:
        before = 1 if self.threads == self.most else self.most
        alone = self._speed[1] > _CLEARLY * self._speed[self.most]
        self.threads, self.trying = 1 if alone else self.most, False
        settled = self.threads == before
        self._period = min(2 * self._period, _LATEST_LOOK) if settled else _FIRST_LOOK
        self._span = self._period
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[self._kind] = self.threads

"""How many threads the next region gets: all of them, or one where others keep the cores busy.

The result does not depend on the number of threads, so it may change while training. On cores that
are not ours alone, a thread that waits at a barrier for a partner who is not running loses whole
time slices: two threads then are slower than one, by up to twenty times. Nothing tells beforehand,
so both are measured. What was found is remembered for the next training of the same kind: many
short ones would else never look.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

__all__ = ["ThreadChoice"]

_FIRST_LOOK = 0.02  # seconds of work before the other number of threads is tried
_LATEST_LOOK = 4.0  # seconds between two trials when they never change anything
_TRIAL = 0.004
_REMEMBERED = 256  # kinds of training
#: One thread must be so much faster to be preferred: figures of short trials are noisy.
_CLEARLY = 1.05


class ThreadChoice:
    """Chooses between one thread and `most` by their measured speed.

    Parameters
    ----------
    most : int
        Threads when nobody disturbs.
    fixed : bool
        Always `most`.

    Attributes
    ----------
    threads : int
        For the next region.
    trying : bool
        The next region is a trial and should be short.
    """

    _known: dict[Hashable, ThreadChoice] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, most: int, fixed: bool) -> None:
        self.most, self.threads, self.trying = most, most, False
        self._fixed = fixed or most == 1
        self._span = self._period = _FIRST_LOOK
        self._rows, self._seconds = 0, 0.0
        self._speed: dict[int, float] = {}
        self._looked = time.monotonic()

    @classmethod
    def of(cls, most: int, fixed: bool, kind: Hashable) -> ThreadChoice:
        """The choice of all trainings of this kind; what was found long ago is soon tried again."""
        if fixed or most == 1:
            return cls(most, fixed)
        if len(cls._known) >= _REMEMBERED:
            cls._known.clear()
        choice = cls._known.setdefault((most, kind), cls(most, fixed))
        if time.monotonic() - choice._looked > _LATEST_LOOK:
            choice._span = min(choice._span, _FIRST_LOOK)
        return choice

    def measure(self, threads: int, rows: int, seconds: float) -> None:
        """Learn from a region that so many threads took so many rows and seconds for.

        Another training may have chosen again meanwhile; then there is nothing to learn.
        """
        if self._fixed or threads != self.threads:
            return
        self._rows, self._seconds = self._rows + rows, self._seconds + seconds
        if self._seconds < self._span:
            return
        self._speed[threads] = self._rows / self._seconds
        self._rows, self._seconds = 0, 0.0
        if self.trying:
            self._decide()
        else:
            self.trying, self._span = True, _TRIAL
            self.threads = 1 if threads == self.most else self.most

    def _decide(self) -> None:
        before = 1 if self.threads == self.most else self.most
        alone = self._speed[1] > _CLEARLY * self._speed[self.most]
        self.threads, self.trying = 1 if alone else self.most, False
        settled = self.threads == before
        self._period = min(2 * self._period, _LATEST_LOOK) if settled else _FIRST_LOOK
        self._span, self._looked = self._period, time.monotonic()

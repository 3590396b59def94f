"""Who may write: no process that is left over, and none on the smaller side.

Whoever starts a training of several processes takes a number, one larger than those of the
checkpoints that it is going to replace or goes on from. They bear it, with a random token; a
process of an older start meets a larger one, and ends before it replaces that, or the model.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import NbmlpError
from nbmlp.io.archive import stored_array
from nbmlp.io.atomic import looking
from nbmlp.plan import Shards

__all__ = ["NO_FENCE", "Fence", "FencedOff", "has_majority", "number_of"]

#: Array of a checkpoint: number of the start that wrote it, and its token.
FENCE = "fence"


class FencedOff(NbmlpError):
    """This process may not write: others go on, or may be going on, without it."""


def has_majority(processes: int, away: Collection[int], shards: int) -> bool:
    """Whether those who are not away have most of the shards, or half of them with the first."""
    each = Shards.among(shards, processes)
    out = sum(len(each[k]) for k in away)
    return 2 * out < shards or (2 * out == shards and 0 not in away)


def number_of(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Number and token of the start that has written a checkpoint; zeros if it bears none."""
    found = stored_array(path, f"extra.{FENCE}")
    return (0, 0) if found is None or found.shape != (2,) else (int(found[0]), int(found[1]))


class Fence:
    """What is looked at before a file is replaced.

    Parameters
    ----------
    number, token : int
        Of this start, as all its processes have agreed; 0: nobody else could write.
    whole : callable
        Whether this process is on the side that may write.
    """

    def __init__(self, number: int, token: int, whole: Callable[[], bool] = lambda: True) -> None:
        self.number, self._token, self._whole = number, token, whole

    @classmethod
    def after(
        cls, paths: Iterable[str | os.PathLike[str]], carried: Mapping[str, NDArray[Any]]
    ) -> tuple[int, int]:
        """The number for a start that replaces these files and goes on from one, and a token."""
        numbers = [number_of(path)[0] for path in paths]
        if FENCE in carried:
            numbers.append(int(carried[FENCE][0]))
        return 1 + max(numbers, default=0), secrets.randbits(62)

    @contextmanager
    def guarding(self, checkpoint: str | os.PathLike[str] | None) -> Iterator[None]:
        """Files that are written meanwhile are replaced only if this process may, by a checkpoint.

        Without one, nobody could take the place of this process.

        Raises
        ------
        FencedOff
            It may not; the file is as it was.
        """
        if not self.number or checkpoint is None:
            yield
            return
        with looking(lambda: self.check(checkpoint)):
            yield

    def replace(
        self,
        path: Path,
        arrays: Mapping[str, NDArray[Any]],
        write: Callable[[Path, Mapping[str, NDArray[Any]]], None],
    ) -> None:
        """Let `write` write a checkpoint of these arrays at `path`, if this process may.

        Raises
        ------
        FencedOff
            It may not; the file is as it was.
        """
        own = {FENCE: np.array([self.number, self._token])} if self.number else {}
        with self.guarding(path):
            write(path, {**arrays, **own})

    def check(self, checkpoint: str | os.PathLike[str]) -> None:
        """Look whether this process may write.

        Raises
        ------
        FencedOff
            It may not.
        """
        number, token = number_of(checkpoint)
        if number > self.number or (number == self.number and token != self._token):
            raise FencedOff(
                f"{os.fspath(checkpoint)} was written by a later start of this training: this"
                " process is left over, writes nothing any longer, and ends."
            )
        if not self._whole():
            raise FencedOff(
                f"{os.fspath(checkpoint)} and what belongs to it were not replaced: the processes"
                " that can be heard from here do not have the majority."
            )


#: Of a training that one process alone could write the checkpoints of.
NO_FENCE = Fence(0, 0)

"""Who may replace a checkpoint: no process that is left over, and none on the smaller side.

Whoever starts a training of several processes takes a number, one larger than those of the files
that it is going to replace or goes on from. The files bear it, with a random token; a process of an
older start meets a larger one, and ends.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import NbmlpError
from nbmlp.io.archive import stored_array
from nbmlp.io.atomic import sync_folder
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
    """What is looked at before a checkpoint is replaced.

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
        if not self.number:
            write(path, arrays)
            return
        path = Path(os.path.realpath(path))
        new = path.with_name(f".new-{self._token:x}-{path.name[-40:]}")
        try:
            write(new, {**arrays, FENCE: np.array([self.number, self._token])})
            self._check(path)  # as late as can be
            os.replace(new, path)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()
        sync_folder(path.parent)

    def _check(self, path: Path) -> None:
        number, token = number_of(path)
        if number > self.number or (number == self.number and token != self._token):
            raise FencedOff(
                f"{path} was written by a later start of this training: this process is left over,"
                " has not replaced it, and ends."
            )
        if not self._whole():
            raise FencedOff(
                f"{path} was not replaced: the processes that can be heard from here do not have"
                " the majority of the shards."
            )


#: Of a training that one process alone could write the checkpoints of.
NO_FENCE = Fence(0, 0)

"""A file that one process has at a time; in it stands why the last that had it has failed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from nbmlp.errors import DataError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: two trainings that make the same rows ready at once are on their own
    fcntl = None

__all__ = ["Lock", "locked"]

#: Bytes of what is said of a failure.
_LONGEST = 4096


def _nothing() -> None:
    """Nobody wants to know."""


@contextmanager
def locked(path: Path, wait: bool, waiting: Callable[[], object] = _nothing) -> Iterator[Lock]:
    """Try to have a file, which ends with this process, whatever becomes of it.

    Parameters
    ----------
    path : Path
    wait : bool
        Until nobody else has it.
    waiting : callable
        Called if another process has to be waited for.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:  # its folder was removed meanwhile
        yield Lock(None, not wait)
        return
    try:
        before = _said(file)
        ours = _taken(file, wait=False)
        if wait and not ours:
            waiting()
            ours = _taken(file, wait=True)
        yield Lock(file, ours, before)
    finally:
        os.close(file)


def _taken(file: int, wait: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _said(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, _LONGEST).decode(errors="replace")


class Lock:
    """Of :func:`locked`.

    Attributes
    ----------
    ours : bool
        Whether this process has the file.
    """

    def __init__(self, file: int | None, ours: bool, before: str = "") -> None:
        self._file, self.ours, self._before = file, ours, before

    def check(self) -> None:
        """Raise the DataError with which another process has ended while this one waited."""
        said = "" if self._file is None else _said(self._file)
        if said not in ("", self._before):
            raise DataError(said.partition(" ")[2])

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell those who wait of a DataError, so that they need not find it, too."""
        try:
            yield
        except DataError as error:
            self._say(f"{secrets.token_hex(8)} {error}")
            raise
        self._say("")

    def _say(self, what: str) -> None:
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, what.encode()[:_LONGEST])

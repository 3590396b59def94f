"""Space on the disk: what a full one looks like, and what has been promised of it."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

__all__ = ["Promises", "is_full", "missing"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether the system refused a write for want of space; there may be some again."""
    return isinstance(error, OSError) and error.errno in _FULL


class Promises:
    """How large files may become that are being written: what they lack so far is not free.

    So two that come at once count together, and neither is begun that could not be ended.
    """

    def __init__(self) -> None:
        self._sizes: dict[Path, int] = {}

    def make(self, path: Path, size: int) -> None:
        """The file may have so many bytes."""
        self._sizes[path] = size

    def end(self, path: Path) -> None:
        """It is written, or given up."""
        self._sizes.pop(path, None)

    def open(self) -> int:
        """Bytes that are still to be written."""
        return sum(missing(path, size) for path, size in list(self._sizes.items()))


def missing(path: Path, size: int) -> int:
    """Bytes that a file lacks of its size, those of its hidden forerunner counted in."""
    there = 0
    for file in (path, *path.parent.glob(f".tmp-*-{path.name}")):
        with suppress(OSError):
            there += file.lstat().st_size
    return max(0, size - there)

"""A limit on the memory of a child process, pages of files included: a memory cgroup of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Confined", "confined"]

_ROOT = Path("/sys/fs/cgroup")
#: Seconds for which an ended process may still be counted.
_PATIENCE = 30.0


class Confined:
    """A limit that a child process enters.

    Attributes
    ----------
    how : str
        By what it is limited.
    """

    def __init__(self, how: str, enter: Callable[[], None], peak: Path | None = None) -> None:
        self.how, self.enter, self._peak = how, enter, peak

    def peak(self) -> float | None:
        """The most MB that it took, where that is known."""
        return None if self._peak is None else int(self._peak.read_text()) / 2**20


@contextmanager
def confined(most: int) -> Iterator[Confined]:
    """So many MB for a process that calls `enter`, e.g. as ``preexec_fn``.

    Where no group can be made (that takes root), the data of the process are limited instead:
    pages of files do not count then.
    """
    made = next(filter(None, (_group(place, most << 20) for place in _places())), None)
    if made is None:
        limit = (most << 20, most << 20)
        yield Confined("RLIMIT_DATA", lambda: resource.setrlimit(resource.RLIMIT_DATA, limit))
        return
    folder, peak = made

    def enter() -> None:
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield Confined("a memory cgroup", enter, peak)
    finally:
        _remove(folder)


def _places() -> Iterator[tuple[Path, str, str]]:
    """Folders for groups, and what the limit and the peak are called there."""
    own = Path("/proc/self/cgroup")
    for line in own.read_text().splitlines() if own.exists() else ():
        _, kinds, path = line.split(":", 2)
        below = path.strip("/")
        if "memory" in kinds.split(","):
            yield _ROOT / "memory" / below, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        elif not kinds:  # version 2, where processes and groups do not share a folder
            yield (_ROOT / below).parent, "memory.max", "memory.peak"


def _group(place: tuple[Path, str, str], most: int) -> tuple[Path, Path] | None:
    """A group of so many bytes, and where its peak stands; None where it cannot be made."""
    folder = place[0] / f"nbmlp-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / place[1]).write_text(str(most))
    except OSError:
        _remove(folder)
        return None
    return folder, folder / place[2]


def _remove(folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while folder.exists() and time.monotonic() < end:
        with contextlib.suppress(OSError):
            folder.rmdir()
        time.sleep(0.05)

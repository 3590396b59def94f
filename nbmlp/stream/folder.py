"""The folder of ready rows: an entry for each data set and way to prepare it, bounded in size."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nbmlp.errors import DataError
from nbmlp.io.atomic import atomic_write
from nbmlp.kernels.code_folder import make, users_caches, why_not
from nbmlp.stream.lock import locked
from nbmlp.stream.source import Source

__all__ = ["Entry", "digest_of", "entries", "make_room", "remove", "root", "writing"]

_STATE, _LOCK, _SEEN = "state.json", "lock", "seen.json"
#: Names of entries, and of what is in them: NBMLP_ROWS_DIR may hold a user's own folders, too, and
#: nothing else is ever listed, counted or removed.
_KEY = re.compile(r"[0-9a-f]{24}|once-[0-9a-f]{16}")
_FILES = re.compile(r"state\.json|lock|(train|held)\.f32|y\.npy|\.tmp-.*")
#: Of the free space, so much may be taken unless NBMLP_ROWS_GB says otherwise.
_SHARE = 0.5
#: Seconds after which a file that has not changed since is taken to be what it was.
_SETTLED = 2.0


def root() -> Path:
    """Where ready rows are kept: NBMLP_ROWS_DIR, or a folder of the user's caches."""
    named = os.environ.get("NBMLP_ROWS_DIR")
    return Path(named) if named else users_caches() / "nbmlp" / "rows"


def _own_root() -> Path:
    """The folder, made if need be. Raises DataError where others could change what is in it."""
    folder = root()
    try:
        make(folder)
        folder = Path(os.path.realpath(folder))
        reason = why_not(folder)
    except OSError as error:
        raise DataError(
            f"the folder of ready rows, {folder}, cannot be made: {error.strerror}; NBMLP_ROWS_DIR"
            " names another one."
        ) from None
    if reason:
        raise DataError(
            f"{reason}: ready rows are not kept there; NBMLP_ROWS_DIR names another folder."
        )
    return folder


@dataclass(frozen=True)
class Entry:
    """Ready rows of one data set.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    @property
    def key(self) -> str:
        """What it is called by."""
        return self.folder.name

    def state(self) -> dict[str, Any]:
        """What is known of it; empty where nothing is."""
        try:
            found = json.loads((self.folder / _STATE).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, state: dict[str, Any]) -> None:
        """Keep what is known, whole or not at all."""
        with atomic_write(self.folder / _STATE, "w") as file:
            json.dump(state, file)

    def touch(self) -> None:
        """It has been used now."""
        os.utime(self.folder / _STATE)

    @property
    def bytes(self) -> int:
        """On the disk."""
        try:
            return sum(file.stat().st_size for file in self.folder.iterdir())
        except FileNotFoundError:  # somebody else has just removed it
            return 0

    @property
    def used(self) -> float:
        """When it was used last, in seconds since 1970."""
        for path in (self.folder / _STATE, self.folder):
            with suppress(FileNotFoundError):
                return path.stat().st_mtime
        return 0.0

    def remove(self) -> bool:
        """Remove it unless it is being written; rows that are mapped stay until they are let go."""
        with locked(self.folder / _LOCK, wait=False) as lock:
            if lock.ours:
                self.clear()
        return lock.ours

    def clear(self) -> None:
        """Remove the files that we made, and the folder if it holds no others."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                if _FILES.fullmatch(file.name):
                    file.unlink(missing_ok=True)
            self.folder.rmdir()


@contextmanager
def writing(key: str, waiting: Callable[[], object] = lambda: None) -> Iterator[Entry]:
    """The entry of that key, which nobody else writes or removes meanwhile.

    Parameters
    ----------
    key : str
    waiting : callable
        Called if another process has to be waited for.

    Raises
    ------
    DataError
        Also that of another process, which has ended with it while this one waited.
    """
    entry = Entry(_own_root() / key)
    while True:
        make(entry.folder)
        with locked(entry.folder / _LOCK, True, waiting) as lock:
            lock.check()
            if lock.ours and (entry.folder / _LOCK).exists():  # else it was removed meanwhile
                with lock.telling():
                    yield entry
                return


def entries() -> list[Entry]:
    """All there are, that used last first."""
    folder = root()
    found = [Entry(p) for p in folder.iterdir() if _is_entry(p)] if folder.is_dir() else []
    return sorted(found, key=lambda entry: -entry.used)


def _is_entry(path: Path) -> bool:
    ours = _KEY.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    return bool(ours) and (path / _LOCK).exists()


def remove(keys: list[str]) -> tuple[int, int]:
    """Remove entries by key, or all of them if none is named: how many went, and their bytes.

    Raises
    ------
    DataError
        There is none of that key, or it is being written.
    """
    known = {entry.key: entry for entry in entries()}
    for key in keys:
        if key not in known:
            raise DataError(f"there are no ready rows {key}: nbmlp cache lists all there are.")
    freed = 0
    wanted = [known[key] for key in keys] or list(known.values())
    for entry in wanted:
        size = entry.bytes
        if not entry.remove():
            raise DataError(f"the ready rows {entry.key} are being written: try again later.")
        freed += size
    return len(wanted), freed


def make_room(entry: Entry, needed: int) -> None:
    """Remove what was used longest ago until an entry of so many bytes has room.

    Raises
    ------
    DataError
        It has no room even then.
    """
    others = [one for one in entries() if one.key != entry.key]
    there = entry.bytes
    free = shutil.disk_usage(entry.folder).free
    taken = sum(one.bytes for one in others)
    limit = _limit(free + taken + there)
    if needed > limit:
        raise DataError(
            f"the ready rows take {needed / 1e9:.1f} GB and {entry.folder.parent} may hold"
            f" {limit / 1e9:.1f} GB: name a folder on a larger disk with NBMLP_ROWS_DIR, or more"
            " with NBMLP_ROWS_GB."
        )
    while others and (taken + needed > limit or needed - there > free):
        oldest = others.pop()
        size = oldest.bytes
        if oldest.remove():
            taken, free = taken - size, free + size


def _limit(space: int) -> int:
    given = os.environ.get("NBMLP_ROWS_GB")
    if given is None:
        return int(_SHARE * space)
    try:
        return min(int(float(given) * 1e9), space)
    except ValueError:
        raise DataError(f"NBMLP_ROWS_GB={given!r} must be a number of gigabytes.") from None


# -- what files hold


def digest_of(source: Source, reading: Callable[[float], object]) -> str:
    """A digest of the content of all files, in their order.

    Files that have not changed since are not read again: by size, time and place on the disk.

    Parameters
    ----------
    source : Source
    reading : callable
        Called with the share of files that is behind, before another one is read.
    """
    seen = _own_root() / _SEEN
    with locked(seen.with_suffix(".lock"), wait=True):  # one of several processes reads them
        known = _seen(seen)
        each: dict[str, tuple[str, str]] = {}
        for file in source.files:
            each[file] = _digest(file, known, partial(reading, len(each) / len(source.files)))
        fresh = {file: one for file, one in each.items() if known.get(one[0]) != one[1]}
        if fresh:
            with atomic_write(seen, "w") as out:
                json.dump(_seen(seen) | dict(fresh.values()), out)
    return blake2b("".join(one for _, one in each.values()).encode(), digest_size=20).hexdigest()


def _seen(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(file: str, known: dict[str, str], reading: Callable[[], object]) -> tuple[str, str]:
    """What a file is known by, and the digest of its content."""
    stat = os.stat(file)
    mark = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
    if mark in known and time.time() - stat.st_ctime > _SETTLED:
        return mark, known[mark]
    reading()
    hasher = blake2b(digest_size=20)
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            hasher.update(block)
    return mark, hasher.hexdigest()

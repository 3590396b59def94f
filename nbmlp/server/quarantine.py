"""What is removed and what is kept aside; only names of our own form are ever touched.

A crash leaves files under names that say so (uploads, half-written files): they are removed. Whole
files that the database does not know may be all that is left of somebody's work, as after an older
database was put back: they are moved to ``quarantine/<when>/<folder>/<name>`` and stay there until
somebody empties it. What the database knows again comes back. Links are never followed.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

__all__ = ["FOLDERS", "Kept", "Known", "Swept", "empty", "is_own", "kept", "remove_job", "sweep"]

log = logging.getLogger(__name__)
#: Of a data folder.
FOLDERS = ("uploads", "datasets", "jobs", "models", "quarantine")
_ID = "[0-9A-HJKMNP-TV-Z]{26}"
_HALF = r"\.tmp-[0-9a-f]{12}-"  # see io.atomic
#: Files whose content may matter to somebody; in jobs/ and quarantine/ they are folders.
_WHOLE = {
    "uploads": re.compile(r"(?!)"),
    "datasets": re.compile(r"[0-9a-f]{64}\.safetensors"),
    "jobs": re.compile(_ID),
    "models": re.compile(rf"{_ID}\.safetensors"),
    "quarantine": re.compile(_ID),
}
#: Files that a crash leaves.
_LEFT = {
    "uploads": re.compile(rf"(?:{_HALF})?tmp-{_ID}(?:[.-].*)?"),
    "datasets": re.compile(rf"{_HALF}[0-9a-f]{{28}}\.safetensors"),
    "jobs": re.compile(r"(?!)"),
    "models": re.compile(rf"{_HALF}{_ID}\.safetensors"),
    "quarantine": re.compile(r"(?!)"),
}
#: What a job's process writes into its folder.
_JOB = re.compile(r"lease|worker\.log|checkpoint-[0-9-]+\.safetensors|\.tmp-.+|core(\.[0-9]+)?")
_HALF_JOB = re.compile(r"\.tmp-.+")
_KINDS = ("datasets", "jobs", "models")


@dataclass(frozen=True)
class Known:
    """What the database knows.

    Attributes
    ----------
    datasets : collection of str
        Hashes of contents.
    jobs, ended : collection of str
        Ids of jobs that have not ended, and of those that have.
    models : collection of str
        Ids.
    """

    datasets: Collection[str]
    jobs: Collection[str]
    ended: Collection[str]
    models: Collection[str]


@dataclass
class Swept:
    """What became of what a former server left.

    Attributes
    ----------
    removed : int
        Files and folders that a crash had left.
    aside : int
        Moved to quarantine.
    back : int
        Came back from there.
    """

    removed: int = 0
    aside: int = 0
    back: int = 0

    def log(self) -> None:
        """Tell of it, if there was anything."""
        if self.removed:
            log.info("removed %d files and folders that a crash had left", self.removed)
        if self.back:
            log.warning("took %d files out of quarantine: the database knows them", self.back)
        if self.aside:
            log.warning(
                "moved %d files that the database does not know to quarantine/: nbmlp quarantine"
                " list shows them, nbmlp quarantine empty removes them", self.aside,
            )  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """Something in quarantine.

    Attributes
    ----------
    path : Path
    kind : str
        ``"datasets"``, ``"jobs"`` or ``"models"``.
    since : float
        Seconds since 1970.
    bytes : int
    """

    path: Path
    kind: str
    since: float
    bytes: int


def is_own(kind: str, path: Path) -> bool:
    """Whether something in one of the folders has a name of our own form, and is no link."""
    mode = os.lstat(path).st_mode
    if kind in ("jobs", "quarantine"):
        return stat.S_ISDIR(mode) and bool(_WHOLE[kind].fullmatch(path.name))
    own = _WHOLE[kind].fullmatch(path.name) or _LEFT[kind].fullmatch(path.name)
    return stat.S_ISREG(mode) and own is not None


# -- at the start of a server


def sweep(root: Path, known: Known) -> Swept:
    """Remove what a crash left, move aside what the database does not know.

    Parameters
    ----------
    root : Path
        A data folder that is held.
    known : Known
    """
    swept = Swept()
    names = {
        "datasets": {f"{sha256}.safetensors" for sha256 in known.datasets},
        "models": {f"{model}.safetensors" for model in known.models},
        "jobs": {*known.jobs, *known.ended},
    }
    for kind, there in {**names, "jobs": set(known.jobs)}.items():
        swept.back += _bring_back(root, kind, there)
    aside = _Aside(root)
    for kind in ("uploads", "datasets", "models"):
        with _opened(root / kind) as handle:
            for name in _matching(handle, _LEFT[kind], stat.S_ISREG):
                swept.removed += _removed(name, handle)
            for name in _matching(handle, _WHOLE[kind], stat.S_ISREG):
                if name not in names[kind]:
                    swept.aside += aside.take(kind, name, handle)
    with _opened(root / "jobs") as handle:
        for name in _matching(handle, _WHOLE["jobs"], stat.S_ISDIR):
            if name not in names["jobs"]:
                swept.aside += aside.take("jobs", name, handle)
            elif name in known.jobs:
                swept.removed += _remove_files(handle, name, _HALF_JOB)
            else:
                swept.removed += _remove_files(handle, name, _JOB) + _rmdir(name, handle)
    return swept


def remove_job(root: Path, job_id: str) -> None:
    """Remove a job's folder; files that no job writes stay, and it with them."""
    with suppress(OSError), _opened(root / "jobs") as handle:
        _remove_files(handle, job_id, _JOB)
        _rmdir(job_id, handle)


class _Aside:
    """A new folder in quarantine, made when it is needed."""

    def __init__(self, root: Path) -> None:
        self._place = root / "quarantine" / str(ULID())

    def take(self, kind: str, name: str, handle: int) -> int:
        """Move it there; returns 1."""
        folder = self._place / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(folder) as there:
            os.rename(name, name, src_dir_fd=handle, dst_dir_fd=there)
            os.fsync(there)
        return 1


def _bring_back(root: Path, kind: str, names: Collection[str]) -> int:
    """What the database knows, and is not in its place; a job's empty folder is as good as none."""
    count = 0
    for found in kept(root):
        place = root / kind / found.path.name
        if found.kind != kind or found.path.name not in names:
            continue
        with suppress(OSError):
            place.rmdir()
        if not os.path.lexists(place):
            os.rename(found.path, place)
            count += 1
            _tidy(found.path.parent)
    return count


# -- when somebody asks


def kept(root: Path) -> list[Kept]:
    """What is in quarantine, oldest first."""
    found, place = list[Kept](), root / "quarantine"
    for when in _own(place, "quarantine"):
        for kind in _KINDS:
            if not (folder := when / kind).is_dir() or folder.is_symlink():
                continue
            since = ULID.from_str(when.name).timestamp
            found += [Kept(path, kind, since, _size(path)) for path in _own(folder, kind)]
    return found


def empty(root: Path) -> int:
    """Remove what is in quarantine; returns how many things that were."""
    found = kept(root)
    for one in found:
        with _opened(one.path.parent) as handle:
            if one.kind == "jobs":
                _remove_files(handle, one.path.name, _JOB)
                _rmdir(one.path.name, handle)
            else:
                _removed(one.path.name, handle)
        _tidy(one.path.parent)
    return sum(not os.path.lexists(one.path) for one in found)


def _own(folder: Path, kind: str) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        paths = [folder / name for name in sorted(os.listdir(folder))]
        return [p for p in paths if is_own(kind, p) and not _LEFT[kind].fullmatch(p.name)]
    return []


def _size(path: Path) -> int:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return os.lstat(path).st_size
    return sum(os.lstat(entry).st_size for entry in path.iterdir())


def _tidy(folder: Path) -> None:
    """Remove folders in quarantine that have become empty."""
    for path in (folder, folder.parent):
        with suppress(OSError):
            path.rmdir()


# -- one folder, by its handle: what is a link now was none then


@contextmanager
def _opened(folder: str | Path, inside: int | None = None) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(folder, flags, dir_fd=inside)
    try:
        yield handle
    finally:
        os.close(handle)


def _matching(handle: int, form: re.Pattern[str], kind: Callable[[int], bool]) -> list[str]:
    found = [name for name in os.listdir(handle) if form.fullmatch(name)]
    return [n for n in found if kind(os.stat(n, dir_fd=handle, follow_symlinks=False).st_mode)]


def _remove_files(inside: int, folder: str, form: re.Pattern[str]) -> int:
    """Of a folder in a folder; links among them go, what they lead to stays."""
    with _opened(folder, inside) as handle:
        return sum(_removed(name, handle) for name in _matching(handle, form, stat.S_ISREG))


def _removed(name: str, handle: int) -> bool:
    with suppress(OSError):
        os.unlink(name, dir_fd=handle)
        return True
    return False


def _rmdir(name: str, handle: int) -> bool:
    with suppress(OSError):
        os.rmdir(name, dir_fd=handle)
        return True
    return False

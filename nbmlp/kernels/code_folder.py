"""Where compiled code is kept, and whether what lies there may be run.

Numba keeps machine code as pickles: who can write them can run anything as whoever loads them. So
only files and folders count that nobody but this user and root can change, as sshd does with keys.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import warnings
from pathlib import Path

from nbmlp import tuning
from nbmlp.errors import TrainingWarning
from nbmlp.names import activations, elements

__all__ = [
    "cache_folder",
    "make",
    "move",
    "usable_folder",
    "users_caches",
    "who_else",
    "why_not",
]

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def users_caches() -> Path:
    """Where programs of this user keep what can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


@functools.cache
def cache_folder() -> Path:
    """Folder of the compiled code of exactly these sources and this target.

    ``NUMBA_CACHE_DIR`` if set, else the user's cache folder. Numba's own cache sees a change only
    in the function's own file; here a change in any kernel source is another folder.
    """
    root = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(root) if root else users_caches()
    digest = hashlib.sha256(repr(tuning.detect()).encode())
    others = [Path(module.__file__ or "") for module in (tuning, activations, elements)]
    for file in sorted([*_sources(Path(__file__).parent), *others]):
        digest.update(file.read_bytes())
    return base / "nbmlp" / digest.hexdigest()[:16]


def _sources(folder: Path) -> list[Path]:
    """What is compiled: the Python files of a folder and of all folders in it."""
    return [*folder.rglob("*.py")]


def move(root: Path) -> None:
    """Keep what is compiled from now on in another folder, as if ``NUMBA_CACHE_DIR`` named it."""
    os.environ["NUMBA_CACHE_DIR"] = str(root)
    cache_folder.cache_clear()
    usable_folder.cache_clear()


# ------------------------------------------------------------------------------- whom to believe


def why_not(path: Path, parent: bool = False) -> str:
    """Who else than this user and root could change a file or folder; empty for nobody.

    Parameters
    ----------
    path : Path
        Without links.
    parent : bool
        Of a folder only: that others may put files of their own into it is no harm as long as they
        cannot replace those that are there (``/tmp``).

    Raises
    ------
    OSError
        It is not there.
    """
    if not hasattr(os, "getuid"):
        return ""
    found = os.lstat(path)
    if found.st_uid not in (0, os.getuid()):
        return f"{path} belongs to another user"
    if found.st_mode & _OTHERS and not (parent and found.st_mode & stat.S_ISVTX):
        return f"{path} can be changed by other users (make it safe: chmod go-w {path})"
    return ""


def make(folder: Path) -> None:
    """The folder and those above it, as far as they lack, for this user only."""
    lacking = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(lacking):
        path.mkdir(mode=0o700, exist_ok=True)


def who_else(folder: Path) -> str:
    """Who else could change what is in a folder, which is made if need be; empty for nobody.

    Raises
    ------
    OSError
        It cannot be made, or not be looked at.
    """
    make(folder)
    reason = why_not(folder) or why_not(folder.parent)
    return reason or next(filter(None, (why_not(p, True) for p in folder.parents)), "")


@functools.cache
def usable_folder() -> Path | None:
    """The folder, made if need be; None, after a warning, when others could change its files."""
    folder = Path(os.path.realpath(cache_folder()))
    try:
        reason = who_else(folder)
    except OSError:  # it cannot be made, or not be looked at
        return None
    if reason:
        warnings.warn(
            f"{reason}: compiled code that is kept there is not used, and everything is compiled"
            " again; NUMBA_CACHE_DIR names another folder.", TrainingWarning, stacklevel=2,
        )  # fmt: skip
        return None
    return folder

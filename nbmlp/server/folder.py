"""Whose folder it is: nothing is made or changed in one until it is known to be a server's own.

A marker file names it. A folder of version 0.1 has none: it is known by its database and by
holding nothing else. Whatever is neither marked, nor that, nor empty belongs to somebody.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from nbmlp.io.atomic import atomic_write
from nbmlp.server.ports import ServiceError
from nbmlp.server.quarantine import FOLDERS, is_own
from nbmlp.server.store.recognise import SIDE_FILES, is_database

__all__ = ["BALLAST", "DATABASE", "claim", "data_folder", "look_inside", "settle"]

DATABASE, MARKER, LOCK, BALLAST = "nbmlp.sqlite", "nbmlp.json", "lock", "nbmlp.ballast"
_WHAT, _FORMAT = "data folder of an nbmlp server", 1
_DATABASE = {DATABASE, *(DATABASE + end for end in SIDE_FILES)}
#: A marker that a crash has left half written; what a new file system has.
_NOBODYS = re.compile(rf"\.tmp-[0-9a-f]{{12}}-{re.escape(MARKER)}|lost\+found")
#: Version 0.1 had all of the first, and perhaps some of the second (its documents said so).
_FIRST_FOLDERS = {"uploads", "datasets", "jobs", "models"}
_FIRST = {LOCK, DATABASE, *_FIRST_FOLDERS}
_FIRST_MAYBE = {"ballast", "cache", "first-token", *_DATABASE}


class _Marker(Enum):
    """What the marker says."""

    NONE = "there is none"
    BROKEN = "it is no marker, or a damaged one"
    BEGUN = "the folder is ours, its database may not have been made yet"
    SETTLED = "the folder is ours, and its database was made"


def data_folder(root: Path) -> Path:
    """Where it really is: links are followed here, and nowhere below."""
    return Path(os.path.realpath(root))


def claim(root: Path, adopt: bool) -> int:
    """Take a folder for a server, and make what it needs.

    Parameters
    ----------
    root : Path
        From :func:`data_folder`; made when it does not exist, for its owner only.
    adopt : bool
        Take it although it is not known to be a server's. What is in it stays.

    Returns
    -------
    int
        A handle; whoever holds it holds the folder.

    Raises
    ------
    ServiceError
        It is somebody's, or another server's, or cannot be used. Nothing was changed.
    """
    with _named_errors(root):
        _look(root, adopt)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(root)
        try:
            _make_private(root)
            known = _look(root, adopt)  # once more, now that nobody else can change it
            for name in FOLDERS:
                (root / name).mkdir(mode=0o700, exist_ok=True)
            if known is not _Marker.SETTLED:
                _mark(root, _Marker.BEGUN)
        except BaseException:
            os.close(lock)
            raise
    return lock


def settle(root: Path) -> None:
    """The database is there: from now on a folder without one has lost it."""
    with _named_errors(root):
        if _marker(root) is not _Marker.SETTLED:
            _mark(root, _Marker.SETTLED)


def look_inside(root: Path) -> Path:
    """The folder again, if it is a server's own; nothing is changed, and the server may run.

    Raises
    ------
    ServiceError
    """
    with _named_errors(root):
        try:
            _look(root, adopt=False)
            ours = is_database(root / DATABASE)
        except ServiceError:
            ours = False
    if not ours:
        raise ServiceError(
            f"there is no server's data folder at {root}: start nbmlp serve there first, or name"
            " another with --data-dir."
        )
    return root


@contextmanager
def _named_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServiceError(
            f"the data folder {root} cannot be used ({error.strerror or error}): choose another"
            " with --data-dir."
        ) from error


def _lock(root: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(root / LOCK, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ServiceError(
            f"another server uses the data folder {root}: end it, or choose another folder"
            " with --data-dir."
        ) from error
    return lock


# -- looking, without touching anything


def _look(root: Path, adopt: bool) -> _Marker:
    """Refuse what is not ours."""
    names = set(os.listdir(root)) if os.path.lexists(root) else set[str]()
    _check_kinds(root, names)
    marker, database = _marker(root), root / DATABASE
    empty = not os.path.lexists(database) or database.stat().st_size == 0
    ours = not empty and is_database(database, recover=marker is not _Marker.NONE)
    if not empty and not ours and (adopt or marker is not _Marker.NONE):
        raise ServiceError(
            f"{database} is no database of nbmlp's: move it away, or choose another folder with"
            " --data-dir."
        )
    if adopt or marker is _Marker.BEGUN or (marker is _Marker.SETTLED and ours):
        return marker
    if marker is _Marker.SETTLED:
        raise ServiceError(
            f"the data folder {root} has lost its database ({DATABASE} is missing or empty): put"
            " it back from a backup, or add --adopt to begin anew; models and data sets go to"
            " quarantine then."
        )
    if marker is _Marker.BROKEN:
        raise ServiceError(
            f"{root / MARKER} is damaged, or not nbmlp's: choose another folder with --data-dir,"
            " or add --adopt to use this one all the same."
        )
    found = [name for name in names if not _NOBODYS.fullmatch(name) and not _is_lock(root, name)]
    foreign = _foreign(root, set(found))
    if not found or (ours and names >= _FIRST and not foreign):
        return marker
    raise ServiceError(
        f"the folder {root} holds other things than a server's data"
        f" ({_some(foreign or sorted(found))}): choose"
        " another with --data-dir, or add --adopt to use it all the same; files that are not the"
        " server's stay as they are."
    )


def _check_kinds(root: Path, names: set[str]) -> None:
    """Folders are folders and files are files: a link would lead out of here."""
    files = {MARKER, LOCK, BALLAST} | _DATABASE
    for name in sorted(names & (files | set(FOLDERS))):
        mode = os.lstat(root / name).st_mode
        if not (stat.S_ISDIR(mode) if name in FOLDERS else stat.S_ISREG(mode)):
            kind = "folder" if name in FOLDERS else "file"
            raise ServiceError(
                f"{root / name} is a link or no {kind}: put a {kind} of its own there, or choose"
                " another --data-dir."
            )


def _is_lock(root: Path, name: str) -> bool:
    """Left when the first start of a server was cut short."""
    return name == LOCK and os.lstat(root / name).st_size == 0


def _foreign(root: Path, names: set[str]) -> list[str]:
    """What a folder of version 0.1 cannot hold."""
    top = sorted(names - _FIRST - _FIRST_MAYBE)
    for kind in sorted(_FIRST_FOLDERS & names):
        inside = sorted(os.listdir(root / kind))
        top += [f"{kind}/{name}" for name in inside if not is_own(kind, root / kind / name)]
    return top


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name[-40:]) for name in names[:3])
    return shown + (", ..." if len(names) > 3 else "")


def _marker(root: Path) -> _Marker:
    try:
        said = json.loads((root / MARKER).read_bytes())
        ours, number, state = said["what"] == _WHAT, int(said["format"]), said["state"]
    except FileNotFoundError:
        return _Marker.NONE
    except (ValueError, TypeError, KeyError):
        return _Marker.BROKEN
    if ours and number > _FORMAT:
        raise ServiceError(
            f"the data folder {root} was written by a newer version of nbmlp: install that one, or"
            " give another --data-dir."
        )
    known = {marker.name.lower(): marker for marker in (_Marker.BEGUN, _Marker.SETTLED)}
    return known.get(state, _Marker.BROKEN) if ours else _Marker.BROKEN


# -- changing what is ours


def _mark(root: Path, marker: _Marker) -> None:
    for name in os.listdir(root):
        if _NOBODYS.fullmatch(name) and name.startswith(".tmp-"):
            (root / name).unlink(missing_ok=True)
    with atomic_write(root / MARKER, "w") as file:
        json.dump({"what": _WHAT, "format": _FORMAT, "state": marker.name.lower()}, file)


def _make_private(root: Path) -> None:
    """For its owner only, whatever has made it and what is in it."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != 0o700:
            os.fchmod(handle, 0o700)
        if os.fstat(handle).st_mode & 0o077:
            raise ServiceError(
                f"other users can read the data folder {root}, and its file system does not let"
                " that be changed: choose another with --data-dir."
            )
    finally:
        os.close(handle)

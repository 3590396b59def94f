"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

__all__ = ["FolderSyncError", "atomic_write", "looking", "save_failure", "sync_folder"]


def _nothing(step: str) -> None:
    """Steps pass in silence."""


#: Called right before each step by name; tests of crash safety put something here that fails.
on_step: Callable[[str], None] = _nothing

_last_look: ContextVar[Callable[[], None]] = ContextVar("last look", default=lambda: None)


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Whatever is written meanwhile, call `look` right before it takes its place.

    What that raises leaves the file as it was.
    """
    before = _last_look.set(look)
    try:
        yield
    finally:
        _last_look.reset(before)


_KEPT = "whatever was there before is unchanged"
_ADVICE = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EFBIG: "choose a disk, or a limit, that allows files of this size",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "create its folder first",
    errno.EISDIR: "give the name of a file",
    errno.EINVAL: "give the name of a file",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class FolderSyncError(OSError):
    """The new file is in place and whole, but its name might not survive a power cut."""


@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["wb"] = "wb"
) -> AbstractContextManager[BinaryIO]: ...
@overload
def atomic_write(
    path: str | os.PathLike[str], mode: Literal["w"]
) -> AbstractContextManager[TextIO]: ...
@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[Any]:
    """Open a file that takes the place of `path` when the block ends without an exception.

    The bytes go to a hidden file ``.tmp-<random>-<name>`` in the same folder, are flushed to
    disk, and are renamed over `path`. Readers see the old file or the new one, never a mixture.
    On any exception the hidden file is removed and `path` is as it was. Links are followed;
    an existing file keeps its permissions.

    Parameters
    ----------
    path : str or path-like
        A regular file, or a name that does not exist yet.
    mode : {"wb", "w"}
        Bytes, or UTF-8 text with line ends as written.

    Yields
    ------
    file : file object
        Seekable; leave it open.

    Raises
    ------
    OSError
        As the system gave it; :func:`save_failure` makes a sentence of it.
    FolderSyncError
        Only the last step failed: `path` has the new content.
    """
    target = Path(os.path.realpath(path))
    permissions = _permissions(target)
    # The end of a long name is enough (and keeps the suffix): the limit is 255 bytes.
    hidden = target.with_name(f".tmp-{secrets.token_hex(6)}-{target.name[-40:]}")
    on_step("open")
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    file: IO[Any] = open(hidden, mode.replace("w", "x"), **text)  # noqa: SIM115 (closed below)
    try:
        with file:
            yield file
            on_step("flush")
            file.flush()
            on_step("fsync")
            os.fsync(file.fileno())
        if permissions is not None:
            os.chmod(hidden, permissions)
        on_step("rename")
        _last_look.get()()
        os.replace(hidden, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(hidden)
        raise
    sync_folder(target.parent)
    on_step("renamed")


def save_failure(path: str | os.PathLike[str], error: OSError) -> str:
    """Say in one sentence why `path` was not saved, and what to do.

    Parameters
    ----------
    path : str or path-like
        The file, as the user named it.
    error : OSError
        What :func:`atomic_write` raised.
    """
    reason = error.strerror or str(error)
    if isinstance(error, FolderSyncError):
        return f"{os.fspath(path)} was saved, but may be lost in a power cut: {reason}."
    advice = _ADVICE.get(error.errno or 0, "try again or choose another place")
    return f"cannot save {os.fspath(path)}: {reason} ({_KEPT}); {advice}."


def _permissions(target: Path) -> int | None:
    """Permission bits of the file to be replaced, None if there is none.

    Renaming over a device, pipe or socket would destroy it, so only regular files pass.
    """
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    if not target.is_file():
        raise OSError(errno.EINVAL, "it is a device or pipe, not a regular file", str(target))
    return mode & 0o7777


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the system offers that.

    Raises
    ------
    FolderSyncError
        They may be lost in a power cut.
    """
    try:
        on_step("sync_folder")
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except PermissionError:  # writable but not readable; Windows opens no folder at all
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise FolderSyncError(error.errno, error.strerror, str(folder)) from error

"""Checkpoints where each host has folders of its own: written on two, found on any."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from nbmlp.errors import ModelFileError
from nbmlp.io import archive, model_file
from nbmlp.train.hosts.fence import number_of

__all__ = ["newest", "second_writer"]

_PIECE = 1 << 26  # bytes that are sent at once


class _Found(NamedTuple):
    """A checkpoint that one process has: the larger, the newer."""

    number: int
    step: int
    digest: str


def _steps_in(path: Path) -> int:
    """How far a net's checkpoint is; raises ModelFileError if it is not whole."""
    return model_file.load(path, "checkpoint").state.step


@contextmanager
def newest(
    comm: Any, path: str | os.PathLike[str], steps_in: Callable[[Path], int] = _steps_in
) -> Iterator[Path | None]:
    """The newest whole checkpoint that any process has at `path`, as a file of each; None: no one.

    Called by all processes; comm is None for one alone. What is not there already is a temporary
    file, sent by who has it.

    steps_in: how far a checkpoint is; raises ModelFileError if it is not whole.
    """
    own = _look(Path(path), steps_in)
    found = [own] if comm is None else comm.allgather(own)
    have = [one for one in found if one is not None]
    if not have:
        yield None
        return
    best = max(have)
    if all(one is not None and one.digest == best.digest for one in found):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="nbmlp-") as folder:
        copy = Path(folder) / "checkpoint"
        has = own is not None and own.digest == best.digest
        _send(comm, Path(path) if has else copy, found.index(best), has)
        yield Path(path) if has else copy


def _look(path: Path, steps_in: Callable[[Path], int]) -> _Found | None:
    """What is there; None if that is nothing whole."""
    try:
        return _Found(number_of(path)[0], steps_in(path), archive.stored_digest(path))
    except (ModelFileError, OSError):
        return None


def _send(comm: Any, path: Path, root: int, has: bool) -> None:
    """The file of one process to those who do not have it."""
    leads = comm.Get_rank() == root
    with path.open("rb" if has else "wb") as file:
        while piece := comm.bcast(file.read(_PIECE) if leads else None, root=root):
            if not has:
                file.write(piece)


def second_writer(comm: Any, path: str | os.PathLike[str]) -> int | None:
    """The first process whose folder is another one than process 0's; None if all share one.

    Called by all processes. Process 0 puts a file there, and the others look for it.
    """
    folder = Path(path).parent
    name = comm.bcast(f".nbmlp-{secrets.token_hex(8)}", root=0)
    try:
        if comm.Get_rank() == 0:
            with suppress(OSError):  # who writes there will say what is wrong
                (folder / name).touch()
        comm.Barrier()
        apart = folder.is_dir() and not (folder / name).exists()
        said = comm.allgather(apart)
    finally:
        if comm.Get_rank() == 0:
            (folder / name).unlink(missing_ok=True)
    return said.index(True) if True in said else None

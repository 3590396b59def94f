"""Ready rows: what a column plan makes of files, written once and mapped into memory."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns import ColumnPlan
from nbmlp.errors import DataError
from nbmlp.stream.cells import table_of_batch
from nbmlp.stream.folder import Entry, make_room
from nbmlp.stream.making import Progress
from nbmlp.stream.source import Source

__all__ = ["ReadyRows", "mapped", "write_rows"]

#: Bytes after which what has been written is made safe, so that a kill costs no more than them.
_SAFE = 1 << 27


@dataclass(frozen=True, eq=False)
class ReadyRows:
    """Rows that have gone through a column plan.

    Attributes
    ----------
    x : ndarray (rows, features)
        Mapped into memory.
    plan : ColumnPlan
    """

    x: NDArray[np.float32]
    plan: ColumnPlan

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and columns before they were prepared."""
        return len(self.x), len(self.plan.columns)

    def __len__(self) -> int:
        return len(self.x)


def mapped(path: Path, rows: int, plan: ColumnPlan) -> ReadyRows:
    """The rows of a file that is complete."""
    shape = rows, plan.n_features
    return ReadyRows(np.memmap(path, np.float32, "r", shape=shape), plan)


@dataclass
class _Part:
    """One of the files that are written, and which rows go there."""

    path: Path
    rows: NDArray[np.bool_] | None

    def before(self, row: int) -> int:
        """How many of the first rows go there."""
        return row if self.rows is None else int(np.count_nonzero(self.rows[:row]))


def write_rows(
    entry: Entry, source: Source, plan: ColumnPlan, parts: dict[str, NDArray[np.bool_] | None],
    progress: Progress,
) -> None:  # fmt: skip
    """Write the ready rows, going on from where an earlier writing was cut off.

    Parameters
    ----------
    entry : Entry
        Whose state has a plan.
    source : Source
    plan : ColumnPlan
    parts : dict of str to ndarray of bool (rows,), or None
        Names of files, and which of the rows go there; None: all.
    progress : callable

    Raises
    ------
    DataError
        A file is damaged, a value does not fit the plan, or the disk is full.
    """
    state = entry.state()
    width = 4 * plan.n_features
    make_room(entry, width * source.rows + (1 << 20))
    files = [_Part(entry.folder / name, rows) for name, rows in parts.items()]
    try:
        with ExitStack() as opened:
            streams = [opened.enter_context(_opened(part)) for part in files]
            for part, stream in zip(files, streams, strict=True):
                stream.truncate(width * part.before(state["written"]))
                stream.seek(0, os.SEEK_END)
            _write(entry, source, plan, files, streams, progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        size = width * source.rows / 1e9
        raise DataError(
            f"the disk of {entry.folder} is full: the ready rows take {size:.1f} GB; free some"
            " space and start again, which goes on from there, or name another folder with"
            " NBMLP_ROWS_DIR."
        ) from None


def _opened(part: _Part) -> BinaryIO:
    """The file with what is there, made if need be."""
    return open(part.path, "r+b" if part.path.exists() else "w+b")


def _write(
    entry: Entry, source: Source, plan: ColumnPlan, files: list[_Part], streams: list[BinaryIO],
    progress: Progress,
) -> None:  # fmt: skip
    state = entry.state()
    row, since = state["written"], 0
    for batch in source.batches(plan.needed, row):
        progress(row / source.rows, f"making the rows of {source.name} ready")
        with source.telling(first=row):
            x = plan.transform(table_of_batch(source, batch))
        end = row + len(x)
        for part, stream in zip(files, streams, strict=True):
            some = x if part.rows is None else x[part.rows[row:end]]
            stream.write(np.ascontiguousarray(some).data)
        row, since = end, since + x.nbytes
        if since >= _SAFE or row == source.rows:
            _make_safe(streams)
            safe = {part.path.name: part.before(row) for part in files}
            entry.note(state := state | {"written": row, "safe": safe})
            since = 0


def _make_safe(streams: list[BinaryIO]) -> None:
    for stream in streams:
        stream.flush()
        os.fsync(stream.fileno())

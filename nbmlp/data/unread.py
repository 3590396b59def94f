"""Rows that are read when they are needed, a part of them at a time."""

from __future__ import annotations

import mmap
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nbmlp.data.mend import filled
from nbmlp.data.table import Table
from nbmlp.rows import Names

__all__ = ["Unread", "room"]

#: Bytes of the values that are read together.
_TOGETHER = 1 << 23
#: From so many bytes on, memory is mapped.
_LARGE = 1 << 22
#: <asm/mman.h> of Linux, where Python before 3.13 does not tell: memory that is never written to
#: is not promised to anybody, so there may be more of it than the machine has.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
_KNOWN = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")


@dataclass(frozen=True, eq=False)
class Unread:
    """Some rows of an array or a table.

    Attributes
    ----------
    source : ndarray (rows, columns) of numbers, or Table
    places : ndarray of int64, or None
        Which rows of it, in their order; None: all.
    medians : mapping of int to float
        Of columns, for their values that are not finite in `dtype`.
    dtype : str
    """

    source: NDArray[Any] | Table
    places: NDArray[np.int64] | None = None
    medians: Mapping[int, float] = field(default_factory=dict)
    dtype: str = "float32"

    @classmethod
    def of(cls, X: Any) -> Any:
        """X as it is, or to be read by parts where it can be."""
        numbers = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf" and X.size
        return cls(X) if numbers or isinstance(X, Table) else X

    def __len__(self) -> int:
        return len(self.source if self.places is None else self.places)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self), self.source.shape[1]

    @property
    def whole(self) -> bool:
        """Whether these are all rows of the source, as they are there."""
        return self.places is None and not self.medians

    def take(self, rows: NDArray[np.int64]) -> Unread:
        """Some of the rows; nothing is read."""
        return replace(self, places=rows if self.places is None else self.places[rows])

    def read(self, first: int, end: int) -> Any:
        """Rows that follow each other: an array or a table."""
        rows = slice(first, end) if self.places is None else self.places[first:end]
        found = self.source.part(rows) if isinstance(self.source, Table) else self.source[rows]
        return filled(found, self.medians, self.dtype) if self.medians else found

    def column(self, name: str) -> Table:
        """All values of a table's column, as a table of these rows alone has them."""
        assert isinstance(self.source, Table)
        number = self.source.names.index(name)
        medians = {0: self.medians[number]} if number in self.medians else {}
        one = replace(self, source=self.source.only(name), medians=medians)
        found: Table = one.read(0, len(self))
        return found if self.places is None else Table(found.columns, found.kinds)

    def made(
        self, make: Callable[[Any], Any], own: tuple[int, int],
        others: NDArray[np.int64], names: Names,
    ) -> NDArray[Any]:  # fmt: skip
        """What becomes of rows that are one's own and of few others, in an array for all of them.

        Rows that are neither are not read, and take no memory where there are many.

        Parameters
        ----------
        make : callable
            What becomes of some rows, row by row.
        own : (int, int)
            The first one and the one behind the last.
        others : ndarray of int64
            At least one.
        names : Names
            What rows are called, in errors.
        """

        def some(rows: NDArray[np.int64]) -> Any:
            with names.take(rows).telling():
                part = self.take(rows).read(0, len(rows))
                return make(part)

        first = some(others)
        out: NDArray[Any] = room(len(self), first.shape[1], first.dtype, own)
        out[others] = first
        step = max(1, _TOGETHER // (8 * max(self.shape[1], first.shape[1])))
        for start in range(*own, step):
            rows = np.arange(start, min(start + step, own[1]))
            out[rows[0] : rows[-1] + 1] = some(rows)
        return out


def room(rows: int, width: int, dtype: DTypeLike, own: tuple[int, int]) -> NDArray[Any]:
    """Zeros (rows, width) that take memory where they are written to: in `own`, and here and there.

    Large pages serve what is read again and again; elsewhere each row would take one of 2 MB.
    """
    row = width * np.dtype(dtype).itemsize
    if not _KNOWN or rows * row < _LARGE:
        return np.zeros((rows, width), dtype)
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    try:
        memory = mmap.mmap(-1, rows * row, flags=kind)
    except OSError:  # there is a limit on it, of which NumPy says how much was wanted
        return np.zeros((rows, width), dtype)
    start = own[0] * row // mmap.PAGESIZE * mmap.PAGESIZE
    with suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        if own[0] < own[1]:
            memory.madvise(mmap.MADV_HUGEPAGE, start, own[1] * row - start)
    return np.frombuffer(memory, dtype).reshape(rows, width)

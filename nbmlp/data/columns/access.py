"""The columns of a table, a frame or a matrix, one by one and by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.check import check_X
from nbmlp.data.sparse import SparseRows, is_sparse
from nbmlp.data.table import Table, as_table
from nbmlp.errors import DataError, Place, RowError
from nbmlp.rows import Names

__all__ = ["Columns", "first_text"]


def first_text(column: NDArray[Any], place: Place, rest: str) -> RowError:
    """The error about the first text of a column: its place there is that of the column."""
    row = next(r for r, cell in enumerate(column) if cell is not None)
    return RowError("X", f"holds the text {column[row]!r}", place._replace(row=row), rest)


def _numbers(column: NDArray[Any], place: Place) -> NDArray[np.float64]:
    """Numbers, out of text as well."""
    if column.dtype.kind == "M":
        rest = ": that column held numbers when the plan was fitted."
        raise RowError("X", "holds a date", place, rest)
    if column.dtype != object:
        return column.astype(np.float64, copy=False)
    values = np.full(len(column), np.nan)
    for row, cell in enumerate(column):
        if cell is not None:
            try:
                values[row] = float(cell)
            except ValueError:
                rest = ": it held numbers when the plan was fitted."
                where = place._replace(row=row)
                raise RowError("X", f"holds the text {cell!r}", where, rest) from None
    return values


def _mixed(data: Any, names: Sequence[str] | None) -> Table | None:
    """Columns of an array of text or of Python's objects; None of any other."""
    array = data
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
        if not any(isinstance(cell, str) for cell in data[0]):
            return None
        array = np.array(data, dtype=object)  # else numbers beside text would become text
    array = None if is_sparse(array) or isinstance(array, SparseRows) else np.asarray(array)
    if array is None or array.ndim != 2 or array.dtype.kind not in "OU" or not array.size:
        return None
    names = tuple(names or (f"x{j}" for j in range(array.shape[1])))
    _check_count(names, array.shape[1])
    table = Table({name: array[:, j] for j, name in enumerate(names)})
    if array.dtype.kind == "O":
        return table
    return Table({name: _as_written(table[name]) for name in table})


def _as_written(column: NDArray[Any]) -> NDArray[Any]:
    """Numbers that became text because an array has one type, as numbers again."""
    try:
        return np.array([np.nan if cell is None else float(cell) for cell in column])
    except ValueError:
        return column


def _check_count(names: Sequence[str], found: int) -> None:
    if len(names) != found:
        raise DataError(f"{len(names)} column names are given for {found} columns.")
    if len(set(names)) < found:
        twice = next(name for j, name in enumerate(names) if name in names[:j])
        raise DataError(f"two columns are called {twice!r}: rename one.")


class Columns:
    """The columns of some data, by name.

    Parameters
    ----------
    data : Table, mapping, data frame, or array-like (rows, columns)
    names : sequence of str, optional
        Of the columns of an array.
    fitted : sequence of str, optional
        What they are called where nothing else is known.

    Attributes
    ----------
    names : tuple of str
    """

    def __init__(
        self, data: object, names: Sequence[str] | None, fitted: Sequence[str] | None = None
    ) -> None:
        self._table = as_table(data)
        self._named = self._table is not None or bool(names)
        if self._table is None:
            if hasattr(data, "__array__"):  # made an array of once: it may be long work
                data = np.asarray(data)
            self._table = _mixed(data, names or fitted)
        if self._table is not None:
            self.names = self._table.names
        else:
            self._take(data, names, fitted)
        self._place = {name: j for j, name in enumerate(self.names)}

    def _take(
        self, data: object, names: Sequence[str] | None, fitted: Sequence[str] | None
    ) -> None:
        width = len(fitted) if fitted and not names else None
        matrix = check_X(data, width, dtype=np.float64)  # type: ignore[arg-type]
        if isinstance(matrix, SparseRows):
            raise DataError("X is sparse: columns can't be scaled then; leave standardise out.")
        self._matrix = matrix
        found = self._matrix.shape[1]
        self.names = tuple(names or fitted or (f"x{j}" for j in range(found)))
        _check_count(self.names, found)

    def __len__(self) -> int:
        return len(self._matrix if self._table is None else self._table)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._table is not None:
            return self._table[name]
        return self._matrix[:, self._place[name]]

    def kind(self, name: str) -> str:
        """``"boolean"`` or ``"category"`` where that was said, else empty."""
        return "" if self._table is None else self._table.kinds.get(name, "")

    def place(self, name: str) -> Place:
        """Where the column is, for errors."""
        return Place(0, self._place[name], name if self._named else "")

    def numbers(self, names: Sequence[str]) -> NDArray[Any]:
        """Matrix of some columns, without a copy if it is the whole matrix.

        Raises
        ------
        RowError
            Text that is no number.
        """
        if self._table is None:
            if tuple(names) == self.names:
                return self._matrix
            return self._matrix[:, [self._place[name] for name in names]]
        A = np.empty((len(self), len(names)))
        for j, name in enumerate(names):
            A[:, j] = _numbers(self._table[name], Place(0, j, name))
        return A

    def called(self, names: Sequence[str]) -> Names:
        """What the columns of :meth:`numbers` are called."""
        places = np.array([self._place[name] for name in names], np.int64)
        return Names(columns=self.names if self._named else (), places=places)

"""Values that are missing or not finite: where they are, and what to put in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.sparse import finite_in, is_sparse
from nbmlp.data.table import Table, is_missing
from nbmlp.errors import DataError, listing
from nbmlp.rows import Names

__all__ = ["Mended", "bad_inputs", "bad_targets", "filled", "median_of", "with_medians"]

Array = NDArray[Any]
_CHUNK_BYTES = 1 << 20
_LISTED = 10


@dataclass(frozen=True)
class Mended:
    """What was done about values that are not finite.

    Attributes
    ----------
    dropped : tuple of int
        Numbers of the rows left out.
    imputed : int
        Values replaced by the median of their column.
    columns : tuple of int
        Columns of X that held one.
    words : tuple of str
        What these columns are called: names in quotes, or numbers.
    """

    dropped: tuple[int, ...] = ()
    imputed: int = 0
    columns: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    def describe(self, name: str = "") -> str:
        """One sentence; empty if nothing was done."""
        parts = []
        if self.dropped:
            rows = f"{len(self.dropped)} row{'s' * (len(self.dropped) > 1)}"
            parts.append(f"{rows} left out ({listing(self.dropped, _LISTED)})")
        if self.imputed:
            values = f"{self.imputed} value{'s' * (self.imputed > 1)}"
            parts.append(f"{values} replaced by the median of the column")
        if not parts:
            return ""
        where = f" in column {listing(self.words, _LISTED)}" if self.words else ""
        return f"{name}NaN or infinite values{where}: {'; '.join(parts)}."


def bad_inputs(
    X: Any, dtype: str, missing: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of each value that is not finite in `dtype`, row by row.

    With `missing`, a column plan will fill in NaN and scale the rest in float64: only infinite
    values count then.
    """
    if isinstance(X, Table):
        places = [_bad_in_column(X[name], dtype, missing) for name in X]
        columns = np.repeat(np.arange(len(places)), [len(p) for p in places])
        rows = np.concatenate(places)
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order]
    if is_sparse(X):
        coordinates = X.tocoo()
        bad = _bad(coordinates.data, dtype, missing)
        return coordinates.row[bad].astype(np.int64), coordinates.col[bad].astype(np.int64)
    if X.dtype.kind != "f" or X.ndim != 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    step = max(1, _CHUNK_BYTES // max(1, X.shape[1] * X.itemsize))
    found: list[Array] = [np.empty((0, 2), np.int64)]
    for start in range(0, len(X), step):
        places_here = np.argwhere(_bad(X[start : start + step], dtype, missing))
        found.append(places_here + np.array([start, 0]))
    rows, columns = np.concatenate(found).T
    return rows, columns


def _bad(values: Array, dtype: str, missing: bool) -> NDArray[np.bool_]:
    return np.isinf(values) if missing else ~finite_in(values, dtype)


def _bad_in_column(column: Array, dtype: str, missing: bool) -> NDArray[np.int64]:
    if column.dtype.kind != "f":
        return np.empty(0, np.int64)
    return np.flatnonzero(_bad(column, dtype, missing))


def bad_targets(y: Array, dtype: str) -> NDArray[np.int64]:
    """Rows without a target: missing, NaN, or infinite in `dtype`."""
    if y.dtype.kind not in "fO":
        return np.empty(0, np.int64)
    values = y.reshape(len(y), -1)
    if y.dtype.kind == "f":
        return np.flatnonzero(~finite_in(values, dtype).all(axis=1))
    gaps = [any(map(_no_target, row)) for row in values.tolist()]
    return np.flatnonzero(gaps)


def _no_target(cell: object) -> bool:
    """Whether one of Python's objects is no target; text is one, whatever it says."""
    if isinstance(cell, str):
        return False
    return is_missing(cell) or (isinstance(cell, float) and not np.isfinite(cell))


def with_medians(X: Any, rows: NDArray[np.int64], columns: NDArray[np.int64], names: Names) -> Any:
    """A copy of X with the medians of its columns at the places given.

    Raises
    ------
    DataError
        A column has no finite value.
    """
    if isinstance(X, Table):
        values = dict(X.columns)
        for j in np.unique(columns):
            column, bad = values[X.names[j]].copy(), rows[columns == j]
            column[bad] = median_of(np.delete(column, bad), names.column_words([j])[0])
            values[X.names[j]] = column
        return Table(values, X.kinds)
    made = X.copy()
    if is_sparse(X):
        made.sum_duplicates()
    for j in np.unique(columns):
        column = made[:, [j]].toarray()[:, 0] if is_sparse(X) else made[:, j]
        bad, word = rows[columns == j], names.column_words([j])[0]
        made[bad, j] = median_of(np.delete(column, bad), word)
    return made


def median_of(rest: Array, word: str) -> float:
    """That of the values of a column that are finite; `word` is what the column is called.

    Raises
    ------
    DataError
        There are none.
    """
    if not len(rest):
        raise DataError(f"column {word} of X has no finite value to take the median of.")
    return float(np.median(rest))


def filled(X: Array | Table, medians: Mapping[int, float], dtype: str) -> Array | Table:
    """A copy with the medians of columns, by number, where values are not finite in `dtype`."""
    if isinstance(X, Table):
        names = {X.names[j]: median for j, median in medians.items()}
        return X.replaced({name: _filled(X[name], names[name], dtype) for name in names})
    made = X.copy()
    for j, median in medians.items():
        made[:, j] = _filled(made[:, j], median, dtype)
    return made


def _filled(column: Array, median: float, dtype: str) -> Array:
    made = column.copy()
    made[_bad(column, dtype, False)] = median
    return made

"""Rows as users give them, of any kind: parts of them, and what to do about NaN and infinities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.check import check_length
from nbmlp.data.sparse import as_csr, is_sparse
from nbmlp.data.split import split
from nbmlp.data.table import Table, as_table
from nbmlp.errors import DataError, listing

__all__ = ["Given", "Mended"]

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
        Columns that held one.
    """

    dropped: tuple[int, ...] = ()
    imputed: int = 0
    columns: tuple[int, ...] = ()

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
        where = f" in column {listing(self.columns, _LISTED)}" if self.columns else ""
        return f"{name}NaN or infinite values{where}: {'; '.join(parts)}."


@dataclass(frozen=True, eq=False)
class Given:
    """Inputs, targets and weights of the same rows.

    Attributes
    ----------
    X : ndarray, CSR matrix or Table
    y : ndarray (rows,) or (rows, targets)
    weights : ndarray (rows,) or None
    numbers : ndarray of int64 (rows,), or None
        What the rows are called; None: 0, 1, ...

    Notes
    -----
    Made by :meth:`of` its arrays are of these kinds; made directly it just holds what it is given.
    """

    X: Any
    y: Any
    weights: Any = None
    numbers: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, X: Any, y: Any, weights: Any = None, numbers: Any = None) -> Given:
        """Data of any kind.

        Raises
        ------
        DataError
            Lengths that differ, or a damaged sparse matrix.
        """
        table = as_table(X)
        data: Any = table
        if table is None:
            data = as_csr(X) if is_sparse(X) else np.asarray(X)
        n, y = data.shape[0] if is_sparse(data) or np.ndim(data) else 0, np.asarray(y)
        check_length(y, n)
        given = None if weights is None else np.asarray(weights)
        if given is not None:
            check_length(given, n, "sample_weight")
        called = np.arange(n) if numbers is None else np.asarray(numbers)
        if called.dtype.kind not in "iu":
            raise DataError("row_numbers must be whole numbers.")
        check_length(called, n, "row_numbers")
        return cls(data, y, given, called.astype(np.int64))

    def take(self, rows: NDArray[np.int64]) -> Given:
        """Some of the rows."""
        X = self.X.take(rows) if isinstance(self.X, Table) else self.X[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Given(X, self.y[rows], weights, self._called(rows))

    def _called(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows if self.numbers is None else self.numbers[rows]

    def set_aside(self, share: float, seed: int, classes: bool) -> tuple[Given, Given]:
        """Rows to train on, and a share to validate on; `classes` keep theirs in both."""
        stratify = None
        if self.y.ndim == 1 and (classes or self.y.dtype.kind in "biuUO"):
            few = np.unique(self.y.astype(str)).size <= len(self.y) // 10
            stratify = self.y if few else None
        first, second = split(len(self.y), share, seed, stratify)
        return self.take(first), self.take(second)

    # -- values that are not finite

    def without_bad_rows(self, dtype: str, missing: bool = False) -> tuple[Given, Mended]:
        """The rows whose inputs and numeric targets are finite in `dtype`.

        Parameters
        ----------
        dtype : str
        missing : bool
            Inputs may be NaN: a column plan fills them in.

        Raises
        ------
        DataError
            There are none.
        """
        rows, columns = self._bad_inputs(dtype, missing)
        bad = np.union1d(rows, np.flatnonzero(_bad_targets(self.y, dtype)))
        return self._without(bad, Mended(columns=_distinct(columns)))

    def imputed(self, dtype: str) -> tuple[Given, Mended]:
        """The median of a column's finite values for those that are not; bad targets left out.

        Raises
        ------
        DataError
            A column or the targets have no finite value.
        """
        rows, columns = self._bad_inputs(dtype)
        given = self
        if len(rows):
            X = _with_medians(self.X, rows, columns)
            given = Given(X, self.y, self.weights, self.numbers)
        done = Mended(imputed=len(rows), columns=_distinct(columns))
        return given._without(np.flatnonzero(_bad_targets(self.y, dtype)), done)

    def _without(self, bad: NDArray[np.int64], done: Mended) -> tuple[Given, Mended]:
        if not len(bad):
            return self, done
        if len(bad) == len(self.y):
            raise DataError("every row has a value that is NaN or infinite: none is left.")
        kept = np.delete(np.arange(len(self.y)), bad)
        dropped = tuple(self._called(bad).tolist())
        return self.take(kept), Mended(dropped, done.imputed, done.columns)

    def _bad_inputs(
        self, dtype: str, missing: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of each value that is not finite (nor, if so allowed, NaN), row by row."""
        X = self.X
        if isinstance(X, Table):
            places = [_bad_in_column(X[name], missing) for name in X]
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


def _bad(values: Array, dtype: str, missing: bool = False) -> NDArray[np.bool_]:
    """Which values are infinite in `dtype` or, unless they may be missing, NaN."""
    with np.errstate(over="ignore"):
        cast = values.astype(dtype, copy=False)
    return np.asarray(np.isinf(cast) if missing else ~np.isfinite(cast))


def _bad_in_column(column: Array, missing: bool) -> NDArray[np.int64]:
    if column.dtype.kind != "f":
        return np.empty(0, np.int64)
    return np.flatnonzero(_bad(column, column.dtype.name, missing))


def _bad_targets(y: Array, dtype: str) -> NDArray[np.bool_]:
    if y.dtype.kind != "f":
        return np.zeros(len(y), np.bool_)
    return np.asarray(_bad(y.reshape(len(y), -1), dtype).any(axis=1))


def _distinct(columns: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.unique(columns).tolist())


def _median(column: Array, bad: NDArray[np.int64], name: object) -> float:
    rest = np.delete(column, bad)
    if not len(rest):
        raise DataError(f"column {name} of X has no finite value to take the median of.")
    return float(np.median(rest))


def _with_medians(X: Any, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Any:
    """A copy of X with medians at the places given."""
    if isinstance(X, Table):
        values = dict(X.columns)
        names = X.names
        for j in np.unique(columns):
            bad, name = rows[columns == j], names[j]
            column = values[name].copy()
            column[bad] = _median(column, bad, repr(name))
            values[name] = column
        return Table(values)
    made = X.copy()
    sparse = is_sparse(X)
    if sparse:
        made.sum_duplicates()
    for j in np.unique(columns):
        bad = rows[columns == j]
        column = made[:, [j]].toarray()[:, 0] if sparse else made[:, j]
        made[bad, j] = _median(column, bad, j)
    return made

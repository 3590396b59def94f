"""The column plan: raw columns to the numbers that a net learns from, fitted once and kept.

Numbers are standardised; a missing one becomes the mean and raises an indicator. A category
becomes a row of zeros with a single one; rare and unknown ones share a place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nbmlp.data.check import check_X, first_nonfinite
from nbmlp.data.scale import TargetScale, chunks, moments
from nbmlp.data.sparse import SparseRows
from nbmlp.data.table import Table, as_table
from nbmlp.errors import DataError, Place, RowError, listing
from nbmlp.rows import Names

__all__ = ["CategoryColumn", "ColumnPlan", "NumberColumn", "first_text", "wants_plan"]

#: Bytes that never reach this are no pictures: a quarter of the range is left to dark ones.
_DARKEST_PICTURE = 64


@dataclass(frozen=True)
class NumberColumn:
    """A numeric column: ``(x - mean) / scale``, and 0 where missing.

    Attributes
    ----------
    name : str
        Of the column.
    mean, scale : float
        Mean and standard deviation of the values present; scale is 1 in a constant column.
    indicator : bool
        Some were missing when fitted: a further column is 1 where missing.
    """

    name: str
    mean: float
    scale: float
    indicator: bool = False


@dataclass(frozen=True)
class CategoryColumn:
    """A column of text: one 0/1 column for each category, and one for all others.

    Attributes
    ----------
    name : str
        Of the column.
    categories : tuple of str
        In alphabetical order.
    indicator : bool
        Some were missing when fitted: a last column is 1 where missing. Without it, a missing
        one is a row of zeros.
    """

    name: str
    categories: tuple[str, ...]
    indicator: bool = False

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns that it becomes."""
        ends = ("(other)", "(missing)") if self.indicator else ("(other)",)
        return tuple(f"{self.name}={c}" for c in (*self.categories, *ends))

    def one_hot(self, column: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the ones of `column` (rows,) into zeros `out` (rows, features)."""
        place: dict[str | None, int] = {c: k for k, c in enumerate(self.categories)}
        other = len(self.categories)
        place[None] = other + 1 if self.indicator else -1
        codes = np.array([place.get(cell, other) for cell in _texts(column)], dtype=np.intp)
        rows = np.flatnonzero(codes >= 0)
        out[rows, codes[rows]] = 1.0

    def unknown(self, column: NDArray[Any]) -> list[str]:
        """Texts of `column` that are none of the categories, each once."""
        return sorted({cell for cell in _texts(column) if cell is not None} - {*self.categories})


def _texts(column: NDArray[Any]) -> list[str | None]:
    """Cells as text, None where missing; whole numbers without a decimal point."""
    if column.dtype == object:
        return list(column)
    return [None if x != x else f"{x:.15g}" for x in column.tolist()]


class _Columns:
    """The columns of a matrix or of a table, by name."""

    def __init__(
        self, data: object, names: Sequence[str] | None, fitted: Sequence[str] | None = None
    ) -> None:
        self._table = as_table(data)
        self._named = self._table is not None or bool(names)
        if self._table is not None:
            self.names = self._table.names
            self._place = {name: j for j, name in enumerate(self.names)}
            return
        width = len(fitted) if fitted and not names else None
        matrix = check_X(data, width, dtype=np.float64)  # type: ignore[arg-type]
        if isinstance(matrix, SparseRows):
            raise DataError("X is sparse: columns can't be scaled then; leave standardise out.")
        self._matrix = matrix
        found = self._matrix.shape[1]
        self.names = tuple(names or fitted or (f"x{j}" for j in range(found)))
        if len(self.names) != found:
            raise DataError(f"{len(self.names)} column names are given for {found} columns.")
        self._place = {name: j for j, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self._matrix if self._table is None else self._table)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._table is not None:
            return self._table[name]
        return self._matrix[:, self._place[name]]

    def numbers(self, names: Sequence[str]) -> NDArray[Any]:
        """Matrix of some columns, without a copy if it is the whole matrix."""
        if self._table is None:
            if tuple(names) == self.names:
                return self._matrix
            return self._matrix[:, [self._place[name] for name in names]]
        A = np.empty((len(self), len(names)))
        for j, name in enumerate(names):
            column = self._table[name]
            if column.dtype == object:
                rest = ": it held numbers when the plan was fitted."
                raise first_text(column, Place(0, j, name), rest)
            A[:, j] = column
        return A

    def called(self, names: Sequence[str]) -> Names:
        """What the columns of :meth:`numbers` are called."""
        places = np.array([self._place[name] for name in names], np.int64)
        return Names(columns=self.names if self._named else (), places=places)


def first_text(column: NDArray[Any], place: Place, rest: str) -> RowError:
    """The error about the first text of a column: its place there is that of the column."""
    row = next(r for r, cell in enumerate(column) if cell is not None)
    return RowError("X", f"holds the text {column[row]!r}", place._replace(row=row), rest)


def _fit_category(
    name: str, column: NDArray[Any], min_count: int, max_categories: int
) -> CategoryColumn:
    counts = Counter(_texts(column))
    missing = counts.pop(None, 0)
    frequent = counts.most_common(max_categories)
    kept = sorted(text for text, count in frequent if text is not None and count >= min_count)
    return CategoryColumn(name, tuple(kept), missing > 0)


@dataclass(frozen=True)
class ColumnPlan:
    """How raw columns become the inputs of a net; frozen, comparable, fit for JSON.

    Attributes
    ----------
    columns : tuple of str
        Columns that it was fitted on, in their order.
    numbers : tuple of NumberColumn
        Those that are standardised.
    categories : tuple of CategoryColumn
        Those that become zeros and ones.
    target : TargetScale or None
        Scale of the targets, when it was fitted with numeric ones.
    """

    columns: tuple[str, ...]
    numbers: tuple[NumberColumn, ...]
    categories: tuple[CategoryColumn, ...] = ()
    target: TargetScale | None = None

    @classmethod
    def fit(
        cls,
        X: object,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        categorical: Sequence[str] = (),
        min_count: int = 2,
        max_categories: int = 100,
    ) -> ColumnPlan:
        """Learn means, deviations and categories.

        Parameters
        ----------
        X : Table, mapping, data frame, or array-like of shape (rows, columns)
            Missing values: None, NaN, and in text columns also the marks of
            :data:`nbmlp.data.table.MISSING_MARKS`.
        y : array-like of shape (rows,) or (rows, targets), optional
            Numeric targets to be scaled; left out for classes.
        names : sequence of str, optional
            Of the columns of a matrix; ``x0``, ``x1``, ... by default.
        categorical : sequence of str
            Numeric columns that hold categories. Text columns always do.
        min_count : int
            A category seen less often shares the place of the unknown ones, which so gets
            something to learn from.
        max_categories : int
            Of one column; the most frequent are kept.

        Raises
        ------
        DataError
            An infinite value, an unknown name in `categorical`, or data that are no matrix.
        """
        data = _Columns(X, names)
        for name in categorical:
            if name not in data.names:
                raise DataError(f"there is no column {name!r} to take as categorical.")
        groups = [n for n in data.names if n in categorical or data[n].dtype == object]
        numeric = [n for n in data.names if n not in groups]
        with data.called(numeric).telling():
            found = moments(data.numbers(numeric))
        values = zip(numeric, *(array.tolist() for array in found), strict=True)
        return cls(
            columns=data.names,
            numbers=tuple(NumberColumn(*value) for value in values),
            categories=tuple(_fit_category(n, data[n], min_count, max_categories) for n in groups),
            target=None if y is None else TargetScale.fit(y),
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of :meth:`transform`: numbers, their indicators, categories."""
        return (
            *(column.name for column in self.numbers),
            *(f"{column.name}=(missing)" for column in self.numbers if column.indicator),
            *(name for column in self.categories for name in column.feature_names),
        )

    def transform(
        self, X: object, names: Sequence[str] | None = None, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Apply the plan.

        Parameters
        ----------
        X : Table, mapping, data frame, or array-like of shape (rows, columns)
            Named columns may come in any order.
        names : sequence of str, optional
            Of the columns of a matrix; by default they are those that the plan was fitted on.
        dtype : dtype
            Of the result.

        Returns
        -------
        ndarray of shape (rows, len(feature_names))

        Raises
        ------
        DataError
            Missing or additional columns, text where there were numbers, an infinite value.
        """
        data = _Columns(X, names, self.columns)
        self._check_names(data.names)
        out = np.zeros((len(data), len(self.feature_names)), dtype=dtype)
        numeric = [column.name for column in self.numbers]
        with data.called(numeric).telling():
            self._transform_numbers(data.numbers(numeric), out)
        start = len(self.numbers) + sum(column.indicator for column in self.numbers)
        for column in self.categories:
            end = start + len(column.feature_names)
            column.one_hot(data[column.name], out[:, start:end])
            start = end
        return out

    def _check_names(self, names: Sequence[str]) -> None:
        lacking = [name for name in self.columns if name not in names]
        extra = [name for name in names if name not in self.columns]
        if lacking or extra:
            parts = [f"lack {_listed(lacking)}"] if lacking else []
            parts += [f"have {_listed(extra)} besides"] if extra else []
            raise DataError(
                f"the data {' and '.join(parts)}: the model was fitted on the columns"
                f" {_listed(self.columns)}."
            )

    def _transform_numbers(self, given: NDArray[Any], out: NDArray[Any]) -> None:
        mean = np.array([column.mean for column in self.numbers])
        scale = np.array([column.scale for column in self.numbers])
        flagged = np.flatnonzero([column.indicator for column in self.numbers])
        width = len(self.numbers)
        for rows, chunk in chunks(given):
            missing = np.isnan(chunk)
            with np.errstate(over="ignore"):
                out[rows, :width] = np.where(missing, 0.0, (chunk - mean) / scale)
            if (place := first_nonfinite(out[rows, :width])) is not None:
                raise _too_far(chunk[place], rows.start + place[0], place[1], out.dtype)
            out[rows, width : width + len(flagged)] = missing[:, flagged]

    def places(self, names: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Which column each column of :meth:`transform` comes from, by number.

        Parameters
        ----------
        names : sequence of str, optional
            Of the columns of X in its order, where it is another than that of `columns`.
        """
        if names is None or tuple(names) == self.columns:
            return self._places
        place = {name: j for j, name in enumerate(names)}
        return np.array([place[name] for name in self.columns], np.int64)[self._places]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        place = {name: j for j, name in enumerate(self.columns)}
        found = [place[column.name] for column in self.numbers]
        found += [place[column.name] for column in self.numbers if column.indicator]
        for column in self.categories:
            found += [place[column.name]] * len(column.feature_names)
        return np.array(found, np.int64)

    def transform_target(self, y: ArrayLike) -> NDArray[np.float64]:
        """Scaled targets of shape (rows, targets); needs a plan that was fitted with y."""
        return self._scale().transform(y)

    def inverse_target(self, z: ArrayLike) -> NDArray[np.float64]:
        """Predictions in y's units, of z's shape; needs a plan that was fitted with y."""
        return self._scale().inverse(z)

    def _scale(self) -> TargetScale:
        if self.target is None:
            raise DataError("this column plan was fitted without targets: it cannot scale any.")
        return self.target

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ColumnPlan:
        """The inverse of :meth:`to_dict`; raises DataError on anything else."""
        try:
            target = values["target"]
            return cls(
                columns=tuple(map(str, values["columns"])),
                numbers=tuple(NumberColumn(**column) for column in values["numbers"]),
                categories=tuple(
                    CategoryColumn(**{**column, "categories": tuple(column["categories"])})
                    for column in values["categories"]
                ),
                target=None if target is None else TargetScale.from_dict(target),
            )
        except (KeyError, TypeError):
            raise DataError("the stored column plan cannot be read.") from None


def _too_far(value: float, row: int, column: int, dtype: DTypeLike) -> RowError:
    rest = f": too far from that column's mean for {np.dtype(dtype)}."
    return RowError("X", f"has {value:g}", Place(row, column), rest)


def _listed(names: Sequence[str]) -> str:
    return listing([repr(name) for name in names], 8)


def wants_plan(X: NDArray[Any] | Table) -> bool:
    """Whether a column plan would help: X is not yet of the size that nets learn well from.

    Parameters
    ----------
    X : Table or ndarray of shape (rows, columns)

    Returns
    -------
    bool
        True for a table, for a float matrix with a value outside [-1, 1] or missing, and for
        bytes that all lie below 64 and so are no pictures (whose bytes are divided by 255).
    """
    if isinstance(X, Table):
        return True
    if X.dtype == np.uint8:
        return bool(X.max() < _DARKEST_PICTURE)
    step = max(1, (1 << 17) // X.shape[1])
    pieces = (X[start : start + step] for start in range(0, len(X), step))
    return not all(bool((np.abs(piece) <= 1).all()) for piece in pieces)

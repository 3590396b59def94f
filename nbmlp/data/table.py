"""Named columns of equal length: mixed data before a column plan makes a matrix of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.data.sparse import is_sparse
from nbmlp.errors import DataError

__all__ = ["MISSING_MARKS", "Table", "as_table", "is_missing"]

#: What stands for a missing value in text, spaces around it aside.
MISSING_MARKS = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null"})


def is_missing(value: object) -> bool:
    """Whether one cell is missing: None, NaN, pandas' NA, or a mark of `MISSING_MARKS`."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str):
        return value.strip() in MISSING_MARKS
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _as_column(name: str, values: ArrayLike) -> NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(f"column {name!r} has shape {column.shape}: a column is one-dimensional.")
    if column.dtype == np.uint8:
        return column
    if column.dtype.kind in "biuf":
        return column.astype(np.float64, copy=False)
    if column.dtype.kind not in "UO":
        raise DataError(f"column {name!r} holds {column.dtype}: numbers or text are needed.")
    cells = [None if is_missing(v) else v for v in column.tolist()]
    if all(v is None or isinstance(v, int | float | np.number | np.bool_) for v in cells):
        return np.array([np.nan if v is None else v for v in cells], dtype=np.float64)
    return np.array([v if v is None else str(v) for v in cells], dtype=object)


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns by name, in order.

    Attributes
    ----------
    columns : dict of str to ndarray
        One-dimensional and equally long. On construction numbers become float64 (uint8 stays)
        with NaN where missing, text becomes object arrays of str with None where missing.

    Raises
    ------
    DataError
        No columns, unequal lengths, or a column that holds neither numbers nor text.
    """

    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        columns = {str(name): _as_column(str(name), v) for name, v in self.columns.items()}
        if not columns:
            raise DataError("the table has no columns.")
        lengths = {name: len(v) for name, v in columns.items()}
        first = next(iter(lengths))
        for name, length in lengths.items():
            if length != lengths[first]:
                raise DataError(
                    f"column {name!r} has {length} rows and column {first!r} has"
                    f" {lengths[first]}: all columns need the same length."
                )
        object.__setattr__(self, "columns", columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __repr__(self) -> str:
        kinds = {name: "text" if v.dtype == object else v.dtype for name, v in self.columns.items()}
        return f"Table({len(self)} rows; {', '.join(f'{n}: {k}' for n, k in kinds.items())})"

    def take(self, rows: NDArray[Any] | slice) -> Table:
        """The rows of an index array, a mask or a slice."""
        return Table({name: v[rows] for name, v in self.columns.items()})


def as_table(data: object) -> Table | None:
    """Named columns out of a Table, a mapping or a data frame; None for anything else.

    Parameters
    ----------
    data : object
        pandas and polars frames are known by their ``columns`` and their columns' ``to_numpy``.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping) and not is_sparse(data):  # a dok_matrix is a dict, too
        return Table(data)
    if hasattr(data, "columns") and hasattr(data, "to_numpy") and hasattr(data, "__getitem__"):
        return Table({str(name): data[name].to_numpy() for name in data.columns})
    return None

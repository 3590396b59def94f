"""Named columns of equal length: mixed data before a column plan makes a matrix of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
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


def _as_column(name: str, values: ArrayLike) -> tuple[NDArray[Any], str]:
    """Values in a type that columns have, and what that does not tell."""
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(f"column {name!r} has shape {column.shape}: a column is one-dimensional.")
    if column.dtype == np.uint8:
        return column, ""
    if column.dtype.kind in "biuf":
        return column.astype(np.float64, copy=False), "boolean" if column.dtype.kind == "b" else ""
    if column.dtype.kind == "M":
        return column.astype("M8[us]"), ""
    if column.dtype.kind == "m":
        return np.where(np.isnat(column), np.nan, column / np.timedelta64(1, "D")), ""
    if column.dtype.kind not in "UO":
        raise DataError(f"column {name!r} holds {column.dtype}: numbers, text or dates are needed.")
    return _from_cells(name, [None if is_missing(v) else v for v in column.tolist()])


def _from_cells(name: str, cells: list[Any]) -> tuple[NDArray[Any], str]:
    kinds = {type(cell) for cell in cells if cell is not None}
    for kind in kinds:
        if issubclass(kind, list | tuple | dict | set | np.ndarray):
            raise DataError(
                f"column {name!r} holds {kind.__name__}s: numbers, text or dates are needed."
            )
    if all(issubclass(kind, int | float | Decimal | np.number | np.bool_) for kind in kinds):
        said = "boolean" if kinds and kinds <= {bool, np.bool_} else ""
        return np.array([np.nan if v is None else v for v in cells], dtype=np.float64), said
    if all(issubclass(kind, date | np.datetime64) for kind in kinds):
        return np.array([_naive(v) for v in cells], dtype="M8[us]"), ""
    return np.array([v if v is None else str(v) for v in cells], dtype=object), ""


def _naive(cell: Any) -> Any:
    """A time as the clock on the wall has it, whatever its zone."""
    if cell is None:
        return np.datetime64("NaT", "us")
    return cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell


def _said(values: object) -> str:
    """What the column of a frame says of itself that its values don't."""
    kind = str(getattr(values, "dtype", "")).lower()
    return "category" if kind.startswith(("category", "categorical", "enum")) else ""


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Columns by name, in order.

    Attributes
    ----------
    columns : dict of str to ndarray
        One-dimensional and equally long. On construction numbers and booleans become float64
        (uint8 stays) with NaN where missing, text becomes object arrays of str with None where
        missing, dates become ``datetime64[us]``.
    kinds : dict of str to str
        Columns whose values do not tell that they are of ``"boolean"`` or ``"category"``; found
        out on construction, unless named.

    Raises
    ------
    DataError
        No columns, unequal lengths, two of one name, or a column of other things than numbers,
        text and dates.
    """

    columns: Mapping[str, NDArray[Any]]
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns, kinds = {}, dict(self.kinds)
        for given, values in self.columns.items():
            name = str(given)
            if name in columns:
                raise DataError(f"two columns are called {name!r}: rename one.")
            columns[name], kind = _as_column(name, values)
            if kind := kinds.get(name) or _said(values) or kind:
                kinds[name] = kind
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
        object.__setattr__(self, "kinds", {n: k for n, k in kinds.items() if n in columns})

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
        kinds |= self.kinds
        return f"Table({len(self)} rows; {', '.join(f'{n}: {k}' for n, k in kinds.items())})"

    def take(self, rows: NDArray[Any] | slice) -> Table:
        """The rows of an index array, a mask or a slice."""
        return Table({name: v[rows] for name, v in self.columns.items()}, self.kinds)

    # -- with other values of the same kinds: nothing is looked through again

    def reordered(self, name: str, rows: NDArray[np.int64]) -> Table:
        """The same with one column in another order."""
        return self.replaced({name: self.columns[name][rows]})

    def replaced(self, values: Mapping[str, NDArray[Any]]) -> Table:
        """The same with other values in some columns."""
        return self._of({**self.columns, **values})

    def part(self, rows: NDArray[np.int64] | slice) -> Table:
        """Some of the rows, in columns of the types that they have for all."""
        return self._of({name: values[rows] for name, values in self.columns.items()})

    def only(self, *names: str) -> Table:
        """Some of the columns."""
        return self._of({name: self.columns[name] for name in names})

    def _of(self, columns: Mapping[str, NDArray[Any]]) -> Table:
        made = copy.copy(self)
        object.__setattr__(made, "columns", columns)
        return made


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
        return _from_frame(data)
    return None


def _from_frame(frame: Any) -> Table:
    """The columns of a frame, with what they say of themselves."""
    columns, kinds = {}, {}
    for given in frame.columns:
        name = str(given)
        if name in columns:
            raise DataError(f"two columns are called {name!r}: rename one.")
        column = frame[given]
        if getattr(column, "ndim", 1) > 1:  # what pandas gives for a name that occurs twice
            raise DataError(f"two columns are called {name!r}: rename one.")
        columns[name] = column.to_numpy()
        if said := _said(column):
            kinds[name] = said
    return Table(columns, kinds)

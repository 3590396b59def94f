"""What people see of a data set: kinds, gaps, examples, first rows, the likely target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import Dataset, Table, Told, told_of
from nbmlp.data.mend import bad_targets
from nbmlp.errors import DataError
from nbmlp.server.ports import ColumnInfo

__all__ = ["columns_of", "describe", "guess_target", "preview", "with_fates"]

_PREVIEW_CELLS, _PREVIEW_ROWS = 20_000, 20
_EXAMPLES, _EXAMPLE_LENGTH = 5, 80
#: Counting the different values of longer columns would take too long.
_COUNTED_ROWS = 1_000_000
_TARGET_NAMES = ("target", "label", "class", "y", "output", "outcome", "species")
#: A last column with no more different values than this is likely to name classes.
_FEW = 50

#: Cells of larger tables that are looked at for what would become of them.
_LOOKED_AT = 1_000_000

Column = tuple[str, NDArray[Any]]


def columns_of(data: Dataset) -> Iterator[Column]:
    """Names and values of all columns: those of X, then the targets beside it."""
    if isinstance(data.X, Table):
        yield from data.X.columns.items()
    else:
        yield from ((f"x{j}", data.X[:, j]) for j in range(data.X.shape[1]))
    if data.y is not None:
        one = data.y.ndim == 1
        values = data.y[:, np.newaxis] if one else data.y
        yield from (("y" if one else f"y{j}", values[:, j]) for j in range(values.shape[1]))


def describe(name: str, column: NDArray[Any]) -> ColumnInfo:
    """Kind, gaps and range of one column."""
    info = {"O": _describe_text, "U": _describe_text, "M": _describe_dates}.get(
        column.dtype.kind, _describe_numbers
    )
    gaps = bad_targets(column, "float64")
    return replace(info(name, column), first_gap=int(gaps[0]) if len(gaps) else None)


def _describe_numbers(name: str, column: NDArray[Any]) -> ColumnInfo:
    missing, finite = 0, column
    if column.dtype.kind == "f":
        missing = int(np.isnan(column).sum())
        finite = column[np.isfinite(column)].astype(np.float64)
    distinct = len(np.unique(finite)) if len(column) <= _COUNTED_ROWS else -1
    whole = column.dtype.kind != "f" or bool((finite == np.floor(finite)).all())
    if not len(finite):
        return ColumnInfo(name, "number", missing, distinct)
    return ColumnInfo(
        name, "integer" if whole else "number", missing, distinct,
        float(finite.min()), float(finite.max()), _mean(finite),
    )  # fmt: skip


def _mean(values: NDArray[Any]) -> float | None:
    with np.errstate(over="ignore"):
        mean = float(values.mean(dtype=np.float64))
    return mean if np.isfinite(mean) else None


def _describe_dates(name: str, column: NDArray[Any]) -> ColumnInfo:
    there = np.unique(column[~np.isnat(column)])
    ends = (there[0], there[-1]) if len(there) else ()
    missing = int(np.isnat(column).sum())
    examples = tuple(str(time.astype("M8[s]")) for time in ends)
    return ColumnInfo(name, "date", missing, len(there), examples=examples)


def with_fates(infos: Sequence[ColumnInfo], data: Dataset) -> list[ColumnInfo]:
    """The same with what would become of each column by default, where anything would."""
    target = guess_target(infos)
    told = {one.column: one for one in _told(data, target)}
    return [
        replace(info, becomes=told[info.name].became, why=told[info.name].reason)
        if info.name in told
        else info
        for info in infos
    ]


def _told(data: Dataset, target: str | None) -> list[Told]:
    """Of all columns but the target."""
    if isinstance(data.X, Table):
        names = [name for name in data.X if name != target]
        data = Dataset(Table({name: data.X[name] for name in names}, data.X.kinds))
    step = -(-len(data) * data.X.shape[1] // _LOOKED_AT)
    try:
        return told_of(data.take(slice(None, None, step)) if step > 1 else data)
    except DataError:  # an infinite value: whoever trains on that column will be told
        return []


def _describe_text(name: str, column: NDArray[Any]) -> ColumnInfo:
    counts = Counter(column.tolist())
    missing = counts.pop(None, 0)
    examples = tuple(str(text)[:_EXAMPLE_LENGTH] for text, _ in counts.most_common(_EXAMPLES))
    return ColumnInfo(name, "text", missing, len(counts), examples=examples)


def preview(columns: Sequence[Column]) -> tuple[tuple[float | int | str | None, ...], ...]:
    """The first rows: fewer where there are many columns."""
    rows = max(1, min(_PREVIEW_ROWS, _PREVIEW_CELLS // len(columns)))
    cells = [[_cell(value) for value in column[:rows].tolist()] for _, column in columns]
    return tuple(zip(*cells, strict=True))


def _cell(value: object) -> float | int | str | None:
    if isinstance(value, float):
        return None if np.isnan(value) else value if np.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ").removesuffix(" 00:00:00")
    if value is None or isinstance(value, int):
        return value
    return str(value)[:_EXAMPLE_LENGTH]


def guess_target(infos: Sequence[ColumnInfo]) -> str | None:
    """A column with a customary name, else the last one if it looks like classes, else None."""
    for wanted in _TARGET_NAMES:
        for info in infos:
            if info.name.lower() == wanted:
                return info.name
    last = infos[-1]
    few = last.kind != "number" and 2 <= last.distinct <= _FEW
    return last.name if few and len(infos) > 1 else None

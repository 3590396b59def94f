"""Columns of polars as those of a Table, of some rows or of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.table import Table, is_missing
from nbmlp.errors import DataError, Place, RowError
from nbmlp.stream.source import Source

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "check_types", "groups", "read_columns", "read_targets", "read_weights", "table_of_batch",
    "texts_of",
]  # fmt: skip

#: Bytes of the columns that are looked at together; one of them always is.
_TOGETHER = 1 << 25


def check_types(source: Source, names: Sequence[str]) -> None:
    """Refuse columns that hold lists and the like."""
    for name in names:
        if not _kind(source.schema[name]):
            raise DataError(
                f"{source.name}: column {name!r} holds {source.schema[name]}: numbers, text or"
                " dates are needed; leave that column out."
            )


def texts_of(source: Source, names: Sequence[str]) -> list[str]:
    """Those of the columns that are text."""
    return [name for name in names if _kind(source.schema[name]) == "text"]


def _kind(dtype: Any) -> str:
    """What a column becomes: a number, a time or text; empty for nothing."""
    import polars as pl

    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration):
        return "number"
    if dtype in (pl.Date, pl.Datetime):
        return "time"
    return "text" if dtype in (pl.String, pl.Categorical, pl.Enum) else ""


def _said(dtype: Any) -> str:
    """What the type says that the values do not."""
    import polars as pl

    if dtype == pl.Boolean:
        return "boolean"
    return "category" if dtype in (pl.Categorical, pl.Enum) else ""


_TYPES = {"number": "f8", "time": "M8[us]", "text": "O"}


class _Cells:
    """Reads a column batch by batch; texts that occur again are the same object."""

    def __init__(self, dtype: Any) -> None:
        self.kind, self._known = _kind(dtype), dict[str, str | None]()

    def read(self, column: pl.Series) -> NDArray[Any]:
        import polars as pl

        if self.kind == "text":
            return self._texts(column.cast(pl.String).to_list())
        if self.kind == "time":
            return column.to_numpy().astype("M8[us]")
        if column.dtype == pl.Duration:
            spans = column.to_numpy()
            return np.where(np.isnat(spans), np.nan, spans / np.timedelta64(1, "D"))
        return column.cast(pl.Float64).to_numpy()

    def _texts(self, cells: list[str | None]) -> NDArray[Any]:
        known = self._known
        for cell in {*cells} - known.keys():
            if cell is not None:
                known[cell] = None if is_missing(cell) else cell
        found = np.empty(len(cells), object)
        found[:] = [None if cell is None else known[cell] for cell in cells]
        return found


def table_of_batch(source: Source, batch: pl.DataFrame) -> Table:
    """A batch as the table that it would be if it were all there is."""
    schema = source.schema
    cells = {name: _Cells(schema[name]).read(batch[name]) for name in batch.columns}
    return Table(cells, _kinds(source, batch.columns))


def _kinds(source: Source, names: Sequence[str]) -> dict[str, str]:
    said = {name: _said(source.schema[name]) for name in names}
    return {name: kind for name, kind in said.items() if kind}


def groups(source: Source, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The columns in turn, so many together as memory is meant to hold; texts one by one."""
    together = max(1, _TOGETHER // (8 * source.rows))
    found: list[list[str]] = []
    closed = True
    for name in names:
        alone = _kind(source.schema[name]) == "text"
        if alone or closed or len(found[-1]) >= together:
            found.append([])
        found[-1].append(name)
        closed = alone
    return [tuple(group) for group in found]


def read_columns(source: Source, names: Sequence[str], rows: NDArray[np.int64] | None) -> Table:
    """All values of some columns; of some rows, if these are named."""
    whole = {n: np.empty(source.rows, _TYPES[_kind(source.schema[n])]) for n in names}
    cells = {name: _Cells(source.schema[name]) for name in names}
    first = 0
    for batch in source.batches(names):
        for name in names:
            whole[name][first : first + len(batch)] = cells[name].read(batch[name])
        first += len(batch)
    for name in names:
        values = whole[name] if rows is None else whole[name][rows]
        empty = values.dtype == object and all(cell is None for cell in values)
        whole[name] = np.full(len(values), np.nan) if empty else values
    return Table(whole, _kinds(source, names))


def read_targets(source: Source, names: Sequence[str]) -> NDArray[Any]:
    """Targets (rows,), or numbers (rows, targets) of several columns.

    Raises
    ------
    DataError
        A column is of times or lists, or of text beside others.
    """
    import polars as pl

    kinds = [source.schema[name] for name in names]
    wanted = ("number",) if len(names) > 1 else ("number", "text")
    words = "numbers are" if len(names) > 1 else "numbers or texts are"
    for name, kind in zip(names, kinds, strict=True):
        if _kind(kind) not in wanted or kind == pl.Duration:
            raise DataError(
                f"{source.name}: the target {name!r} holds {kind}: {words} needed there."
            )
    if len(names) > 1:
        return np.concatenate([_numbers(batch) for batch in source.batches(names)])
    name, cells = names[0], _Cells(kinds[0])
    plain = cells.kind == "text" or kinds[0].is_decimal()
    parts = [
        cells.read(batch[name]) if plain else batch[name].to_numpy()
        for batch in source.batches(names)
    ]
    return np.concatenate(parts)


def read_weights(source: Source, name: str) -> NDArray[np.float64]:
    """Weights of rows (rows,): numbers, none of them missing or negative.

    Raises
    ------
    DataError
        There is no such column, or it holds anything else.
    """
    import polars as pl

    if (kind := source.schema.get(name)) is None:
        raise DataError(f"{source.name} has no column {name!r}, which sample_weight names.")
    if _kind(kind) != "number" or kind == pl.Duration:
        raise DataError(f"{source.name}: sample_weight names {name!r}, which holds {kind}.")
    found = np.concatenate([_numbers(batch) for batch in source.batches([name])]).ravel()
    wrong = ~((found >= 0.0) & np.isfinite(found))
    if wrong.any():
        row = int(wrong.argmax())
        fault = f"has the weight {found[row]:g}"
        with source.telling():
            raise RowError("y", fault, Place(row, None, name), ": weights are numbers from 0 on.")
    return found


def _numbers(batch: pl.DataFrame) -> NDArray[np.float64]:
    import polars as pl

    return np.asarray(batch.select(pl.all().cast(pl.Float64)).to_numpy(order="c"))

"""Rows as programs have them -> tensors of the inference protocol."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from nbmlp.errors import DataError

__all__ = ["tensors"]


def tensors(rows: Any) -> list[dict[str, Any]]:
    """One tensor for each column, or one for a matrix.

    Parameters
    ----------
    rows : mapping, data frame, sequence of mappings, or matrix

    Raises
    ------
    DataError
        Rows of different lengths or with different names, or a value that is no number and no
        text; with the row, counted from 0.
    """
    if (columns := _columns(rows)) is not None:
        return [_tensor(name, values) for name, values in columns]
    plain = [_plain(row) for row in rows]
    if not plain:
        raise DataError("there are no rows to predict.")
    if isinstance(plain[0], Mapping):
        names = _names(plain)
        return [_tensor(name, [row[name] for row in plain]) for name in names]
    return [_matrix(plain)]


def _columns(rows: Any) -> Iterator[tuple[str, list[Any]]] | None:
    """Names and values of a mapping or a data frame; None of anything else."""
    if isinstance(rows, Mapping):
        return ((name, list(_plain(values))) for name, values in rows.items())
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        return ((name, list(_plain(rows[name]))) for name in rows.columns)
    return None


def _plain(values: Any) -> Any:
    """Lists for arrays and columns of data frames."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "M":  # some become plain numbers
        return [None if text == "NaT" else text for text in values.astype(str).tolist()]
    for name in ("tolist", "to_list"):
        if hasattr(values, name):
            return getattr(values, name)()
    return values


def _names(rows: Sequence[Any]) -> list[str]:
    """Of the first row; all others must have the same."""
    names = list(rows[0])
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"row {i} has no names, row 0 has: give all rows in the same way.")
        if row.keys() == rows[0].keys():
            continue
        wrong = next((str(name) for name in row if name not in rows[0]), None)
        if wrong is None:
            lacks = next(name for name in names if name not in row)
            raise DataError(f"row {i} lacks {lacks!r}: give None where a value is missing.")
        near = difflib.get_close_matches(wrong, map(str, names), 1)
        hint = f": did you mean {near[0]!r}?" if near else ": give all rows the same names."
        raise DataError(f"row {i} has {wrong!r}, which row 0 has not{hint}")
    return names


def _matrix(rows: Sequence[Any]) -> dict[str, Any]:
    """All rows as one tensor."""
    flat: list[Any] = []
    width = 0
    for i, row in enumerate(rows):
        if isinstance(row, str | Mapping) or not isinstance(row, Iterable):
            raise DataError(f"row {i} is no list of numbers, but {str(row)[:80]!r}.")
        values = [_cell(value, f"row {i}, column {j}") for j, value in enumerate(row)]
        if i and len(values) != width:
            raise DataError(f"row {i} has {len(values)} values, row 0 has {width}.")
        width = len(values)
        flat += values
    return {"name": "x", "shape": [len(rows), width], "datatype": "FP64", "data": flat}


def _tensor(name: str, values: Iterable[Any]) -> dict[str, Any]:
    cells = [_cell(value, f"row {i}, {name!r}") for i, value in enumerate(values)]
    kind = "BYTES" if any(isinstance(value, str) for value in cells) else "FP64"
    return {"name": str(name), "shape": [len(cells)], "datatype": kind, "data": cells}


def _cell(value: Any, where: str) -> str | float | None:
    """As JSON has it: None for what is missing."""
    if isinstance(value, str):
        return str(value)  # a NumPy string, too
    if hasattr(value, "item"):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, numbers.Real | Decimal):
        kind = type(value).__name__
        raise DataError(
            f"{where} holds a {kind}: give a number, text, a date, or None for a missing one."
        )
    number = float(value)
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise DataError(f"{where} is infinite: no model takes that.")
    return number

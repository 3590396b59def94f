"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from nbmlp.server.ports import Model

__all__ = ["curve_csv", "evaluation_csv"]

#: A cell that starts so is run as a formula when a spreadsheet opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet shows and does not run; numbers stay numbers."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(_cell, header))
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def curve_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line per epoch."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch"]
    return _table(names, ([row.get(name) for name in names] for row in rows))


def evaluation_csv(model: Model) -> str:
    """The confusion matrix, or true and predicted values, of the rows that were measured."""
    if confusion := model.evaluation.get("confusion"):
        lines = ([label, *row] for label, row in zip(model.classes, confusion, strict=True))
        return _table(["true class", *(f"as {label}" for label in model.classes)], lines)
    pairs = model.evaluation.get("residuals") or ()
    return _table(["true", "predicted", "residual"], ((t, p, p - t) for t, p in pairs))

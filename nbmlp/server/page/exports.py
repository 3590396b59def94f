"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nbmlp.server.ports import Model, Service

__all__ = ["curve", "curve_csv", "evaluation_csv"]

#: Rows of a curve that are fetched at a time.
_EPOCHS = 2000
#: A cell that starts so is run as a formula when a spreadsheet opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet shows and does not run; numbers stay numbers."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def curve(service: Service, job_id: str) -> Iterator[Sequence[dict[str, Any]]]:
    """Rows of all epochs, some at a time: a long training has a hundred thousand."""
    after, more = 0, True
    while more:
        found = service.metrics(job_id, after, _EPOCHS)
        yield found.rows
        after, more = found.rows[-1]["epoch"] if found.rows else after, found.has_more


def curve_csv(pieces: Iterable[Sequence[dict[str, Any]]]) -> Iterator[str]:
    """One line per epoch, piece by piece."""
    names: list[str] = []
    for rows in pieces:
        if not names:
            names = list(rows[0]) if rows else ["epoch"]
            yield _lines([names])
        yield _lines([row.get(name) for name in names] for row in rows)


def evaluation_csv(model: Model) -> str:
    """The confusion matrix, or true and predicted values, of the rows that were measured."""
    if confusion := model.evaluation.get("confusion"):
        lines = ([label, *row] for label, row in zip(model.classes, confusion, strict=True))
        return _lines([["true class", *(f"as {label}" for label in model.classes)], *lines])
    pairs = model.evaluation.get("residuals") or ()
    return _lines([("true", "predicted", "residual"), *((t, p, p - t) for t, p in pairs)])

"""What a server keeps about a model beside its file: its inputs, and how it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.coding import Answers, TargetCoding
from nbmlp.data import ColumnPlan, Dataset
from nbmlp.data.origin import Origin

__all__ = ["categories_of", "details", "inputs_of"]

#: Of a confusion matrix; of pairs (true, predicted).
_MOST_CLASSES, _MOST_PAIRS = 100, 500
#: Characters of a model's categories that the server keeps, to offer them.
_CATEGORIES = 100_000


def inputs_of(plan: ColumnPlan | None, data: Dataset) -> list[tuple[str, str]]:
    """As the model takes them: text that no training row had counts as numbers, dates as text."""
    if plan is None:
        return [(name, "number") for name in data.feature_names]
    text = {*Origin.of(data).text}
    numeric = {
        c.name
        for c in plan.prepared
        if c.kind == "number" or (c.kind == "boolean" and c.name not in text)
    }
    taken = [c.name for c in plan.prepared if c.kind != "left out"]
    return [(name, "number" if name in numeric else "text") for name in taken]


def categories_of(plan: ColumnPlan | None) -> dict[str, list[str]]:
    """Of each column of text those that the model knows, as far as there is room for them."""
    found, room = dict[str, list[str]](), _CATEGORIES
    for column in () if plan is None else plan.categories:
        room -= len(column.name) + sum(map(len, column.categories))
        if room < 0:
            break
        found[column.name] = list(column.categories)
    return found


def details(coding: TargetCoding, output: str, y: Any, outputs: NDArray[Any]) -> dict[str, Any]:
    """A confusion matrix and calibration, or true and predicted numbers of some rows."""
    shown = coding.shown(y, outputs, output)
    if isinstance(shown, Answers):
        if len(shown.labels) > _MOST_CLASSES:
            return {}
        points = {} if shown.points is None else {"calibration": shown.points.tolist()}
        return {"confusion": shown.matrix.tolist(), **points}
    predicted = shown[1]
    if predicted.ndim > 1:
        return {}
    rows = np.linspace(0, len(y) - 1, min(_MOST_PAIRS, len(y))).astype(int)
    return {"residuals": [[float(y[i]), float(predicted[i])] for i in rows]}

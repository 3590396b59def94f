"""What a contestant is given, and how its predictions are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.tables.data import CLASSES, Split, Table

__all__ = ["Predict", "Problem", "align", "make_problem", "scores"]

#: Probabilities below this count as this: a single row cannot be worth all others.
LEAST_PROBABILITY = 1e-7
#: Rows -> probabilities (rows, classes), or numbers (rows,).
Predict = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """Rows to train on and to validate on.

    Attributes
    ----------
    X, X_val : DataFrame
        Text, categories and gaps as they came.
    y, y_val : ndarray
        Numbers, or class numbers.
    labels : ndarray or None
        What the class numbers stand for; None in a regression.
    categories : list of str
        Columns of text.
    seed, cores : int
    seconds : float
        For those who take as long as they are given.
    """

    X: Any
    y: np.ndarray
    X_val: Any
    y_val: np.ndarray
    labels: np.ndarray | None
    categories: list[str]
    seed: int
    cores: int
    seconds: float

    @property
    def all_rows(self) -> tuple[Any, np.ndarray]:
        """Training and validation rows as one."""
        import pandas as pd

        X = pd.concat([self.X, self.X_val], ignore_index=True)
        return X, np.concatenate([self.y, self.y_val])

    def text(self, y: np.ndarray) -> np.ndarray:
        """Labels of class numbers; numbers stay."""
        return y if self.labels is None else self.labels[y]


def make_problem(
    table: Table, split: Split, seed: int, cores: int, seconds: float
) -> tuple[Problem, Any, np.ndarray]:
    """A problem; the test rows and their targets."""
    labels, y = None, table.target
    if table.task == CLASSES:
        labels, y = np.unique(table.target, return_inverse=True)
    X, X_val, X_test = (table.frame(rows) for rows in split)
    problem = Problem(
        X, y[split.train], X_val, y[split.val], labels, table.categories, seed, cores, seconds
    )
    return problem, X_test, y[split.test]


def align(model: Any, problem: Problem, X: Any) -> np.ndarray:
    """`predict_proba` with a column for each class, also for one that the model never saw."""
    assert problem.labels is not None
    found = np.zeros((len(X), len(problem.labels)))
    known = np.asarray(model.classes_)
    if known.dtype.kind in "OUT":
        known = np.searchsorted(problem.labels, known.astype(object))
    found[:, known.astype(int)] = model.predict_proba(X)
    return found


def scores(table: Table, y: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """`error` (share of wrong classes, or RMSE over the target's deviation) and `log_loss`."""
    if table.task != CLASSES:
        rmse = float(np.sqrt(np.mean((predicted - y) ** 2)))
        return {"error": rmse / table.deviation, "log_loss": None}
    right = np.clip(predicted[np.arange(len(y)), y], LEAST_PROBABILITY, 1)
    wrong = predicted.argmax(axis=1) != y
    return {"error": float(wrong.mean()), "log_loss": float(-np.log(right).mean())}

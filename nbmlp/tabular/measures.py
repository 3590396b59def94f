"""What nets are compared by on held-out rows: smaller is better, whatever the measure is.

A measure is told in two steps: terms of each row, which are linear in the outputs, so that those of
an average of nets are the average of theirs; and one number from the terms of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import SCORES, Function, Reads, Score, read_score, spellings
from nbmlp.tabular.targets import Targets

__all__ = ["MEASURES", "Measure", "Truth", "measure_of"]

Floats = NDArray[np.float64]
#: Probabilities count as if they were no smaller: outputs are float32.
_LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class Truth:
    """Targets of held-out rows.

    Attributes
    ----------
    targets : Targets
    codes : ndarray
        Classes (rows,), 0 and 1 (rows, labels), or scaled numbers (rows, targets) in float64.
    weights : ndarray (rows,) or None
        By which nets are compared, weights of classes included.
    own_weights : ndarray (rows,) or None
        Without those of classes.
    missed : float
        Weight of further rows, of classes that no net can name: all of them are misses.
    """

    targets: Targets
    codes: NDArray[Any]
    weights: Floats | None = None
    own_weights: Floats | None = None
    missed: float = 0.0

    def __len__(self) -> int:
        return len(self.codes)

    def mean(self, values: Floats, missed: float = 0.0) -> float:
        """Weighted mean of (rows,) or (rows, columns), with `missed` for each row that is one."""
        rows = values if values.ndim == 1 else values.mean(axis=1)
        if self.weights is None:
            total, weight = float(rows.sum()), float(len(rows))
        else:
            total, weight = float(rows @ self.weights), float(self.weights.sum())
        return (total + self.missed * missed) / (weight + self.missed)


@dataclass(frozen=True)
class Measure:
    """One way to compare.

    Attributes
    ----------
    name : str
    tasks : tuple of str
    terms : callable (truth, outputs in float64) -> ndarray (rows, ...)
    value : callable (truth, terms) -> float
    sign : float
        The number that people know is sign * value.
    """

    name: str
    tasks: tuple[str, ...]
    terms: Callable[[Truth, Floats], Floats]
    value: Callable[[Truth, Floats], float]
    sign: float = 1.0

    def __call__(self, truth: Truth, outputs: NDArray[Any]) -> float:
        """Of outputs as nets give them."""
        return self.value(truth, self.terms(truth, outputs.astype(np.float64)))


def _of_truth(truth: Truth, outputs: Floats) -> Floats:
    """Probability of the class that it is, or of each label being as it is."""
    codes = truth.codes
    if truth.targets.softmax:
        return np.asarray(outputs[np.arange(len(codes)), codes])
    positive = codes.reshape(outputs.shape) > 0.5
    found = np.where(positive, outputs, 1.0 - outputs)
    return np.asarray(found[:, 0] if truth.targets.task == "classes" else found)


def _log_loss(truth: Truth, p: Floats) -> float:
    return truth.mean(-np.log(np.maximum(p, _LEAST)), -float(np.log(_LEAST)))


def _outputs(truth: Truth, outputs: Floats) -> Floats:
    return outputs


def _error(truth: Truth, outputs: Floats) -> float:
    if truth.targets.softmax:
        wrong = outputs.argmax(axis=1) != truth.codes
    else:
        wrong = (outputs > 0.5) != (truth.codes.reshape(outputs.shape) > 0.5)
        # Several labels are right together or not at all, as scikit-learn counts them.
        wrong = wrong.any(axis=1)
    return truth.mean(wrong.astype(np.float64), 1.0)


def _residuals(truth: Truth, outputs: Floats) -> Floats:
    """In the units of a single target; of several ones in those that they are scaled to."""
    targets = truth.targets
    return np.asarray((outputs - truth.codes) * (targets.scale if targets.n_outputs == 1 else 1.0))


def _rmse(truth: Truth, residuals: Floats) -> float:
    return math.sqrt(truth.mean(residuals**2))


def _mae(truth: Truth, residuals: Floats) -> float:
    return truth.mean(np.abs(residuals))


_CLASSES, _NUMBERS = ("classes", "labels"), ("regression",)
_ROWS = (
    Measure("log_loss", _CLASSES, _of_truth, _log_loss),
    Measure("error", _CLASSES, _outputs, _error),
    Measure("accuracy", _CLASSES, _outputs, lambda t, o: _error(t, o) - 1.0, -1.0),
    Measure("rmse", _NUMBERS, _residuals, _rmse),
    Measure("mae", _NUMBERS, _residuals, _mae),
)
MEASURES = {row.name: row for row in _ROWS}


def _of_score(score: Function[Score]) -> Measure:
    """One of the scores by name, of the averaged outputs; rows of classes that no net can name are
    left out of it."""
    row, sign = score.row, -1.0 if score.row.larger else 1.0

    def value(truth: Truth, outputs: Floats) -> float:
        y, given, labels = _compared(truth, outputs, row.reads)
        return sign * row.value(y, given, labels, truth.weights, score.parameter)

    return Measure(str(score), ("classes" if row.classes else "regression",), _outputs, value, sign)


def _compared(
    truth: Truth, outputs: Floats, reads: Reads
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Truth, what the score reads of the outputs, and numbers of the classes."""
    if reads is Reads.VALUES:
        targets = truth.targets
        return targets.in_units(truth.codes), targets.in_units(targets.clipped(outputs)), None
    codes = truth.codes.ravel().astype(np.intp)
    p = outputs if truth.targets.softmax else np.column_stack([1.0 - outputs, outputs])
    labels = np.arange(p.shape[1])
    if reads is Reads.PROBABILITIES:
        return codes, p, labels
    return codes, p.argmax(axis=1) if truth.targets.softmax else outputs.ravel() > 0.5, labels


def measure_of(wanted: str | None, targets: Targets) -> Measure:
    """The measure of a name; log loss of classes and RMSE of numbers where none is named.

    Raises
    ------
    SpecError
        An unknown name, or one that does not go with the task.
    """
    if wanted is None:
        return MEASURES["rmse" if targets.task == "regression" else "log_loss"]
    if (found := MEASURES.get(wanted)) is None:
        if str(wanted).partition("(")[0].strip() not in spellings(SCORES):
            raise unknown_name("eval_metric", wanted, {*MEASURES, *spellings(SCORES)})
        found = _of_score(read_score(wanted))
    if targets.task not in found.tasks:
        what = "numbers" if targets.task == "regression" else "classes"
        raise SpecError(f"eval_metric={wanted!r} does not go with {what}.")
    return found

"""What nets are compared by on held-out rows: a score, turned so that smaller is better.

Scores (:mod:`nbmlp.names.scores`) are what people ask for and are told; a criterion is how one of
them compares nets and their averages. It is computed in two steps: terms of each row, which are
linear in the outputs, so that those of an average of nets are the average of theirs; and one number
from the terms of all rows.
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

__all__ = ["Criterion", "Truth", "criterion_of"]

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
class Criterion:
    """One way to compare.

    Attributes
    ----------
    name : str
        Of its score.
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
#: By the names of their scores: those that have few terms, that count rows of classes which no net
#: can name, and that know several labels a row.
_OWN = {
    "log_loss": Criterion("log_loss", _CLASSES, _of_truth, _log_loss),
    "error": Criterion("error", _CLASSES, _outputs, _error),
    "accuracy": Criterion("accuracy", _CLASSES, _outputs, lambda t, o: _error(t, o) - 1.0, -1.0),
    "root_mean_squared_error": Criterion("rmse", _NUMBERS, _residuals, _rmse),
    "mean_absolute_error": Criterion("mae", _NUMBERS, _residuals, _mae),
}


def _of_score(score: Function[Score]) -> Criterion:
    """One of the scores by name, of the averaged outputs; rows of classes that no net can name are
    left out of it."""
    row, sign = score.row, -1.0 if score.row.larger else 1.0

    def value(truth: Truth, outputs: Floats) -> float:
        y, given, labels = _compared(truth, outputs, row.reads)
        return sign * row.value(y, given, labels, truth.weights, score.parameter)

    tasks = ("classes",) if row.classes else _NUMBERS
    return Criterion(str(score), tasks, _outputs, value, sign)


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


def criterion_of(wanted: str | None, targets: Targets) -> Criterion:
    """That of a score; log loss of classes and RMSE of numbers where none is named: of several
    targets that of each in its own scale.

    Raises
    ------
    SpecError
        An unknown name, or one that does not go with the task.
    """
    if wanted is None:
        return _OWN["root_mean_squared_error" if targets.task == "regression" else "log_loss"]
    if str(wanted).partition("(")[0].strip() not in spellings(SCORES):
        raise unknown_name("eval_metric", wanted, spellings(SCORES))
    score = read_score(wanted)
    found = _OWN.get(str(score))
    if found is None or (found.tasks == _NUMBERS and targets.n_outputs > 1):
        found = _of_score(score)
    if targets.task not in found.tasks:
        what = "numbers" if targets.task == "regression" else "classes"
        raise SpecError(f"eval_metric={wanted!r} does not go with {what}.")
    return found

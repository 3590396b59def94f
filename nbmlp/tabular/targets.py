"""Targets of tables <-> outputs: one class a row, several labels a row, or numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.coding import TargetCoding
from nbmlp.data import ColumnPlan
from nbmlp.data.check import check_y
from nbmlp.errors import DataError, Place, RowError, SpecError
from nbmlp.metrics import accuracy
from nbmlp.settings import Settings
from nbmlp.spec import ModelSpec

__all__ = ["TASKS", "Targets"]

#: One class a row, several labels a row, numbers.
TASKS = ("classes", "labels", "regression")
_MULTILABEL = {"output": "logistic", "loss": "binary_cross_entropy"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """What outputs mean.

    Attributes
    ----------
    task : str
        One of :data:`TASKS`.
    coding : TargetCoding or None
        None with several labels a row, whose outputs are the labels' probabilities.
    n_outputs : int
    low, high : tuple of float
        Range of numbers in training, one for each target; predictions never leave it.
    """

    task: str
    coding: TargetCoding | None
    n_outputs: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def fit(cls, y: ArrayLike, task: str) -> Targets:
        """Learn from the targets of all rows.

        Raises
        ------
        DataError
            As :meth:`TargetCoding.fit`; labels of several a row that are neither 0 nor 1.
        """
        if task == "labels":
            return cls(task, None, check_labels(y).shape[1])
        if task == "classes":
            coding = TargetCoding.fit(y, "classes", softmax=False, scaled=False)
            return cls(task, coding, coding.n_outputs)
        coding = TargetCoding.fit(y, "regression", softmax=False, scaled=True)
        values = check_y(y, len(np.asarray(y)), dtype=np.float64)
        low, high = (tuple(f(values, axis=0).tolist()) for f in (np.min, np.max))
        return cls(task, coding, coding.n_outputs, low, high)

    @property
    def classes(self) -> NDArray[Any] | None:
        """Labels in the order of the probabilities; None for numbers and several labels a row."""
        labels = None if self.coding is None else self.coding.labels
        return None if labels is None else labels.all()

    @property
    def softmax(self) -> bool:
        """Outputs are the probabilities of more than two classes."""
        return self.task == "classes" and self.n_outputs > 1

    @property
    def output(self) -> str:
        """Activation of the last layer."""
        if self.task == "regression":
            return "identity"
        return "softmax" if self.softmax else "logistic"

    @property
    def scale(self) -> Floats:
        """What outputs are multiplied by on their way to numbers (targets,); 1 elsewhere."""
        scale = None if self.coding is None else self.coding.scale
        return np.ones(self.n_outputs) if scale is None else np.array(scale.scale)

    @property
    def settings(self) -> dict[str, Any]:
        """What nets of such targets are set to, whatever else is."""
        return {} if self.coding is not None else dict(_MULTILABEL)

    def specify(self, settings: Settings, plan: ColumnPlan) -> ModelSpec:
        """The net for such targets and columns; `settings` hold those of :attr:`settings`."""
        n_classes = 0 if self.classes is None else len(self.classes)
        task = "regression" if self.task == "regression" else "classes"
        return settings.specify(plan.n_features, task, n_classes, self.n_outputs, plan)

    def known(self, y: ArrayLike) -> NDArray[np.bool_]:
        """Which rows have a class that outputs can name."""
        values = np.asarray(y)
        if self.classes is None:
            return np.ones(len(values), np.bool_)
        if values.dtype.kind in "iuf" and self.classes.dtype.kind in "if":
            return np.isin(values.reshape(len(values)), self.classes)  # 1.0 is 1
        text = {str(c) for c in self.classes.tolist()}
        cells = values.reshape(len(values)).tolist()
        return np.array([str(cell) in text for cell in cells], np.bool_)

    def encode(self, y: ArrayLike, n_rows: int, dtype: str = "float32") -> NDArray[Any]:
        """Targets as the kernels read them: int32 numbers of classes, or floats (rows, outputs)."""
        if self.coding is None:
            return np.ascontiguousarray(check_labels(y, self.n_outputs), dtype)
        return self.coding.encode(y, n_rows, dtype)

    def decode(self, outputs: Floats) -> NDArray[Any]:
        """Labels, a matrix of 0 and 1, or numbers within the range of training."""
        if self.coding is None:
            return (outputs > 0.5).astype(np.int64)
        values = self.coding.decode(outputs)
        if self.task == "classes":
            return values
        low, high = (bounds[0] if values.ndim == 1 else bounds for bounds in (self.low, self.high))
        within: NDArray[Any] = np.clip(values, low, high)
        return within

    def in_units(self, codes: Floats) -> Floats:
        """Numbers of the truth, which may lie beyond the range of training (rows, targets)."""
        scale = None if self.coding is None else self.coding.scale
        return codes if scale is None else np.asarray(scale.inverse(codes))

    def clipped(self, outputs: Floats) -> Floats:
        """Outputs whose numbers lie within the range of training; others as they are."""
        scale = None if self.coding is None else self.coding.scale
        if scale is None:
            return outputs
        low, high = (scale.of(np.array(bounds)) for bounds in (self.low, self.high))
        return np.clip(outputs, low, high)

    def evaluate(
        self, y: ArrayLike, outputs: Floats, sample_weight: ArrayLike | None = None,
        names: Iterable[str] | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """Loss (log loss, or the mean squared error) and scores of outputs.

        Parameters
        ----------
        y : array-like (rows,) or (rows, targets)
            As users have it.
        outputs : ndarray (rows, outputs)
        sample_weight : array-like (rows,), optional
        names : iterable of str, optional
            Of scores; the usual ones by default.

        Raises
        ------
        DataError
            A label that did not occur in training.
        SpecError
            A score that does not go with such targets.
        """
        if self.coding is None:
            if names is not None:
                raise SpecError("several labels a row have error and accuracy: name no others.")
            wrong = (self.decode(outputs) != np.asarray(y)).any(axis=1)
            error = accuracy(wrong, np.ones(len(wrong), np.bool_), sample_weight)
            return {"error": error, "accuracy": 1.0 - error}
        clipped = self.clipped(outputs)
        base = "mean_squared_error" if self.coding.labels is None else "log_loss"
        loss = self.coding.evaluate(y, clipped, self.output, sample_weight, [base])
        found = self.coding.evaluate(y, clipped, self.output, sample_weight, names)
        return {"loss": loss[base], **found}

    def tuned(
        self, metric: str, outputs: Floats, codes: NDArray[Any],
        sample_weight: ArrayLike | None = None,
    ) -> Targets:  # fmt: skip
        """The same with the threshold between two classes that makes a score best on some rows.

        Parameters
        ----------
        metric : str
        outputs : ndarray (rows, outputs)
        codes : ndarray (rows,) or (rows, 1)
            1 where the second class is right.
        sample_weight : array-like (rows,), optional

        Raises
        ------
        DataError, SpecError
            See :meth:`nbmlp.Model.tune_threshold`.
        """
        if self.coding is None:
            raise SpecError("a threshold is tuned for two classes, not for several labels a row.")
        right = codes.ravel() > 0
        coding = self.coding.tuned(metric, self.output, outputs, right, sample_weight)
        return replace(self, coding=coding)

    def probabilities(self, outputs: Floats) -> Floats:
        """Of each class (rows, classes), or of each label (rows, labels)."""
        if self.coding is None:
            return outputs
        return self.coding.probabilities(outputs, self.output)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        coding = None if self.coding is None else self.coding.to_dict()
        return {
            "task": self.task, "coding": coding, "n_outputs": self.n_outputs,
            "low": list(self.low), "high": list(self.high),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Targets:
        """The inverse of :meth:`to_dict`."""
        coding = values["coding"]
        low, high = (tuple(map(float, values[name])) for name in ("low", "high"))
        if str(values["task"]) not in TASKS:
            raise DataError("the stored task is none that tables have.")
        return cls(
            str(values["task"]), None if coding is None else TargetCoding.from_dict(coding),
            int(values["n_outputs"]), low, high,
        )  # fmt: skip


def check_labels(y: ArrayLike, n_labels: int | None = None) -> NDArray[np.float64]:
    """A matrix of 0 and 1, one column for each label.

    Raises
    ------
    DataError
    """
    values = check_y(y, len(np.asarray(y)), n_labels, dtype=np.float64)
    if n_labels is None and values.shape[1] < 2:
        raise DataError("several labels a row need a matrix of 0 and 1 with a column for each.")
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        row, column = wrong[0].tolist()
        value = values[row, column]
        raise RowError("y", f"has {value:g}", Place(row, column), ": labels are 0 or 1.")
    return values

"""Targets as users have them <-> targets as the net has them; and the output that suits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import metrics
from nbmlp.data.check import check_length, check_y
from nbmlp.data.encode import Labels, infer_task
from nbmlp.data.scale import TargetScale
from nbmlp.errors import DataError, SpecError, unknown_name
from nbmlp.names import LOSSES, OUTPUTS, PROBABLE, read_function
from nbmlp.spec import TASKS

__all__ = ["TargetCoding", "choose_output"]

#: The loss of classes that each output has.
_LOSS_OF_OUTPUT = {row.canonical: row.name for row in LOSSES.values() if row.classes}


def choose_output(task: str, n_classes: int, output: str, loss: str) -> tuple[str, str]:
    """Fill in what the user left as ``"auto"``.

    Two classes take one logistic unit, more a softmax, both with their cross-entropy; another loss
    for classes takes logistic units; numbers take the identity and the squared error.

    Returns
    -------
    output, loss : str
    """
    if output == "auto":
        output = _output_for(task, n_classes, loss)
    if loss == "auto":
        name = read_function(output, OUTPUTS, "output").name
        likely = _LOSS_OF_OUTPUT.get(name, "squared_error")
        loss = likely if task == "classes" or name == "softmax" else "squared_error"
    return output, loss


def _output_for(task: str, n_classes: int, loss: str) -> str:
    if task == "classes" and loss == "auto":
        return "logistic" if n_classes == 2 else "softmax"
    own = None if loss == "auto" else read_function(loss, LOSSES, "loss").row.canonical
    return own or ("logistic" if task == "classes" else "identity")


@dataclass(frozen=True)
class TargetCoding:
    """How targets become rows of outputs and back.

    Attributes
    ----------
    task : str
        ``"classes"`` or ``"regression"``.
    n_outputs : int
        Units of the last layer.
    labels : Labels or None
        The classes.
    scale : TargetScale or None
        Scaling of numeric targets.
    vector : bool
        Numeric targets came as a vector, and so do predictions.
    """

    task: str
    n_outputs: int
    labels: Labels | None = None
    scale: TargetScale | None = None
    vector: bool = True

    @classmethod
    def fit(cls, y: ArrayLike, task: str, softmax: bool, scaled: bool) -> TargetCoding:
        """Learn from targets.

        Parameters
        ----------
        y : array-like (rows,) or (rows, targets)
        task : str
            ``"auto"`` guesses, see :func:`nbmlp.data.encode.infer_task`.
        softmax : bool
            Two classes take two units instead of one.
        scaled : bool
            Standardise numeric targets.
        """
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
        task = infer_task(y) if task == "auto" else task
        if task == "classes":
            labels = Labels.fit(y)
            if len(labels) < 2:
                raise DataError(
                    f"y has the one class {labels.classes[0]!r}: two are needed to tell apart."
                )
            n = 1 if len(labels) == 2 and not softmax else len(labels)
            return cls(task, n, labels)
        y = np.asarray(y)
        # Scales are computed in float64; else only the shape counts, for which nothing is copied.
        kind = y.dtype if y.dtype.kind == "f" and not scaled else np.float64
        values = check_y(y, len(y), dtype=kind)
        scale = TargetScale.fit(values) if scaled else None
        return cls(task, values.shape[1], None, scale, np.ndim(y) == 1)

    def encode(
        self, y: ArrayLike, n_rows: int, dtype: str,
        known_finite: Callable[[NDArray[Any]], bool] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Class numbers (rows,) of int32, or numbers (rows, n_outputs) of `dtype`.

        For `known_finite` see :func:`nbmlp.data.check_y`.
        """
        if self.labels is not None:
            codes = self.labels.encode(y)
            check_length(codes, n_rows)
            if self.n_outputs > 1:
                return codes
            return codes.astype(dtype)[:, np.newaxis]
        if self.scale is None:
            return check_y(y, n_rows, self.n_outputs, dtype=dtype, known_finite=known_finite)
        values = check_y(y, n_rows, self.n_outputs, dtype=np.float64)
        return np.ascontiguousarray(self.scale.of(values), dtype)

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Labels, or numbers in the targets' units."""
        if self.labels is not None:
            one = self.n_outputs == 1
            codes = (outputs[:, 0] > 0.5).view(np.int8) if one else outputs.argmax(axis=1)
            return self.labels.decode(codes)
        values = outputs if self.scale is None else self.scale.inverse(outputs)
        return values[:, 0] if self.vector and self.n_outputs == 1 else values

    def probabilities(self, outputs: NDArray[Any], output: str) -> NDArray[Any]:
        """Probabilities (rows, classes) from outputs of the activation `output`.

        Raises
        ------
        SpecError
            There are no classes, or the output is no probability.
        """
        if self.labels is None:
            raise SpecError("predict_proba needs classes; this net predicts numbers.")
        if output not in PROBABLE:
            raise SpecError(
                f"predict_proba needs a {' or '.join(PROBABLE)} output, not {output!r}."
            )
        if self.n_outputs == 1:
            both = np.empty((len(outputs), 2), outputs.dtype)
            both[:, 1:] = outputs
            np.subtract(1, outputs, out=both[:, :1])
            return both
        if output == "softmax":
            return outputs
        total = outputs.sum(axis=1, keepdims=True)
        return outputs / np.where(total > 0, total, 1.0)

    def evaluate(
        self, y: ArrayLike, outputs: NDArray[Any], sample_weight: ArrayLike | None = None
    ) -> dict[str, float]:
        """Error and accuracy of classes, or mean errors and R2 in the targets' units."""
        found = self.decode(outputs)
        if self.labels is not None:
            truth = self.labels.decode(self.labels.encode(y))
            return metrics.evaluate_classes(truth, found, sample_weight)
        return metrics.evaluate_regression(np.asarray(y), found, sample_weight)

    def score(self, y: ArrayLike, outputs: NDArray[Any]) -> float:
        """Accuracy, or R2."""
        values = self.evaluate(y, outputs)
        return values["accuracy" if self.labels is not None else "r2"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task, "n_outputs": self.n_outputs, "vector": self.vector,
            "labels": None if self.labels is None else self.labels.to_dict(),
            "scale": None if self.scale is None else asdict(self.scale),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TargetCoding:
        """The inverse of :meth:`to_dict`."""
        labels, scale = values["labels"], values["scale"]
        return cls(
            str(values["task"]), int(values["n_outputs"]),
            None if labels is None else Labels.from_dict(labels),
            None if scale is None else TargetScale(tuple(scale["mean"]), tuple(scale["scale"])),
            bool(values["vector"]),
        )  # fmt: skip

"""Targets as users have them <-> targets as the net has them; and the output that suits them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import metrics
from nbmlp.checks import number
from nbmlp.data.check import check_length, check_y
from nbmlp.data.encode import Labels, infer_task
from nbmlp.data.scale import TargetScale
from nbmlp.errors import DataError, SpecError, unknown_name
from nbmlp.names import (
    LOSSES,
    OUTPUTS,
    PROBABLE,
    Function,
    Reads,
    Score,
    read_function,
    read_score,
    usual_scores,
)
from nbmlp.spec import TASKS

__all__ = ["Answers", "TargetCoding", "Truth", "choose_output"]

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


class Answers(NamedTuple):
    """What there is to draw of answered classes.

    Attributes
    ----------
    matrix : ndarray (k, k)
        Rows by true and answered class.
    labels : list of str
    points : ndarray (parts, 3), or None
        Their calibration, where there are probabilities.
    name : str
        Whose probability it is.
    """

    matrix: NDArray[Any]
    labels: list[str]
    points: NDArray[np.float64] | None
    name: str


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
    threshold : float
        Probability of the second of two classes beyond which it is the answer.
    """

    task: str
    n_outputs: int
    labels: Labels | None = None
    scale: TargetScale | None = None
    vector: bool = True
    threshold: float = 0.5

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
            return self.labels.decode(self.codes(outputs))
        values = outputs if self.scale is None else self.scale.inverse(outputs)
        return values[:, 0] if self.vector and self.n_outputs == 1 else values

    def codes(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Numbers of the classes that are answered."""
        if self.n_outputs != 1 and self.threshold == 0.5:
            first: NDArray[np.intp] = outputs.argmax(axis=1)
            return first
        # In float64: a threshold lies between two values that the net's type may not tell apart.
        limit = 0.5 if self.threshold == 0.5 else np.float64(self.threshold)
        beyond: NDArray[np.bool_] = self.second(outputs) > limit
        return beyond.view(np.int8)

    def second(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Probabilities of the second of two classes."""
        if self.n_outputs == 1:
            return outputs[:, 0]
        total = outputs.sum(axis=1)
        return outputs[:, 1] / np.where(total > 0, total, 1.0)

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

    def watched(self, metric: str | None, output: str) -> Function[Score]:
        """A score by name; accuracy or R2 where none is named.

        Parameters
        ----------
        metric : str or None
        output : str
            The activation of the last layer.

        Raises
        ------
        SpecError
            Unknown, not one of these targets, or of probabilities that the output does not give.
        """
        classes = self.labels is not None
        score = read_score(metric or ("accuracy" if classes else "r2"), classes)
        if score.row.reads is Reads.PROBABILITIES and output not in PROBABLE:
            raise SpecError(
                f"{score.name} needs probabilities: a {' or '.join(PROBABLE)} output, not"
                f" {output!r}."
            )
        return score

    def tuned(
        self,
        metric: str,
        output: str,
        outputs: NDArray[Any],
        truth: NDArray[Any],
        sample_weight: ArrayLike | None = None,
    ) -> TargetCoding:
        """The same with the threshold that makes a score best on some rows.

        Parameters
        ----------
        metric : str
        output : str
            The activation of the last layer.
        outputs : ndarray (rows, n_outputs)
        truth : ndarray (rows,)
            1 where the second class is right.
        sample_weight : array-like (rows,), optional

        Raises
        ------
        SpecError
            There are not two classes with probabilities, or the score reads no labels.
        """
        score = self.tunable(metric, output)
        p = self.second(outputs).astype(np.float64)
        found = metrics.best_threshold(truth, p, score.of_matrices, score.larger, sample_weight)
        return replace(self, threshold=found)

    def tunable(self, metric: str, output: str) -> Score:
        """The score of this name, if a threshold changes it. Raises SpecError as :meth:`tuned`."""
        if self.labels is None or len(self.labels) != 2 or output not in PROBABLE:
            raise SpecError("a threshold is tuned for two classes with probabilities; not here.")
        score = read_score(metric, True).row
        if score.reads is not Reads.LABELS:
            raise SpecError(
                f"{score.name} reads probabilities, which no threshold changes: tune it for f1,"
                " balanced_accuracy, mcc or accuracy."
            )
        return score

    def evaluate(
        self,
        y: ArrayLike,
        outputs: NDArray[Any],
        output: str,
        sample_weight: ArrayLike | None = None,
        names: Iterable[str] | None = None,
    ) -> dict[str, float]:
        """Scores by name, numbers in the targets' units.

        Parameters
        ----------
        y, outputs, sample_weight
        output : str
            The activation of the last layer.
        names : iterable of str, optional
            Which; by default the usual ones.
        """
        if names is None:
            names = usual_scores(self.labels is not None, output in PROBABLE)
        wanted = {name: self.watched(name, output) for name in names}
        return Truth(self, y, output, sample_weight).scores(outputs, wanted)

    def shown(
        self,
        y: ArrayLike,
        outputs: NDArray[Any],
        output: str,
        sample_weight: ArrayLike | None = None,
    ) -> Answers | tuple[NDArray[Any], NDArray[Any]]:
        """What pictures show of outputs: answers of classes, or true and predicted numbers."""
        if self.labels is None:
            return np.asarray(y), self.decode(outputs)
        codes, known = self.labels.encode(y), np.arange(len(self.labels))
        matrix = metrics.confusion_matrix(
            codes, self.codes(outputs), labels=known, sample_weight=sample_weight
        )
        points = None
        if output in PROBABLE:
            p = self.probabilities(outputs, output)
            points = metrics.calibration(codes, p, labels=known, sample_weight=sample_weight)
        names = [str(label) for label in self.labels.classes]
        return Answers(
            matrix, names, points, names[1] if len(names) == 2 else "the predicted class"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task, "n_outputs": self.n_outputs, "vector": self.vector,
            **({} if self.threshold == 0.5 else {"threshold": self.threshold}),
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
            number("threshold", values.get("threshold", 0.5), high=1.0, closed_high=True),
        )  # fmt: skip


class Truth:
    """Targets of some rows, against which outputs are held again and again.

    Parameters
    ----------
    coding : TargetCoding
    y : array-like
    output : str
        The activation of the last layer.
    weights : array-like (rows,), optional
    """

    def __init__(
        self, coding: TargetCoding, y: ArrayLike, output: str, weights: ArrayLike | None = None
    ) -> None:
        self._coding, self._output, self._weights = coding, output, weights
        labels = coding.labels
        self._known = None if labels is None else np.arange(len(labels))
        self._truth = np.asarray(y) if labels is None else labels.encode(y)

    def scores(
        self, outputs: NDArray[Any], wanted: Mapping[str, Function[Score]]
    ) -> dict[str, float]:
        """Some scores of outputs (rows, n_outputs), by the same keys."""
        reads = {score.row.reads for score in wanted.values()}
        read = {kind: self._prediction(kind, outputs) for kind in reads}
        return {
            name: score.row.value(
                self._truth, read[score.row.reads], self._known, self._weights, score.parameter
            )
            for name, score in wanted.items()
        }

    def _prediction(self, kind: Reads, outputs: NDArray[Any]) -> NDArray[Any]:
        coding = self._coding
        if kind is Reads.PROBABILITIES:
            return coding.probabilities(outputs, self._output)
        return coding.codes(outputs) if kind is Reads.LABELS else coding.decode(outputs)

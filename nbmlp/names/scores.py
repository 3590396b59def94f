"""Scores: one row each. What they compute: :mod:`nbmlp.metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import metrics
from nbmlp.errors import SpecError
from nbmlp.metrics import classes
from nbmlp.names.function import Function, FunctionRow, Parameter, read_function
from nbmlp.names.grammar import spellings

__all__ = [
    "SCORES", "Reads", "Score", "label_of", "larger_is_better", "read_score", "scores_of",
    "usual_scores",
]  # fmt: skip

Floats = NDArray[np.float64]


class Reads(Enum):
    """What a score compares with the truth."""

    LABELS = "labels"
    PROBABILITIES = "probabilities"
    VALUES = "values"


@dataclass(frozen=True, kw_only=True)
class Score(FunctionRow):
    """What is to be known of a score.

    Attributes
    ----------
    label : str
        What people call it; histories and pictures name it so.
    reads : Reads
    larger : bool
        Larger is better.
    usual : bool
        Told where none is asked for.
    share : bool
        A share of the rows or the like, shown in percent.
    matrix : callable or None
        Computes it from confusion matrices (..., k, k), if it reads labels.
    compute : callable or None
        Else: (truth, prediction, labels, weights, parameter) -> float; labels are those that the
        columns of probabilities stand for.
    """

    label: str
    reads: Reads
    larger: bool
    usual: bool
    share: bool = False
    matrix: Callable[[Floats], Floats] | None = None
    compute: Callable[[Any, Any, Any, Any, float], float] | None = None

    @property
    def classes(self) -> bool:
        """Of classes, not of numbers."""
        return self.reads is not Reads.VALUES

    def value(
        self,
        truth: ArrayLike,
        prediction: ArrayLike,
        labels: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        parameter: float = 0.0,
    ) -> float:
        """The score of predictions.

        Parameters
        ----------
        truth : array_like (n,) or (n, targets)
        prediction : array_like
            Labels (n,), probabilities (n, k), or numbers, as it reads.
        labels : array_like (k,), optional
            All classes, in the order of the columns of probabilities.
        weights : array_like (n,), optional
        parameter : float
        """
        if self.compute is not None:
            return self.compute(truth, prediction, labels, weights, parameter)
        found = metrics.confusion_matrix(truth, prediction, labels=labels, sample_weight=weights)
        return float(self.of_matrices(found.astype(np.float64)))

    def of_matrices(self, matrices: Floats) -> Floats:
        """The scores of confusion matrices (..., k, k), if it reads labels."""
        assert self.matrix is not None
        return self.matrix(matrices)


def _of_labels(
    name: str, label: str, matrix: Callable[[Floats], Floats], *, larger: bool = True,
    usual: bool = True, share: bool = False, aliases: tuple[str, ...] = (),
) -> Score:  # fmt: skip
    return Score(
        name=name, aliases=aliases, parameter=None, label=label, reads=Reads.LABELS, larger=larger,
        usual=usual, share=share, matrix=matrix,
    )  # fmt: skip


def _of_probabilities(
    name: str, label: str, function: Callable[..., float], *, larger: bool = True,
    usual: bool = True, aliases: tuple[str, ...] = (),
) -> Score:  # fmt: skip
    return Score(
        name=name, aliases=aliases, parameter=None, label=label, reads=Reads.PROBABILITIES,
        larger=larger, usual=usual,
        compute=lambda y, p, k, w, _: function(y, p, labels=k, sample_weight=w),
    )  # fmt: skip


def _of_values(
    name: str, label: str, function: Callable[..., float], *aliases: str, larger: bool = False
) -> Score:
    return Score(
        name=name, aliases=aliases, parameter=None, label=label, reads=Reads.VALUES, larger=larger,
        usual=True, compute=lambda y, z, _k, w, _q: function(y, z, w),
    )  # fmt: skip


_ROWS = (
    _of_labels("error", "error", classes.error_of, larger=False, share=True),
    _of_labels("accuracy", "accuracy", classes.accuracy_of, share=True),
    _of_labels("balanced_accuracy", "balanced accuracy", classes.balanced_accuracy_of, share=True),
    _of_probabilities("log_loss", "log loss", metrics.log_loss, larger=False),
    _of_probabilities("roc_auc", "ROC AUC", metrics.roc_auc, aliases=("auc",)),
    _of_probabilities(
        "pr_auc", "PR AUC", metrics.average_precision, usual=False, aliases=("average_precision",)
    ),
    _of_labels("f1", "F1", classes.f1_of),
    _of_labels("f1_macro", "macro F1", classes.f1_macro_of, usual=False),
    _of_labels("mcc", "MCC", classes.matthews_of, aliases=("matthews",)),
    _of_values(
        "root_mean_squared_error", "RMSE", metrics.root_mean_squared_error, "rmse"
    ),
    _of_values("mean_squared_error", "MSE", metrics.mean_squared_error, "mse"),
    _of_values("mean_absolute_error", "MAE", metrics.mean_absolute_error, "mae"),
    _of_values("r2", "R2", metrics.r2, larger=True),
    Score(
        name="pinball", parameter=Parameter("q", 0.5, high=1.0, closed_low=False), label="pinball",
        reads=Reads.VALUES, larger=False, usual=False,
        compute=lambda y, z, _, w, q: metrics.pinball_loss(y, z, w, q=q),
    ),
)  # fmt: skip
SCORES: dict[str, Score] = {row.name: row for row in _ROWS}
_BY_LABEL = {row.label: row for row in _ROWS}


def read_score(text: object, of_classes: bool | None = None) -> Function[Score]:
    """Read ``name`` or ``pinball(0.9)``.

    Parameters
    ----------
    text : str
        Aliases are known.
    of_classes : bool, optional
        What is predicted, if that is known.

    Raises
    ------
    SpecError
        Unknown, or of numbers where classes are predicted or the other way round; the sentence
        says which there are.
    """
    known = SCORES if of_classes is None else scores_of(of_classes)
    if (call := str(text).partition("(")[0].strip()) not in spellings(SCORES):
        raise SpecError(f"unknown score {call!r}: there are {_listed(known)}.")
    score = read_function(text, SCORES, "score")
    if score.row.name not in known:
        one, other = ("numbers", "classes") if of_classes else ("classes", "numbers")
        raise SpecError(
            f"{score.name} is a score of {one}, and this model predicts {other}: choose one of"
            f" {_listed(known)}."
        )
    return score


def _listed(known: Mapping[str, Score]) -> str:
    """Names as they are typed."""
    return ", ".join(min((row.name, *row.aliases[:1]), key=len) for row in known.values())


def scores_of(of_classes: bool) -> dict[str, Score]:
    """Those of classes, or of numbers."""
    return {name: row for name, row in SCORES.items() if row.classes == of_classes}


def usual_scores(of_classes: bool, probabilities: bool = True) -> Iterable[str]:
    """Names of those that are told where none is asked for.

    Parameters
    ----------
    of_classes, probabilities : bool
        What is predicted; whether classes come with probabilities.
    """
    for name, row in scores_of(of_classes).items():
        if row.usual and (probabilities or row.reads is not Reads.PROBABILITIES):
            yield name


def label_of(score: Function[Score]) -> str:
    """What people call it, with its parameter."""
    return str(score).replace(score.name, score.row.label, 1)


def larger_is_better(label: str) -> bool:
    """Whether that holds of a score, by name or as :func:`label_of` calls it; of others it does."""
    word = label.partition("(")[0]
    row = _BY_LABEL.get(word) or SCORES.get(spellings(SCORES).get(word, ""))
    return row is None or row.larger

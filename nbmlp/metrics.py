"""How good predictions are: for classes and for numbers, in float64.

Every function takes n rows and an optional weight per row; weights need not sum to one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError

__all__ = [
    "accuracy",
    "classification_error",
    "confusion_matrix",
    "evaluate_classes",
    "evaluate_regression",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "r2",
]

Floats = NDArray[np.float64]


def _weights(sample_weight: ArrayLike | None, n: int) -> Floats | None:
    """Checked weights of shape (n,), or None where all rows count the same."""
    if n == 0:
        raise DataError("there is no row to evaluate: give at least one.")
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise DataError(f"sample_weight has shape {weight.shape}: give one weight per row, ({n},).")
    if not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise DataError("sample_weight must be finite, 0 or more, and not 0 for all rows.")
    return weight


def _same_shape(y_true: NDArray[Any], y_pred: NDArray[Any]) -> None:
    if y_true.shape != y_pred.shape:
        raise DataError(
            f"y_true has shape {y_true.shape} and y_pred {y_pred.shape}: give one prediction"
            " for each target."
        )


def _column(values: ArrayLike) -> NDArray[Any]:
    """Labels as one dimension; a single column is taken too."""
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"labels have shape {labels.shape}: give one label per row, shape (n,).")
    return labels


def _labels(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    true, pred = _column(y_true), _column(y_pred)
    _same_shape(true, pred)
    return true, pred


def _targets(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Floats, Floats]:
    """Targets and predictions as (n, outputs)."""
    true = np.asarray(y_true, dtype=np.float64)
    pred = np.asarray(y_pred, dtype=np.float64)
    if true.ndim == 1 and pred.ndim == 2 and pred.shape[1] == 1:
        pred = pred[:, 0]
    _same_shape(true, pred)
    if true.ndim not in (1, 2):
        raise DataError(f"targets have shape {true.shape}: give (n,) or (n, outputs).")
    return (true, pred) if true.ndim == 2 else (true[:, None], pred[:, None])


def _average(values: Floats, weight: Floats | None) -> Floats:
    """Mean over the rows, shape (outputs,)."""
    return np.asarray(np.average(values, axis=0, weights=weight))


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Share of rows whose label is predicted.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n,)
        Labels of any kind.
    sample_weight : array_like of shape (n,), optional

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, or a weight is wrong.
    """
    true, pred = _labels(y_true, y_pred)
    return float(np.average(true == pred, weights=_weights(sample_weight, len(true))))


def classification_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Share of rows whose label is missed, from 0 to 1. See :func:`accuracy`."""
    true, pred = _labels(y_true, y_pred)
    return float(np.average(true != pred, weights=_weights(sample_weight, len(true))))


def _positions(values: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Index of each value in `labels`."""
    order = np.argsort(labels)
    place = np.minimum(np.searchsorted(labels, values, sorter=order), len(labels) - 1)
    found: NDArray[np.intp] = order[place]
    missing = labels[found] != values
    if missing.any():
        raise DataError(f"label {values[missing][0]!r} is not among the labels given.")
    return found


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> NDArray[np.int64] | Floats:
    """Rows by true label and predicted label.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n,)
        Labels of any kind.
    labels : array_like of shape (k,), optional
        Order of rows and columns; by default all labels that occur, sorted.
    sample_weight : array_like of shape (n,), optional

    Returns
    -------
    ndarray of shape (k, k)
        Entry (i, j) counts rows of label i predicted as label j: int64, or float64 sums of
        weights where weights are given.

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, a weight is wrong, or a label is not in `labels`.
    """
    true, pred = _labels(y_true, y_pred)
    weight = _weights(sample_weight, len(true))
    known = np.union1d(true, pred) if labels is None else _column(labels)
    k = len(known)
    cells = _positions(true, known) * k + _positions(pred, known)
    return np.bincount(cells, weight, minlength=k * k).reshape(k, k)


def log_loss(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean negative logarithm of the probability given to the true label.

    Parameters
    ----------
    y_true : array_like of shape (n,)
        Labels of any kind.
    probabilities : array_like of shape (n, k), or (n,) for two labels
        One column per label; of two labels the second one's probability may be given alone.
        Clipped to [eps, 1 - eps] of its dtype, as scikit-learn does.
    labels : array_like of shape (k,), optional
        What the columns stand for; by default the labels of `y_true`, sorted.
    sample_weight : array_like of shape (n,), optional

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, a weight is wrong, or a label is not in `labels`.
    """
    true = _column(y_true)
    weight = _weights(sample_weight, len(true))
    given = np.asarray(probabilities)
    if not np.issubdtype(given.dtype, np.floating):
        given = given.astype(np.float64)
    eps = np.finfo(given.dtype).eps
    p = np.clip(given, eps, 1 - eps).astype(np.float64)
    if p.ndim == 1:
        p = np.column_stack([1.0 - p, p])
    known = np.unique(true) if labels is None else _column(labels)
    if p.shape != (len(true), len(known)):
        raise DataError(
            f"probabilities have shape {given.shape}: {len(true)} rows and {len(known)} labels"
            f" need ({len(true)}, {len(known)}); name the columns by labels=."
        )
    chosen = p[np.arange(len(true)), _positions(true, known)]
    return float(-np.average(np.log(chosen), weights=weight))


def mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean squared difference over rows and outputs.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n,) or (n, outputs)
    sample_weight : array_like of shape (n,), optional

    Returns
    -------
    float
        In squared units of the target; outputs count equally.

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, or a weight is wrong.
    """
    true, pred = _targets(y_true, y_pred)
    return float(_average((true - pred) ** 2, _weights(sample_weight, len(true))).mean())


def mean_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute difference over rows and outputs. See :func:`mean_squared_error`."""
    true, pred = _targets(y_true, y_pred)
    return float(_average(np.abs(true - pred), _weights(sample_weight, len(true))).mean())


def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Share of the target's variance that is explained, averaged over the outputs.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n,) or (n, outputs)
    sample_weight : array_like of shape (n,), optional

    Returns
    -------
    float
        1 at best, 0 for predicting the mean, NaN for fewer than two rows. An output that is
        constant counts as 1 where it is predicted exactly, else as 0, as in scikit-learn.

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, or a weight is wrong.
    """
    true, pred = _targets(y_true, y_pred)
    weight = _weights(sample_weight, len(true))
    if len(true) < 2:
        return float("nan")
    residual = _average((true - pred) ** 2, weight)
    spread = _average((true - _average(true, weight)) ** 2, weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1.0 - residual / spread
    constant = spread == 0
    scores[constant] = residual[constant] == 0
    return float(scores.mean())


def evaluate_classes(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> dict[str, float]:
    """``{"error": ..., "accuracy": ...}``, both fractions. See :func:`accuracy`."""
    error = classification_error(y_true, y_pred, sample_weight)
    return {"error": error, "accuracy": accuracy(y_true, y_pred, sample_weight)}


def evaluate_regression(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> dict[str, float]:
    """``mean_squared_error``, ``mean_absolute_error`` and ``r2`` under these keys."""
    measures = (mean_squared_error, mean_absolute_error, r2)
    return {m.__name__: m(y_true, y_pred, sample_weight) for m in measures}

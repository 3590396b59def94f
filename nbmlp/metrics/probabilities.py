"""How good probabilities of classes are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError
from nbmlp.metrics.checks import Floats, column, positions, weights_of

__all__ = ["average_precision", "calibration", "log_loss", "roc_auc"]


def _columns(
    true: NDArray[Any], probabilities: NDArray[Any], labels: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Probabilities (n, k), and the number of each row's label among their columns."""
    p = probabilities
    if p.ndim == 1:
        p = np.column_stack([1.0 - p, p])
    known = np.unique(true) if labels is None else column(labels)
    if p.shape != (len(true), len(known)):
        raise DataError(
            f"probabilities have shape {probabilities.shape}: {len(true)} rows and {len(known)}"
            f" labels need ({len(true)}, {len(known)}); name the columns by labels=."
        )
    return p, positions(true, known)


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
    true = column(y_true)
    weight = weights_of(sample_weight, len(true))
    given = np.asarray(probabilities)
    if not np.issubdtype(given.dtype, np.floating):
        given = given.astype(np.float64)
    eps = np.finfo(given.dtype).eps
    p, codes = _columns(true, np.clip(given, eps, 1 - eps).astype(np.float64), labels)
    chosen = p[np.arange(len(true)), codes]
    return float(-np.average(np.log(chosen), weights=weight))


def roc_auc(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Area under the ROC curve: how often a row of the class is given more than another one.

    Two labels: of the second. More: each against the rest, the mean over those that occur and are
    not all.

    Parameters
    ----------
    y_true, probabilities, labels, sample_weight
        As for :func:`log_loss`; rows of weight 0 are left out. Any numbers that order the rows do
        for probabilities.

    Returns
    -------
    float
        0.5 for guessing, 1 at best; NaN where all rows have one label, or a probability is NaN.

    Raises
    ------
    DataError
        As :func:`log_loss`.
    """
    return _one_against_rest(_area, y_true, probabilities, labels, sample_weight)


def average_precision(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Area under the curve of precision over recall, as a sum of steps (average precision).

    Parameters and what is raised are those of :func:`roc_auc`; so is what is done with more than
    two labels.

    Returns
    -------
    float
        1 at best, the share of the class for guessing; NaN where it does not occur.
    """
    return _one_against_rest(_steps, y_true, probabilities, labels, sample_weight)


def _one_against_rest(
    measure: Any,
    y_true: ArrayLike,
    probabilities: ArrayLike,
    labels: ArrayLike | None,
    sample_weight: ArrayLike | None,
) -> float:
    true, given = column(y_true), np.asarray(probabilities)
    weight = weights_of(sample_weight, len(true))
    p, codes = _columns(true, given, labels)
    if weight is not None:
        counts = weight > 0
        p, codes, weight = p[counts], codes[counts], weight[counts]
    if not np.isfinite(p).all():
        return float("nan")
    several = p.shape[1] > 2
    met = np.unique(codes).tolist() if several else [p.shape[1] - 1]
    found = [measure(codes == k, p[:, k], weight) for k in met]
    return float(np.mean(found)) if found else float("nan")


def _area(positive: NDArray[np.bool_], p: NDArray[Any], weight: Floats | None) -> float:
    """Share of the pairs of a positive and a negative row that are in order, ties as halves."""
    above, below = p[positive], p[~positive]
    if not len(above) or not len(below):
        return float("nan")
    if weight is None:
        passed, of_above = np.arange(len(below) + 1.0), None
        below = np.sort(below)
    else:
        order = np.argsort(below)
        below, of_above = below[order], weight[positive]
        passed = np.concatenate([[0.0], np.cumsum(weight[~positive][order])])
    beaten = passed[np.searchsorted(below, above)], passed[np.searchsorted(below, above, "right")]
    return float(np.average(sum(beaten) / 2.0, weights=of_above) / passed[-1])


def _steps(positive: NDArray[np.bool_], p: NDArray[Any], weight: Floats | None) -> float:
    """Precision at each distinct probability, averaged by the recall that it adds."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-p, kind="stable")
    hit, counted = positive[order], np.ones(len(p)) if weight is None else weight[order]
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # of each run of ties
    hits, all_ = np.cumsum(counted * hit)[last], np.cumsum(counted)[last]
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / all_) / hits[-1])


def calibration(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    bins: int = 10,
) -> NDArray[np.float64]:
    """How often what is predicted comes true, by how probable it is said to be.

    Two labels: the second one, whatever its probability. More: the label that is predicted.

    Parameters
    ----------
    y_true, probabilities, labels, sample_weight
        As for :func:`log_loss`.
    bins : int
        Parts of equal width that probabilities from 0 to 1 are sorted into.

    Returns
    -------
    ndarray of shape (bins, 3)
        Mean probability, share that came true, and weight of the rows, of each part that has any.
    """
    true = column(y_true)
    weight = weights_of(sample_weight, len(true))
    p, codes = _columns(true, np.asarray(probabilities, np.float64), labels)
    said = p.argmax(1) if p.shape[1] > 2 else np.full(len(p), p.shape[1] - 1)
    sure = p[np.arange(len(p)), said]
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], sure)
    rows, sums, hits = (
        np.bincount(place, values, minlength=bins)
        for values in _times(weight, np.ones(len(p)), sure, codes == said)
    )
    met = rows > 0
    return np.column_stack([sums[met] / rows[met], hits[met] / rows[met], rows[met]])


def _times(weight: Floats | None, *values: NDArray[Any]) -> list[Floats]:
    return [np.asarray(v, np.float64) if weight is None else v * weight for v in values]

"""How good labels are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.metrics.checks import Floats, column, labels_of, positions, weights_of

__all__ = [
    "accuracy", "accuracy_of", "balanced_accuracy", "balanced_accuracy_of", "classification_error",
    "confusion_matrix", "error_of", "f1", "f1_macro", "f1_macro_of", "f1_of", "matthews",
    "matthews_of", "unanswered",
]  # fmt: skip

#: Rare is a class with less than this share of the rows that it would have among equal ones.
_RARE = 0.5


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
    true, pred = labels_of(y_true, y_pred)
    return float(np.average(true == pred, weights=weights_of(sample_weight, len(true))))


def classification_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Share of rows whose label is missed, from 0 to 1. See :func:`accuracy`."""
    true, pred = labels_of(y_true, y_pred)
    return float(np.average(true != pred, weights=weights_of(sample_weight, len(true))))


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
    true, pred = labels_of(y_true, y_pred)
    weight = weights_of(sample_weight, len(true))
    known = np.union1d(true, pred) if labels is None else column(labels)
    k = len(known)
    cells = positions(true, known) * k + positions(pred, known)
    return np.bincount(cells, weight, minlength=k * k).reshape(k, k)


def _matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None,
    labels: ArrayLike | None = None,
) -> Floats:
    found = confusion_matrix(y_true, y_pred, labels=labels, sample_weight=sample_weight)
    return found.astype(np.float64)


def balanced_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean over the classes of the share of their rows that is predicted. See :func:`accuracy`."""
    return float(balanced_accuracy_of(_matrix(y_true, y_pred, sample_weight)))


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
) -> float:
    """F1 of the second of two classes, in their order; of more classes :func:`f1_macro`.

    Parameters
    ----------
    y_true, y_pred : array_like of shape (n,)
        Labels of any kind.
    sample_weight : array_like of shape (n,), optional
    labels : array_like of shape (k,), optional
        The classes; by default all labels that occur, sorted.

    Returns
    -------
    float
        Harmonic mean of precision and recall, from 0 to 1; 0 where the class neither occurs nor
        is predicted.

    Raises
    ------
    DataError
        Shapes do not fit, there is no row, or a weight is wrong.
    """
    return float(f1_of(_matrix(y_true, y_pred, sample_weight, labels)))


def f1_macro(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Mean of the F1 of all classes that occur or are predicted. See :func:`f1`."""
    return float(f1_macro_of(_matrix(y_true, y_pred, sample_weight)))


def matthews(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Matthews' correlation of true and predicted classes, of any number.

    Returns
    -------
    float
        From -1 to 1; 0 for guessing, and where only one class occurs or is predicted.
    """
    return float(matthews_of(_matrix(y_true, y_pred, sample_weight)))


# -- the same of confusion matrices (..., k, k), which a threshold has one of for each of its values


def _diagonal(matrix: Floats) -> Floats:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def accuracy_of(matrix: Floats) -> Floats:
    """Share of the rows on the diagonal."""
    return _share(_diagonal(matrix).sum(-1), matrix.sum((-2, -1)))


def error_of(matrix: Floats) -> Floats:
    """Share of the rows off the diagonal."""
    total = matrix.sum((-2, -1))
    return _share(total - _diagonal(matrix).sum(-1), total)


def balanced_accuracy_of(matrix: Floats) -> Floats:
    """Mean recall of the classes that occur."""
    true = matrix.sum(-1)
    return _share(_share(_diagonal(matrix), true).sum(-1), (true > 0).sum(-1, dtype=np.float64))


def f1_of(matrix: Floats) -> Floats:
    """F1 of the second of two classes, else the mean over all."""
    if matrix.shape[-1] != 2:
        return f1_macro_of(matrix)
    hits = matrix[..., 1, 1]
    return _share(2 * hits, 2 * hits + matrix[..., 0, 1] + matrix[..., 1, 0])


def f1_macro_of(matrix: Floats) -> Floats:
    """Mean F1 of the classes that occur or are predicted."""
    met = matrix.sum(-1) + matrix.sum(-2)
    each = _share(2 * _diagonal(matrix), met)
    return _share(each.sum(-1), (met > 0).sum(-1, dtype=np.float64))


def matthews_of(matrix: Floats) -> Floats:
    """Correlation of true and predicted classes (Gorodkin 2004)."""
    true, predicted, total = matrix.sum(-1), matrix.sum(-2), matrix.sum((-2, -1))
    covariance = _diagonal(matrix).sum(-1) * total - (true * predicted).sum(-1)
    square = total * total
    spread = (square - (true * true).sum(-1)) * (square - (predicted * predicted).sum(-1))
    # Weights leave a rest of rounding where the spread of a single class is nothing.
    nothing = spread <= 1e-12 * square * square
    return _share(covariance, np.where(nothing, 0.0, np.sqrt(np.maximum(spread, 0.0))))


def unanswered(
    matrix: NDArray[np.int64] | Floats, counts: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Rare classes that are answered for no row, though some rows are theirs; the rarest first.

    Parameters
    ----------
    matrix : ndarray (classes, classes)
        Rows by true and answered class.
    counts : ndarray (classes,)
        Rows of each class, by which it is rare.
    """
    ignored = (matrix.sum(0) == 0) & (matrix.sum(1) > 0)
    ignored &= (counts > 0) & (counts < _RARE * counts.sum() / len(counts))
    found = np.flatnonzero(ignored)
    return found[np.argsort(counts[found], kind="stable")]

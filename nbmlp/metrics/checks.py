"""What all scores check first: shapes, labels and weights of the rows that are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError

__all__ = ["Floats", "column", "labels_of", "positions", "targets_of", "weights_of"]

Floats = NDArray[np.float64]


def weights_of(sample_weight: ArrayLike | None, n: int) -> Floats | None:
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


def column(values: ArrayLike) -> NDArray[Any]:
    """Labels as one dimension; a single column is taken too."""
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"labels have shape {labels.shape}: give one label per row, shape (n,).")
    return labels


def labels_of(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """True and predicted labels, one of each per row."""
    true, pred = column(y_true), column(y_pred)
    _same_shape(true, pred)
    return true, pred


def targets_of(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Floats, Floats]:
    """Targets and predictions as (n, outputs)."""
    true = np.asarray(y_true, dtype=np.float64)
    pred = np.asarray(y_pred, dtype=np.float64)
    if true.ndim == 1 and pred.ndim == 2 and pred.shape[1] == 1:
        pred = pred[:, 0]
    _same_shape(true, pred)
    if true.ndim not in (1, 2):
        raise DataError(f"targets have shape {true.shape}: give (n,) or (n, outputs).")
    return (true, pred) if true.ndim == 2 else (true[:, None], pred[:, None])


def positions(values: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Index of each value in `labels`."""
    order = np.argsort(labels)
    place = np.minimum(np.searchsorted(labels, values, sorter=order), len(labels) - 1)
    found: NDArray[np.intp] = order[place]
    missing = labels[found] != values
    if missing.any():
        raise DataError(f"label {values[missing][0]!r} is not among the labels given.")
    return found

"""How good predicted numbers are; several targets count the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.checks import number
from nbmlp.metrics.checks import Floats, targets_of, weights_of

__all__ = [
    "mean_absolute_error", "mean_squared_error", "pinball_loss", "r2", "root_mean_squared_error",
]  # fmt: skip


def _average(values: Floats, weight: Floats | None) -> Floats:
    """Mean over the rows, shape (outputs,)."""
    return np.asarray(np.average(values, axis=0, weights=weight))


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
    true, pred = targets_of(y_true, y_pred)
    return float(_average((true - pred) ** 2, weights_of(sample_weight, len(true))).mean())


def mean_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute difference over rows and outputs. See :func:`mean_squared_error`."""
    true, pred = targets_of(y_true, y_pred)
    return float(_average(np.abs(true - pred), weights_of(sample_weight, len(true))).mean())


def root_mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Root of the mean squared difference of each output, then their mean.

    In units of the target. See :func:`mean_squared_error`.
    """
    true, pred = targets_of(y_true, y_pred)
    return float(np.sqrt(_average((true - pred) ** 2, weights_of(sample_weight, len(true)))).mean())


def pinball_loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    q: float = 0.5,
) -> float:
    """Mean loss of predicting the quantile `q`, over rows and outputs.

    A target above its prediction costs `q` times the difference, one below 1 - `q` times.
    See :func:`mean_squared_error`.

    Parameters
    ----------
    y_true, y_pred, sample_weight
    q : float
        From 0 to 1.
    """
    q = number("q", q, high=1.0, closed_high=True)
    true, pred = targets_of(y_true, y_pred)
    above = true - pred
    loss = np.maximum(q * above, (q - 1.0) * above)
    return float(_average(loss, weights_of(sample_weight, len(true))).mean())


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
    true, pred = targets_of(y_true, y_pred)
    weight = weights_of(sample_weight, len(true))
    if len(true) < 2:
        return float("nan")
    residual = _average((true - pred) ** 2, weight)
    spread = _average((true - _average(true, weight)) ** 2, weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1.0 - residual / spread
    constant = spread == 0
    scores[constant] = residual[constant] == 0
    return float(scores.mean())

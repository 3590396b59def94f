"""From which probability on one of two classes is best answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError
from nbmlp.metrics.checks import Floats, weights_of

__all__ = ["best_threshold"]


def best_threshold(
    positive: NDArray[Any],
    p: Floats,
    score: Callable[[Floats], Floats],
    larger: bool = True,
    sample_weight: ArrayLike | None = None,
) -> float:
    """The probability beyond which a row is best called positive.

    Parameters
    ----------
    positive : ndarray (rows,)
        Whether it is.
    p : ndarray (rows,)
        How probable that was said to be.
    score : callable
        Takes confusion matrices (thresholds, 2, 2), returns a score of each.
    larger : bool
        Larger is better.
    sample_weight : array-like (rows,), optional

    Returns
    -------
    float
        Half way between two probabilities that occur, or 0.5; of equally good ones that nearest
        to 0.5.

    Raises
    ------
    DataError
        All rows are of one class, or a weight is wrong: there is nothing to choose between.
    """
    given = weights_of(sample_weight, len(p))
    weight = np.ones(len(p)) if given is None else given
    truth = np.asarray(positive, bool)
    if not weight[truth].any() or not weight[~truth].any():
        raise DataError("a threshold is tuned on rows of both classes: these are all of one.")
    order = np.argsort(p, kind="stable")
    ranked, hits = p[order], (weight * truth)[order]
    values = np.unique(ranked)
    candidates = np.append((values[1:] + values[:-1]) / 2.0, 0.5)
    below = np.searchsorted(ranked, candidates, side="right")
    missed = np.append(0.0, np.cumsum(hits))[below]
    passed = np.append(0.0, np.cumsum(weight[order] - hits))[below]
    total, others = float(weight[truth].sum()), float(weight[~truth].sum())
    matrices = np.stack([passed, others - passed, missed, total - missed], -1).reshape(-1, 2, 2)
    found = score(np.maximum(matrices, 0.0)) * (1.0 if larger else -1.0)
    best = np.flatnonzero(found >= found.max() - 1e-12)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])

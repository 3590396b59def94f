"""Greedy ensemble selection on held-out rows, with replacement (Caruana et al. 2004), in part.

Few held-out rows are soon fitted by a choice among many nets, so half of the weight goes to the
better half of them in equal shares. It gains a little with classes (docs/tables.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.tabular.criteria import Criterion, Truth

__all__ = ["select"]


def select(
    outputs: Sequence[NDArray[Any]], truth: Truth, criterion: Criterion, rounds: int
) -> tuple[NDArray[np.float64], float]:
    """Weights of nets: half as their average is best, half the same for each of the better half.

    One net after the other is taken in, the same one as often as it helps most; what was best on
    the way counts. Of nets that are equally good the first is taken, of ensembles the smallest.

    Parameters
    ----------
    outputs : sequence of ndarray (rows, outputs)
        Of each net on the held-out rows.
    truth : Truth
    criterion : Criterion
    rounds : int
        Nets to take in.

    Returns
    -------
    weights : ndarray (nets,)
        They sum to 1.
    value : float
        Of `criterion`, of the ensemble; smaller is better.
    """
    terms = [criterion.terms(truth, o.astype(np.float64)) for o in outputs]
    alone = np.array([_finite(criterion.value(truth, own)) for own in terms])
    total = np.zeros_like(terms[0])
    counts = np.zeros(len(terms), np.int64)
    best, kept = np.inf, counts
    for taken in range(1, rounds + 1):
        values = [_finite(criterion.value(truth, (total + own) / taken)) for own in terms]
        place = int(np.argmin(values))
        total += terms[place]
        counts[place] += 1
        if values[place] < best:
            best, kept = values[place], counts.copy()
    if not kept.any():  # no value is finite: all count the same
        kept = np.ones_like(counts)
    better = np.argsort(alone, kind="stable")[: -(-len(alone) // 2)]
    weights = kept / kept.sum() / 2
    weights[better] += 0.5 / len(better)
    return weights, criterion.value(truth, _average(terms, weights))


def _average(terms: Sequence[NDArray[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros_like(terms[0])
    for own, weight in zip(terms, weights.tolist(), strict=True):
        if weight:  # infinite terms of one that does not count are left out
            total += weight * own
    return total


def _finite(value: float) -> float:
    return value if value == value else np.inf

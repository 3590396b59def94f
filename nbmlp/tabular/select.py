"""Ensemble selection on held-out rows (Caruana et al. 2004, 2006).

Few held-out rows are soon fitted by a choice among many nets: the choice is made again and again
with other weights of these rows, and half of the weight goes to the better half of the nets in
equal shares. Both help where classes are rare (docs/tables.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.tabular.criteria import Criterion, Truth

__all__ = ["select"]

#: How often nets are chosen, at most, and for how many rows in all; nets of each choice.
_TIMES, _ROWS, _ROUNDS = 30, 60_000, 20


def select(
    outputs: Sequence[NDArray[Any]], truth: Truth, criterion: Criterion, rounds: int
) -> tuple[NDArray[np.float64], float]:
    """Weights of nets: half by choice, half the same for each of the better half.

    A choice takes in one net after the other, the same one as often as it helps most; what was
    best on the way counts. Of nets that are equally good the first is taken, of ensembles the
    smallest. Up to 30,000 rows there are several choices, with the same weights of the rows in
    every fit, drawn as the Bayesian bootstrap does (Rubin 1981), so that no class gets lost; their
    mean counts.

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
    views = _views(truth)
    several = len(views) > 1
    chosen = [
        _chosen(terms, v, criterion, min(rounds, _ROUNDS) if several else rounds) for v in views
    ]
    better = np.argsort(alone, kind="stable")[: -(-len(alone) // 2)]
    weights = np.mean(chosen, axis=0) / 2
    weights[better] += 0.5 / len(better)
    return weights, criterion.value(truth, _average(terms, weights))


def _views(truth: Truth) -> list[Truth]:
    """The held-out rows with several drawn weights; of very many rows as they are."""
    times = min(_TIMES, _ROWS // len(truth))
    if times < 2:
        return [truth]
    drawn = np.random.default_rng(0).exponential(size=(times, len(truth)))
    own = 1.0 if truth.weights is None else truth.weights
    return [replace(truth, weights=own * weights) for weights in drawn]


def _chosen(
    terms: Sequence[NDArray[Any]], truth: Truth, criterion: Criterion, rounds: int
) -> NDArray[np.float64]:
    """Shares of the nets in the best ensemble on the way to so many."""
    total, counts = np.zeros_like(terms[0]), np.zeros(len(terms))
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
    return np.asarray(kept / kept.sum())


def _average(terms: Sequence[NDArray[Any]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros_like(terms[0])
    for own, weight in zip(terms, weights.tolist(), strict=True):
        if weight:  # infinite terms of one that does not count are left out
            total += weight * own
    return total


def _finite(value: float) -> float:
    return value if value == value else np.inf

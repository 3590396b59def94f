"""Which rows are trained on and which are held out: once, or in folds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.split import split
from nbmlp.errors import DataError, SpecError

__all__ = ["Division", "arranged", "divide"]

Places = NDArray[np.int64]


class Division(NamedTuple):
    """Rows to train on, and rows held out."""

    train: Places
    held: Places


def divide(
    n: int,
    folds: int,
    fraction: float,
    seed: int,
    strata: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    time_ordered: bool = False,
) -> list[Division]:
    """One division, or one for each fold.

    Parameters
    ----------
    n : int
        Rows.
    folds : int
        1 for a single division.
    fraction : float
        Share held out by a single division.
    seed : int
    strata : ndarray (n,), optional
        Classes, whose shares all parts keep; a class is never held out as a whole.
    groups : ndarray (n,), optional
        Rows of one group stay together.
    time_ordered : bool
        Only later rows are held out: the last ones, or a window after the other.

    Raises
    ------
    DataError, SpecError
        Too few rows or groups, or groups and an order in time together.
    """
    if groups is not None and time_ordered:
        raise SpecError("groups and time_ordered=True exclude each other: leave one out.")
    if n < 2 * folds:
        raise DataError(f"n_samples={n}: too few rows to hold some of them out.")
    if time_ordered:
        return _in_time(n, folds, fraction)
    if groups is not None:
        return _by_group(groups, folds, fraction, seed)
    if folds == 1:
        train, held = split(n, fraction, seed, strata)
        return [_known(train, held, strata)]
    part = _dealt(n, folds, seed, strata)
    return [
        _known(np.flatnonzero(part != k), np.flatnonzero(part == k), strata) for k in range(folds)
    ]


def arranged(divisions: list[Division]) -> tuple[Places, list[tuple[slice, slice]]]:
    """Rows in an order in which those of every division lie together.

    Where each row is held out once, all parts follow each other and all but the last once more:
    the rows of every fold are a stretch of twice the rows, instead of a copy of its own.

    Returns
    -------
    order : ndarray of int64
        Rows; some of them more than once.
    stretches : list of (slice, slice)
        Places in `order` of each division's rows to train on, and of those held out.
    """
    held = [len(d.held) for d in divisions]
    n = sum(held)
    once = all(len(d.train) == n - own for d, own in zip(divisions, held, strict=True))
    if len(divisions) > 1 and once:
        order = np.concatenate([d.held for d in [*divisions, *divisions[:-1]]])
        ends = np.cumsum(held).tolist()
        return order, [
            (slice(end, end + n - own), slice(end - own, end))
            for end, own in zip(ends, held, strict=True)
        ]
    order = np.concatenate([part for division in divisions for part in division])
    ends = np.cumsum([0, *(len(part) for division in divisions for part in division)]).tolist()
    cuts = [slice(a, b) for a, b in pairwise(ends)]
    return order, list(zip(cuts[::2], cuts[1::2], strict=True))


def _known(train: Places, held: Places, strata: NDArray[Any] | None) -> Division:
    """Classes that were held out as a whole are trained on instead."""
    if strata is not None:
        lone = ~np.isin(strata[held], strata[train])
        train, held = np.union1d(train, held[lone]), held[~lone]
    if not len(held):
        raise DataError("no row can be held out: each class has but one.")
    return Division(train, held)


def _dealt(n: int, folds: int, seed: int, strata: NDArray[Any] | None) -> NDArray[np.int64]:
    """Fold of each row, dealt out class by class in a random order."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(n)
    if strata is not None:
        codes = np.unique(strata, return_inverse=True)[1]
        order = order[np.argsort(codes[order], kind="stable")]
    part = np.empty(n, np.int64)
    part[order] = np.arange(n) % folds
    return part


def _in_time(n: int, folds: int, fraction: float) -> list[Division]:
    if folds == 1:
        cut = n - min(max(round(fraction * n), 1), n - 1)
        return [Division(np.arange(cut), np.arange(cut, n))]
    cuts = [n * k // (folds + 1) for k in range(1, folds + 2)]
    return [Division(np.arange(a), np.arange(a, b)) for a, b in pairwise(cuts)]


def _by_group(groups: NDArray[Any], folds: int, fraction: float, seed: int) -> list[Division]:
    """Largest groups first, each to the part that has the fewest rows for its share."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < max(2, folds):
        raise DataError(f"groups has {len(names)} groups: {max(2, folds)} are needed at least.")
    sizes = np.bincount(codes)
    shares = np.array([1.0 - fraction, fraction] if folds == 1 else [1.0 / folds] * folds)
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(len(shares))
    part = np.empty(len(names), np.int64)
    for place, group in enumerate(order):
        left = len(order) - place
        empty = np.flatnonzero(filled == 0)
        among = empty if len(empty) >= left else np.arange(len(shares))
        chosen = among[np.argmin((filled / shares)[among])]
        part[group] = chosen
        filled[chosen] += sizes[group]
    rows = part[codes]
    held = [1] if folds == 1 else range(folds)
    return [Division(np.flatnonzero(rows != k), np.flatnonzero(rows == k)) for k in held]

"""Random splits that depend on nothing but their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import DataError

__all__ = ["split"]


def split(
    n: int, fraction: float, seed: int = 0, stratify: NDArray[Any] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a test part of about ``fraction * n`` rows, at least one row on either side.

    Parameters
    ----------
    n : int
        Number of rows, at least 2.
    fraction : float
        Share of the test part, in (0, 1).
    seed : int
        Seed of the Philox generator; equal arguments give equal splits.
    stratify : ndarray of shape (n,), optional
        Labels whose shares both parts keep, to the nearest row.

    Returns
    -------
    train, test : ndarray of int64
        Row numbers in rising order, so that files mapped into memory are read forwards.

    Raises
    ------
    DataError
        Too few rows, a fraction outside (0, 1), or labels of another length.
    """
    if n < 2:
        raise DataError(f"{n} rows cannot be split: at least 2 are needed.")
    if not 0.0 < fraction < 1.0:
        raise DataError(f"fraction={fraction!r} must lie between 0 and 1, e.g. 0.2.")
    count = min(max(round(fraction * n), 1), n - 1)
    rng = np.random.Generator(np.random.Philox(seed))
    if stratify is None:
        drawn = rng.permutation(n)[:count]
    else:
        drawn = _draw_stratified(rng, _codes(stratify, n), count)
    in_test = np.zeros(n, dtype=np.bool_)
    in_test[drawn] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def _codes(labels: NDArray[Any], n: int) -> NDArray[np.int64]:
    if labels.shape != (n,):
        raise DataError(f"stratify has shape {labels.shape}: one label for each of {n} rows.")
    values = labels.astype(str) if labels.dtype == object else labels
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _draw_stratified(
    rng: np.random.Generator, codes: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Rows by class in proportion; the largest remainders get what rounding left over."""
    sizes = np.bincount(codes)
    exact = sizes * (count / len(codes))
    quota = np.floor(exact).astype(np.int64)
    short = count - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    place = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[place < np.repeat(quota, sizes)]

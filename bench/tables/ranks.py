"""Average ranks over tables, and from what difference on they tell two contestants apart.

Demšar 2006, "Statistical comparisons of classifiers over multiple data sets".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Friedman", "average_ranks", "critical_difference", "friedman", "groups"]


class Friedman(NamedTuple):
    """Whether any ranks differ: Friedman's chi-square, Iman and Davenport's F and its p."""

    chi_square: float
    f: float
    p: float


def average_ranks(errors: dict[str, dict[str, float]]) -> dict[str, float]:
    """1 for the least error of a table; equal ones share their ranks."""
    from scipy.stats import rankdata

    names = list(next(iter(errors.values())))
    ranks = np.array([rankdata([values[n] for n in names]) for values in errors.values()])
    return dict(zip(names, ranks.mean(axis=0).tolist(), strict=True))


def friedman(ranks: Sequence[float], tables: int) -> Friedman:
    """Of average ranks over so many tables."""
    from scipy.stats import f as f_distribution

    k, n = len(ranks), tables
    chi = 12 * n / (k * (k + 1)) * (sum(r * r for r in ranks) - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi
    value = (n - 1) * chi / rest if rest > 0 else math.inf
    return Friedman(chi, value, float(f_distribution.sf(value, k - 1, (k - 1) * (n - 1))))


def critical_difference(contestants: int, tables: int, alpha: float = 0.05) -> float:
    """Nemenyi's: average ranks that differ by less cannot be told apart."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, contestants, np.inf)) / math.sqrt(2)
    return q * math.sqrt(contestants * (contestants + 1) / (6 * tables))


def groups(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last place, in rising ranks, of the longest runs that cannot be told apart."""
    rising = sorted(ranks)
    found: list[tuple[int, int]] = []
    for first in range(len(rising)):
        last = max(i for i, rank in enumerate(rising) if rank - rising[first] < difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def told(ranks: dict[str, float], tables: int) -> str:
    """One sentence for the caption."""
    test = friedman(list(ranks.values()), tables)
    difference = critical_difference(len(ranks), tables)
    return (
        f"{tables} tables; Friedman: F = {test.f:.2f}, p = {test.p:.2g};"
        f" Nemenyi: critical difference {difference:.2f} at 5 %"
    )

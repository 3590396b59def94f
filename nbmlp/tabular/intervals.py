"""Prediction intervals from members, calibrated on held-out rows (normalised conformal).

The score of a row is the residual over how far the members are apart there, plus a floor; an
interval reaches as far as the scores of so many held-out rows do (Lei et al. 2018, section 5.2;
Papadopoulos et al. 2002). Its coverage holds for rows like those held out, whatever the net.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import number
from nbmlp.errors import SpecError

__all__ = ["calibrate", "half_width", "spread"]

Floats = NDArray[np.float64]
#: Scores that are kept; more are thinned out.
_MOST = 4000


def spread(outputs: Sequence[NDArray[Any]], weights: Sequence[float]) -> tuple[Floats, Floats]:
    """Weighted mean and deviation of nets (rows, targets)."""
    mean = np.zeros(outputs[0].shape)
    square = np.zeros(outputs[0].shape)
    for own, weight in zip(outputs, weights, strict=True):
        wide = own.astype(np.float64)
        mean += weight * wide
        square += weight * wide * wide
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


def calibrate(residuals: Floats, deviations: Floats) -> Floats:
    """What intervals need: the floor, number of rows, then scores in rising order.

    Parameters
    ----------
    residuals : ndarray (rows, targets)
        Of the ensemble on held-out rows.
    deviations : ndarray (rows, targets)
        Of its nets there.

    Returns
    -------
    ndarray (2 + scores, targets)
    """
    sizes = np.abs(residuals)
    floor = np.maximum(np.median(sizes, axis=0), 1e-12)
    scores = np.sort(sizes / (deviations + floor), axis=0)
    n = len(scores)
    if n > _MOST:  # the next larger one each, so that thinning never narrows an interval
        scores = scores[np.ceil(np.arange(1, _MOST + 1) * n / _MOST).astype(np.int64) - 1]
    return np.vstack([floor, np.full_like(floor, n), scores])


def half_width(calibration: Floats, deviations: Floats, coverage: float) -> Floats:
    """Half of each interval (rows, targets).

    Raises
    ------
    SpecError
        No calibration, a coverage outside of (0, 1), or too few held-out rows for it.
    """
    coverage = number("coverage", coverage, 0.0, 1.0, closed_low=False)
    if not calibration.size:
        raise SpecError("intervals need numbers as targets: these are classes.")
    floor, n, scores = calibration[0], int(calibration[1, 0]), calibration[2:]
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        needed = math.ceil(coverage / (1 - coverage) - 1e-6)
        raise SpecError(
            f"coverage={coverage:g} needs {needed} held-out rows at least, and there were {n}."
        )
    place = math.ceil(rank * len(scores) / n) - 1
    return np.asarray(scores[place] * (deviations + floor))

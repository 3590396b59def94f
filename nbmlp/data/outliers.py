"""Values that are finite but far from all others of their column."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.sparse import SparseRows

__all__ = ["Far", "Usual"]

#: Rows that say what is usual, and rows looked at together.
_SAMPLE, _CHUNK = 2000, 4096
#: So many times the usual spread is far. Heavy tails (log-normal, sigma 2) stay below it.
_FAR = 1e3

Array = NDArray[Any]


@dataclass(frozen=True)
class Far:
    """One such value.

    Attributes
    ----------
    place, column : int
    value : float
    times : float
        How many usual spreads it lies from the median.
    """

    place: int
    column: int
    value: float
    times: float


class Usual:
    """Median and spread of each column, from rows spread evenly over the data.

    Parameters
    ----------
    x : ndarray or SparseRows (n, columns)

    Notes
    -----
    The spread is the distance of the 5 % and 95 % quantiles, which a few wild values cannot move,
    but at least its median over the columns: a column that is nearly always 0 has none of its own.
    """

    def __init__(self, x: Array | SparseRows) -> None:
        self._x = x
        step = -(-len(x) // _SAMPLE)
        sample = self._dense(np.arange(0, len(x), step))
        sample[~np.isfinite(sample)] = np.nan
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all NaN
            found = np.nanquantile(sample, (0.05, 0.5, 0.95), axis=0, method="nearest")
        low, self._median, high = np.nan_to_num(found)
        spread = high - low
        common = float(np.median(spread[spread > 0])) if (spread > 0).any() else 0.0
        common = common or float(np.max(np.abs(self._median))) or 1.0
        self._spread = np.maximum(spread, common)

    def _dense(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        x = self._x
        few = x.take(places).matrix.toarray() if isinstance(x, SparseRows) else x[places]
        return np.array(few, np.float64)

    def far(self, places: NDArray[np.int64]) -> list[Far]:
        """The values that are far among some rows, the farthest first."""
        found: list[Far] = []
        for start in range(0, len(places), _CHUNK):
            some = places[start : start + _CHUNK]
            values = self._dense(some)
            with np.errstate(over="ignore", invalid="ignore"):
                times = np.abs(values - self._median) / self._spread
            for i, j in np.argwhere(np.isfinite(values) & (times > _FAR)).tolist():
                found.append(Far(int(some[i]), j, float(values[i, j]), float(times[i, j])))
        return sorted(found, key=lambda one: -one.times)

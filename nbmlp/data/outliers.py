"""Values that are finite but far from all others of their column."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.sparse import SparseRows
from nbmlp.data.table import Table
from nbmlp.rows import Names

__all__ = ["MOST_BYTES", "Far", "Usual", "lone_values", "tell_lone_values"]

#: Rows that say what is usual, and rows looked at together.
_SAMPLE, _CHUNK = 2000, 4096
#: So many times the usual spread is far. Heavy tails (log-normal, sigma 2) stay below it.
_FAR = 1e3

#: So many times the range of all others, and a single value is none that was measured; where all
#: others are equal, so many times their size.
_WILD, _WILD_BESIDE_EQUALS = 1e6, 1e12
#: Single are so few of the rows at most.
_FEW, _FEW_OF = 3, 1000
#: Larger arrays cost a moment to look through: training itself says then what it stumbles over.
MOST_BYTES = 1 << 28

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
    rows : (int, int), optional
        The first one to look at, and the one behind the last; all by default.

    Notes
    -----
    The spread is the distance of the 5 % and 95 % quantiles, which a few wild values cannot move,
    but at least its median over the columns: a column that is nearly always 0 has none of its own.
    """

    def __init__(self, x: Array | SparseRows, rows: tuple[int, int] | None = None) -> None:
        self._x = x
        first, end = rows or (0, len(x))
        step = max(1, -(-(end - first) // _SAMPLE))
        sample = self._dense(np.arange(first, end, step))
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


class _Ends(NamedTuple):
    """Median and range of most values of a column, by some of its rows."""

    median: Array
    limit: Array


def lone_values(X: Any) -> list[Far]:
    """Single values so far from all others of their column that they must be slips, such as 1e30.

    Parameters
    ----------
    X : Table or ndarray (rows, columns)
        As users have it; other kinds and very large arrays are not looked at.

    Returns
    -------
    list of Far
        The farthest first.
    """
    if isinstance(X, Table):
        numeric = [j for j, name in enumerate(X.names) if X[name].dtype.kind == "f"]
        found = [far for j in numeric for far in _lone(X[X.names[j]][:, np.newaxis], j)]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f":
        found = _lone(X) if 0 < X.nbytes <= MOST_BYTES else []
    else:
        return []
    return sorted(found, key=lambda one: -one.times)


def _lone(x: Array, first: int = 0) -> list[Far]:
    """Those of some columns, of which the first has this number."""
    if len(x) < _SAMPLE // 100:  # too few to say what is usual
        return []
    with np.errstate(all="ignore"):
        ends = _ends(x)
        low = np.fmin.reduce(x, axis=0).astype(np.float64)
        high = np.fmax.reduce(x, axis=0).astype(np.float64)
        beyond = np.maximum(high - ends.median, ends.median - low) > ends.limit
        found: list[Far] = []
        for j in np.flatnonzero(beyond).tolist():
            times = np.abs(x[:, j] - ends.median[j]) / ends.limit[j]
            places = np.flatnonzero((times > 1) & np.isfinite(x[:, j]))
            if len(places) <= max(_FEW, len(x) // _FEW_OF):
                found += [
                    Far(i, first + j, float(x[i, j]), float(times[i])) for i in places.tolist()
                ]
    return found


def _ends(x: Array) -> _Ends:
    sample = x[:: -(-len(x) // _SAMPLE)].astype(np.float64)
    sample[~np.isfinite(sample)] = np.nan
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all NaN
        low, median, high = np.nanquantile(sample, (0.02, 0.5, 0.98), axis=0, method="nearest")
    size = np.maximum(np.abs(median), 1.0)
    spread = high - low
    limit = np.where(spread > 0, _WILD * spread, _WILD_BESIDE_EQUALS * size)
    return _Ends(np.nan_to_num(median), np.nan_to_num(limit, nan=np.inf, posinf=np.inf))


def tell_lone_values(X: Any, names: Names) -> str:
    """That there are such values, and where the farthest is, in a sentence; empty if none are."""
    if isinstance(X, Table) and not names.columns:
        names = replace(names, columns=X.names)
    return tell(lone_values(X), names)


def tell(found: list[Far], names: Names) -> str:
    """The same of values that have been found, in any order."""
    if not found:
        return ""
    found = sorted(found, key=lambda one: -one.times)
    worst, others = found[0], len(found) - 1
    place = names.place("X", worst.place, worst.column)
    more = f" and {others} more value{'s' * (others > 1)} like it" if others else ""
    return (
        f"{names.title('X')} has {worst.value:g} at {place}{more}, beyond anything else in that"
        " column: mend or drop it, or all other values of the column may count as the same."
    )

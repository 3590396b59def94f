"""Numeric columns: standardised, or scaled so that a few wild values do no harm; and bins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nbmlp.data.check import first_nonfinite
from nbmlp.data.columns.facts import Facts, Room
from nbmlp.data.scale import chunks, moments
from nbmlp.errors import Place, RowError

__all__ = ["NumberColumn", "fit_numbers", "write_numbers"]

#: A smooth clip leaves small values nearly as they are and ends at three: x / sqrt(1 + (x/3)^2).
_CLIP = 3.0
_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class NumberColumn:
    """A numeric column: ``(x - centre) / scale``, and 0 where missing.

    Attributes
    ----------
    name : str
        Of the column.
    centre, scale : float
        Mean and standard deviation of the values present, or median and distance of the
        quartiles; scale is 1 in a constant column.
    indicator : bool
        Some were missing when fitted: a further column is 1 where missing.
    clip : bool
        What lies far out is pulled in smoothly, to 3 at most.
    edges : tuple of float
        Of bins, rising: a further column for each is 0 below it, 1 above it, and rises linearly
        within. Empty without bins.
    facts : Facts
    """

    name: str
    centre: float
    scale: float
    indicator: bool = False
    clip: bool = False
    edges: tuple[float, ...] = ()
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "number"
    code_counts: ClassVar[tuple[int, ...]] = ()

    @property
    def continuous(self) -> tuple[str, ...]:
        """The number."""
        return (self.name,)

    @property
    def others(self) -> tuple[str, ...]:
        """Its indicator, and its bins by their lower edges."""
        missing = (f"{self.name}=(missing)",) if self.indicator else ()
        return (*missing, *(f"{self.name}>{edge:g}" for edge in self.edges[:-1]))

    @property
    def became(self) -> str:
        """How it is scaled, and how many bins it has."""
        words = "scaled by quartiles and clipped smoothly" if self.clip else "standardised"
        bins = f"{len(self.edges) - 1} bins" if self.edges else ""
        return ", ".join(filter(None, (words, bins, "indicator" if self.indicator else "")))

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write the features of `values`, which may be NaN."""
        matrix = np.asarray(values, np.float64)[:, np.newaxis]
        write_numbers((self,), matrix, room.continuous, room.others)

    def binned(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bins (rows, bins) of `values`; those missing are where the centre is."""
        low, high = np.array(self.edges[:-1]), np.array(self.edges[1:])
        present = np.where(np.isnan(values), self.centre, values)[:, np.newaxis]
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((present - low) / (high - low), 0.0, 1.0))


def _quartiles(A: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians, and the distances of the quartiles; where these are the same, the distance of those
    of the distinct values: of a column that is mostly 0 the range says how far its wildest value
    lies, and what the others differ by would be next to nothing."""
    values = A.astype(np.float64, copy=False)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # all NaN
        first, median, third = np.nan_to_num(np.nanquantile(values, _QUARTERS, axis=0))
    with np.errstate(over="ignore"):
        scale = third - first
    for j in np.flatnonzero(scale == 0):
        scale[j] = _spread_of_distinct(values[:, j])
    scale = np.minimum(np.where(scale > 0, scale, 1.0), np.finfo(np.float64).max)
    return median, scale


def _spread_of_distinct(values: NDArray[np.float64]) -> float:
    """Distance of the quartiles of the distinct values, else half their range."""
    distinct = np.unique(values[~np.isnan(values)])
    if not len(distinct):
        return 0.0
    first, _, third = np.quantile(distinct, _QUARTERS)
    return float(third - first) or float(distinct[-1] / 2 - distinct[0] / 2)


def _edges(values: NDArray[Any], bins: int) -> tuple[float, ...]:
    """Half of them quantiles of the values, half of the distinct values, each once.

    Quantiles of all values alone give a column that is mostly 0 one bin for all the rest. None
    where there is but one bin, which would be the number again.
    """
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not bins or not len(present):
        return ()
    present = present.astype(np.float64)
    found = np.union1d(
        _quantiles(present, bins - bins // 2), _quantiles(np.unique(present), bins // 2)
    )
    return tuple(found.tolist()) if len(found) > 2 else ()


def _quantiles(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Borders of so many bins that hold equally many values."""
    return np.quantile(values, np.linspace(0, 1, bins + 1), method="inverted_cdf")


def fit_numbers(
    names: Sequence[str],
    A: NDArray[Any],
    robust: NDArray[np.bool_],
    bins: int = 0,
    facts: Sequence[Facts] = (),
) -> list[NumberColumn]:
    """Columns for a matrix.

    Parameters
    ----------
    names : sequence of str
    A : ndarray (rows, columns)
        NaN where missing.
    robust : ndarray of bool (columns,)
        Which are scaled by quartiles and clipped, instead of standardised.
    bins : int
        At most so many.
    facts : sequence of Facts

    Raises
    ------
    RowError
        An infinite value.
    """
    centre, scale, missing = moments(A)
    if robust.any():
        centre[robust], scale[robust] = _quartiles(A[:, robust])
    return [
        NumberColumn(
            name, float(centre[j]), float(scale[j]), bool(missing[j]), bool(robust[j]),
            _edges(A[:, j], bins), facts[j] if facts else Facts(),
        )
        for j, name in enumerate(names)
    ]  # fmt: skip


def write_numbers(
    columns: Sequence[NumberColumn],
    given: NDArray[Any],
    continuous: NDArray[Any],
    others: NDArray[Any],
) -> None:
    """Write the features of all numeric columns, a few rows at a time.

    Parameters
    ----------
    columns : sequence of NumberColumn
    given : ndarray (rows, columns)
    continuous, others : ndarray (rows, features)
        Where they go.

    Raises
    ------
    RowError
        An infinite value, or one so far out that the type of `continuous` can't hold it.
    """
    centre = np.array([column.centre for column in columns])
    scale = np.array([column.scale for column in columns])
    clipped = np.flatnonzero([column.clip for column in columns])
    starts = np.cumsum([0, *(len(column.others) for column in columns)])
    flagged = np.flatnonzero([column.indicator for column in columns])
    binned = [(k, column) for k, column in enumerate(columns) if column.edges]
    for rows, chunk in chunks(given):
        missing = np.isnan(chunk)
        with np.errstate(over="ignore"):
            z = (chunk - centre) / scale
            if len(clipped):
                z[:, clipped] /= np.hypot(1.0, z[:, clipped] / _CLIP)  # squares would overflow
            continuous[rows] = np.where(missing, 0.0, z)
        if (place := first_nonfinite(continuous[rows])) is not None:
            raise _too_far(chunk[place], rows.start + place[0], place[1], continuous.dtype)
        if len(flagged):
            others[rows, starts[flagged]] = missing[:, flagged]
        for k, column in binned:
            others[rows, starts[k] + column.indicator : starts[k + 1]] = column.binned(chunk[:, k])


def _too_far(value: float, row: int, column: int, dtype: DTypeLike) -> RowError:
    rest = f": too far from that column's mean for {np.dtype(dtype)}."
    return RowError("X", f"has {value:g}", Place(row, column), rest)

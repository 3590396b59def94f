"""Means and deviations, missing values left out, in float64 and a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.data.check import check_y
from nbmlp.errors import DataError, Place, RowError

__all__ = [
    "CHUNK_ROWS", "Moments", "TargetScale", "check_chunk", "chunks", "mean_of", "moments",
    "moments_of", "squares", "sums",
]  # fmt: skip

#: Rows whose values are summed together: what means and deviations are depends on it.
CHUNK_ROWS = 1024


class Moments(NamedTuple):
    """Of each column: mean and standard deviation (1 if constant), and if any is missing."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    missing: NDArray[np.bool_]


def chunks(A: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Rows and their values in float64, chunk by chunk.

    Raises
    ------
    RowError
        An infinite value; NaN is let through.
    """
    for start in range(0, len(A), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        chunk = A[rows].astype(np.float64)
        check_chunk(chunk, start)
        yield rows, chunk


def check_chunk(chunk: NDArray[np.float64], start: int) -> None:
    """Raise RowError about the first infinite value of a chunk, which begins at row `start`."""
    infinite = np.isinf(chunk)
    if infinite.any():
        row, column = np.argwhere(infinite)[0].tolist()
        place = Place(start + row, column)
        raise RowError("X", "has an infinite value", place, ": mend it or leave that row out.")


def moments(A: NDArray[Any]) -> Moments:
    """Mean and standard deviation of the values present, in two passes.

    Parameters
    ----------
    A : ndarray of shape (rows, columns)
        NaN where missing.

    Raises
    ------
    RowError
        An infinite value.
    """
    total, square = np.zeros((2, A.shape[1])), np.zeros(A.shape[1])
    for _, chunk in chunks(A):
        total += sums(chunk)
    mean = mean_of(total)
    for _, chunk in chunks(A):
        square += squares(chunk, mean)
    return moments_of(total, square, len(A))


def sums(chunk: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many values are present (2, columns), and their sum."""
    return np.stack([(~np.isnan(chunk)).sum(axis=0), np.nansum(chunk, axis=0)])


def squares(chunk: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the squares of their distances from the mean."""
    found: NDArray[np.float64] = np.nansum((chunk - mean) ** 2, axis=0)
    return found


def mean_of(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the :func:`sums` of all chunks, added up in their order."""
    found: NDArray[np.float64] = total[1] / np.maximum(total[0], 1)
    return found


def moments_of(total: NDArray[np.float64], square: NDArray[np.float64], rows: int) -> Moments:
    """Of so many rows: what :func:`sums` and :func:`squares` of all chunks add up to."""
    mean, scale = mean_of(total), np.sqrt(square / np.maximum(total[0], 1))
    # Rounding may leave a constant column a tiny deviation, which must not be blown up.
    scale[scale <= 1e-12 * np.abs(mean)] = 1.0
    return Moments(mean, scale, total[0] < rows)


@dataclass(frozen=True)
class TargetScale:
    """Numeric targets with mean 0 and standard deviation 1, and back.

    Attributes
    ----------
    mean, scale : tuple of float
        One for each target.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, y: ArrayLike) -> TargetScale:
        """Scale of the targets of shape (rows,) or (rows, targets); raises as ``check_y``."""
        Y = check_y(y, len(np.asarray(y)), dtype=np.float64)
        found = moments(Y)
        return cls(tuple(found.mean.tolist()), tuple(found.scale.tolist()))

    def transform(self, y: ArrayLike) -> NDArray[np.float64]:
        """Scaled targets of shape (rows, targets); raises as ``check_y``."""
        return self.of(check_y(y, len(np.asarray(y)), len(self.mean), dtype=np.float64))

    def of(self, Y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of targets that have been checked."""
        return (Y - self.mean) / self.scale

    def inverse(self, z: ArrayLike) -> NDArray[np.float64]:
        """Predictions of shape (rows, targets), or (rows,) of a single target, in y's units."""
        return np.asarray(z, dtype=np.float64) * self.scale + self.mean

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values for JSON."""
        return {"mean": list(self.mean), "scale": list(self.scale)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TargetScale:
        """The inverse of :meth:`to_dict`; raises DataError on anything else."""
        try:
            mean, scale = (tuple(map(float, values[key])) for key in ("mean", "scale"))
        except (KeyError, TypeError, ValueError):
            raise DataError("the stored target scale cannot be read.") from None
        return cls(mean, scale)

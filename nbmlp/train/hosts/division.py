"""What processes that train together divide among them besides updates: rows that are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.data import Given, Table, Unread, check_X
from nbmlp.data.outliers import MOST_BYTES
from nbmlp.plan import Shards
from nbmlp.predict import Predictor, Rows, mean_of
from nbmlp.rows import Names
from nbmlp.state import all_finite, known_finite

__all__ = ["Division"]

Floats = NDArray[np.float64]


class Division:
    """Parts of rows, each looked at by one process, of whose findings all hear.

    Attributes
    ----------
    rank, size : int
        Which of how many this process is.
    """

    rank: int
    size: int
    _comm: Any
    _shards: int

    def agree(self, value: Any = None) -> list[Any]:
        """What each process says."""
        raise NotImplementedError

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse to train where one of these differs."""
        raise NotImplementedError

    def in_turn(self, start: Floats, parts: Iterable[Floats]) -> Floats:
        """The sum of the parts of all, added to `start` one by one: those of process 0 first."""
        for rank in range(self.size):
            mine = sum(parts, start) if rank == self.rank else None
            start = self.agree(mine)[rank]
        return start

    # -- rows to train on

    def own(self, rows: int) -> tuple[int, int]:
        """Of so many rows, the first one of this process's shards and the one behind the last."""
        return Shards.among(self._shards, self.size)[self.rank].rows(rows)

    def finite(self, y: NDArray[Any]) -> bool:
        """Whether targets are known to be finite; those of others are theirs to look at."""
        if self.size == 1:
            return known_finite(y)
        first, end = self.own(len(y))
        return all_finite(y[first:end])

    def own_rows(self, given: Given) -> tuple[Any, Names]:
        """Inputs of the rows of one's own, and what they are called; all, of sparse ones."""
        X = given.X
        if self.size == 1 or not isinstance(X, Unread | np.ndarray):
            return X, given.names
        first, end = self.own(len(X))
        rows = _read(X, first, end) if isinstance(X, Unread) else X[first:end]
        return rows, given.names.take(np.arange(first, end))

    # -- rows to validate on

    def part(self, rows: int) -> tuple[int, int]:
        """Of so many rows, the first one that is computed here and the one behind the last."""
        block = tuning.ROW_BLOCK
        first, end = self._bounds(-(-rows // block))[self.rank : self.rank + 2]
        return min(first * block, rows), min(end * block, rows)

    def outputs(self, predictor: Predictor, rows: Rows) -> NDArray[Any]:
        """See :meth:`Predictor.outputs`; each process computes some of them."""
        if self.size == 1:
            return predictor.outputs(rows)
        out, sums = predictor.room(rows)
        self._fill(predictor, rows, out, None, self._bounds(len(sums)))
        return out

    def outputs_and_loss(
        self, predictor: Predictor, rows: Rows, between: Callable[[], None]
    ) -> tuple[NDArray[Any], float]:
        """See :meth:`Predictor.outputs_and_loss`; each process computes some of them.

        Blocks are those of one process, and their sums are added in its order.
        """
        if self.size == 1:
            return predictor.outputs_and_loss(rows, between)
        out, sums = predictor.room(rows)
        bounds = self._bounds(len(sums))
        self._fill(predictor, rows, out, sums, bounds)
        self._gather(sums, bounds)
        return out, mean_of(sums)

    def _bounds(self, count: int) -> list[int]:
        return [k * count // self.size for k in range(self.size + 1)]

    def _fill(
        self, predictor: Predictor, rows: Rows, out: NDArray[Any], sums: Floats | None,
        bounds: list[int],
    ) -> None:  # fmt: skip
        predictor.fill(out, sums, rows, bounds[self.rank], bounds[self.rank + 1])
        self.agree()  # who could not does not come to what all have to call
        self._gather(out, [predictor.row_of(block, rows) for block in bounds])

    def _gather(self, array: NDArray[Any], bounds: list[int]) -> None:
        """Give all an array (n, columns), of which each process has the rows between two bounds."""
        starts = np.array(bounds) * array.shape[1]
        counts = np.diff(starts)
        own = array[slice(*bounds[self.rank : self.rank + 2])].reshape(-1).copy()
        self._comm.Allgatherv([own, counts[self.rank]], [array.reshape(-1), (counts, starts[:-1])])


def _read(X: Unread, first: int, end: int) -> Any:
    """Some rows of a table or an array of numbers; none of an array that is not looked through."""
    if isinstance(X.source, Table):
        return X.read(first, end)
    large = (end - first) * X.shape[1] * X.source.itemsize > MOST_BYTES
    return X.source[:0] if large else check_X(X.read(first, end), dtype=np.float64)

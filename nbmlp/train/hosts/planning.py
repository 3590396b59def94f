"""The column plan of processes that train together: each looks at some of the data, all get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import ColumnPlan, Given, NumberColumn, Table, Unread, check_X
from nbmlp.data.columns.access import Columns
from nbmlp.data.columns.choose import check_left, chosen, facts_of_numbers
from nbmlp.data.columns.facts import Column
from nbmlp.data.columns.left_out import FEW
from nbmlp.data.columns.rules import Rules
from nbmlp.data.scale import CHUNK_ROWS, check_chunk, mean_of, moments_of, squares, sums
from nbmlp.net import plan_of
from nbmlp.rows import Names
from nbmlp.settings import Settings
from nbmlp.train.hosts.division import Division

__all__ = ["Planning"]


class Planning(Division):
    """Plans with the bits of one process: what is added up is added in its order."""

    def plan(self, given: Given, settings: Settings) -> ColumnPlan | None:
        """How columns become inputs; None where nothing is unread, or no plan is wanted.

        Tables are planned column by column, each by one process. Arrays of numbers that are
        standardised are planned by all, each of which reads its own rows. What else is wished of
        arrays is planned by process 0.

        Raises
        ------
        DataError
            As :meth:`ColumnPlan.fit`.
        """
        X, task = given.X, settings.target
        if not isinstance(X, Unread) or not (settings.prepares or isinstance(X.source, Table)):
            return None
        rules = Rules(
            task.scaling, task.bins, embed=task.category_embedding,
            overrides=task.column_kinds or {},
        )  # fmt: skip
        with given.names.telling():
            if isinstance(X.source, Table):
                return ColumnPlan(self._by_columns(X, X.source.names, rules), None, len(X))
            if not (rules.leaves_out or rules.bins or rules.overrides):
                return ColumnPlan(self._by_rows(X), None, len(X))
            found = None
            if self.rank == 0:
                found = plan_of(task, check_X(X.read(0, len(X)), dtype=np.float64))
            plan: ColumnPlan = self.agree(found)[0]
            return plan

    # -- tables

    def _by_columns(self, X: Unread, names: tuple[str, ...], rules: Rules) -> tuple[Column, ...]:
        wanted, bounds = rules.wanted(names), self._bounds(len(names))

        def one(number: int, beside: bool) -> Column:
            name = names[number]
            with Names(columns=names, places=np.array([number])).telling():
                return chosen(Columns(X.column(name), None), rules, wanted, beside)[0]

        own = range(*bounds[self.rank : self.rank + 2])
        made = [one(number, beside=True) for number in own]
        columns: list[Column] = [column for each in self.agree(made) for column in each]
        numbers = [j for j, column in enumerate(columns) if isinstance(column, NumberColumn)]
        if len(numbers) == 1:  # there is none beside it
            [number] = numbers
            alone = one(number, beside=False) if number in own else None
            columns[number] = next(c for c in self.agree(alone) if c is not None)
        check_left(columns, len(X))
        return tuple(columns)

    # -- arrays

    def _by_rows(self, X: Unread) -> tuple[Column, ...]:
        own, width = self.own(len(X)), X.shape[1]
        seen = _Seen.of(X)
        total = self.in_turn(np.zeros((2, width)), [seen.sums(*one) for one in _chunks(X, own)])
        mean = mean_of(total)
        parts = [squares(chunk[:CHUNK_ROWS], mean) for _, chunk in _chunks(X, own)]
        square = self.in_turn(np.zeros(width), parts)
        found = moments_of(total, square, len(X))
        said = self.agree((seen.constant, seen.counts))
        constant, counts = (np.logical_and.reduce(flags) for flags in zip(*said, strict=True))
        missing = len(X) - total[0]
        return tuple(
            NumberColumn(
                f"x{j}", float(found.mean[j]), float(found.scale[j]), bool(found.missing[j]),
                facts=facts_of_numbers(
                    len(X), int(missing[j]), bool(constant[j]), bool(counts[j])
                ),
            )
            for j in range(width)
        )  # fmt: skip


def _floats(rows: Any) -> NDArray[np.float64]:
    """A copy row by row: what NumPy adds up first depends on how values lie."""
    return np.array(rows, np.float64, order="C")


def _chunks(X: Unread, own: tuple[int, int]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The chunks that begin in one's own rows, where they begin, and the row behind each."""
    first = -(-own[0] // CHUNK_ROWS) * CHUNK_ROWS
    for start in range(first, own[1], CHUNK_ROWS):
        yield start, _floats(X.read(start, min(start + CHUNK_ROWS + 1, len(X))))


@dataclass
class _Seen:
    """What is seen of columns while their values are summed.

    Attributes
    ----------
    first, step : ndarray (columns,)
        Values of the first row, and by how much those of the second are more.
    constant, counts : ndarray of bool (columns,)
        Whether all values so far are that of the first row, and whether each is one more, or one
        less, than that before.
    """

    first: NDArray[np.float64]
    step: NDArray[np.float64]
    constant: NDArray[np.bool_]
    counts: NDArray[np.bool_]

    @classmethod
    def of(cls, X: Unread) -> _Seen:
        first, second = _floats(X.read(0, 2))[[0, -1]]
        with np.errstate(invalid="ignore"):
            step = second - first
        return cls(first, step, np.ones(len(first), bool), (np.abs(step) == 1) & (len(X) >= FEW))

    def sums(self, start: int, chunk: NDArray[np.float64]) -> NDArray[np.float64]:
        """Look at a chunk and the row behind it; see :func:`nbmlp.data.scale.sums`."""
        check_chunk(chunk[:CHUNK_ROWS], start)
        with np.errstate(invalid="ignore"):  # the row behind it may be infinite
            self.counts &= (np.diff(chunk, axis=0) == self.step).all(axis=0)
        self.constant &= (chunk == self.first).all(axis=0)
        return sums(chunk[:CHUNK_ROWS])

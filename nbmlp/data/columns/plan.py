"""The column plan: raw columns to the numbers that a net learns from, fitted once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nbmlp.data.columns import stored
from nbmlp.data.columns.access import Columns
from nbmlp.data.columns.categories import CategoryColumn, EmbeddedColumn, SignColumn
from nbmlp.data.columns.choose import choose
from nbmlp.data.columns.facts import Column, Room
from nbmlp.data.columns.left_out import LeftOut
from nbmlp.data.columns.numbers import NumberColumn, write_numbers
from nbmlp.data.columns.rules import Categorical, Rules
from nbmlp.data.columns.told import Told
from nbmlp.data.scale import TargetScale
from nbmlp.errors import DataError, listing

__all__ = ["ColumnPlan"]

#: Kinds whose columns have categories.
Known = CategoryColumn | SignColumn | EmbeddedColumn


@dataclass(frozen=True)
class ColumnPlan:
    """How raw columns become the inputs of a net; frozen, comparable, fit for JSON.

    Attributes
    ----------
    prepared : tuple of Column
        What becomes of each column that it was fitted on, in their order.
    target : TargetScale or None
        Scale of the targets, when it was fitted with numeric ones.
    rows : int or None
        That it was fitted on; None in plans of old files, which did not keep it.

    Notes
    -----
    Features stand in this order: first all scaled numbers (those of numeric columns, then parts of
    dates), then indicators, bins, zeros and ones, signs and cycles, last the codes of embedded
    categories.
    """

    prepared: tuple[Column, ...]
    target: TargetScale | None = None
    rows: int | None = None

    @classmethod
    def fit(
        cls,
        X: object,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        numbers: str = "standard",
        bins: int = 0,
        most_one_hot: int | None = None,
        min_count: int = 2,
        embed: bool = False,
        compact: bool | None = None,
        categorical_features: Categorical = "auto",
        overrides: Mapping[str, str] | None = None,
    ) -> ColumnPlan:
        """Learn what the columns hold.

        Parameters
        ----------
        X : Table, mapping, data frame, or array-like of shape (rows, columns)
            Missing values: None, NaN, and in text columns also the marks of
            :data:`nbmlp.data.table.MISSING_MARKS`.
        y : array-like of shape (rows,) or (rows, targets), optional
            Numeric targets to be scaled; left out for classes.
        names : sequence of str, optional
            Of the columns of an array; ``x0``, ``x1``, ... by default.
        numbers : {"standard", "robust"}
            Mean 0 and deviation 1; or the median 0 and the quartiles' distance 1, and what lies
            far out pulled in smoothly.
        bins : int
            Further features of each number, at most so many: each piecewise linear between two
            edges, half of which are quantiles of the rows, half of the distinct values.
        most_one_hot : int, optional
            Categories of one column that become zeros and ones, the most frequent ones; 100 by
            default, 8 beside embedded ones.
        min_count : int
            A category seen less often shares the place of the unknown ones, which so gets
            something to learn from.
        embed : bool
            Columns of more categories become codes for an embedding, instead of leaving the rare
            ones together.
        compact : bool, optional
            Leave out what is constant, empty, or a text of its own in nearly every row; make one
            column of -1 and 1 of two categories; keep no place for others where there were none.
            By default with robust numbers or embedded categories.
        categorical_features : "auto" or sequence of names, numbers or booleans
            Columns whose numbers are categories, beside those of text and of a frame's own
            categories.
        overrides : mapping of str to str, optional
            What to take columns as, by name: ``drop``, ``number``, ``standard``, ``robust``,
            ``boolean``, ``date``, ``category``, ``one-hot``, ``embedded`` or ``auto``.

        Raises
        ------
        DataError
            An infinite value, a column that does not exist or can't be what was asked for, or data
            that are no matrix.
        SpecError
            An unknown word.
        """
        rules = Rules(
            numbers, bins, most_one_hot, min_count, embed, compact, categorical_features,
            overrides or {},
        )  # fmt: skip
        data = Columns(X, names)
        target = None if y is None else TargetScale.fit(y)
        return cls(choose(data, rules), target, len(data))

    # -- what it makes

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that it was fitted on, in their order."""
        return tuple(column.name for column in self.prepared)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Those of them that data must have."""
        return tuple(c.name for c in self.prepared if not isinstance(c, LeftOut))

    @cached_property
    def numbers(self) -> tuple[NumberColumn, ...]:
        """Those that are scaled."""
        return tuple(column for column in self.prepared if isinstance(column, NumberColumn))

    @cached_property
    def categories(self) -> tuple[Known, ...]:
        """Those that have categories."""
        return tuple(
            column
            for column in self.prepared
            if isinstance(column, Known) and column.kind != "boolean"
        )

    @cached_property
    def _ordered(self) -> tuple[Column, ...]:
        """In the order of the features."""
        rest = (column for column in self.prepared if not isinstance(column, NumberColumn))
        return (*self.numbers, *rest)

    @property
    def n_numbers(self) -> int:
        """The first so many features are scaled numbers."""
        return self._starts[-1][0]

    @property
    def code_counts(self) -> tuple[int, ...]:
        """The last features are codes: how many there are of each, 0 included."""
        return tuple(count for column in self._ordered for count in column.code_counts)

    @property
    def n_features(self) -> int:
        """Columns of :meth:`transform`."""
        return self._starts[-1][2]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of :meth:`transform`."""
        return (
            *(name for column in self._ordered for name in column.continuous),
            *(name for column in self._ordered for name in column.others),
            *(column.name for column in self._ordered for _ in column.code_counts),
        )

    @cached_property
    def _starts(self) -> list[tuple[int, int, int]]:
        """Where the three parts of each column's features begin, and where all end."""
        sizes = [[len(c.continuous), len(c.others), len(c.code_counts)] for c in self._ordered]
        ends = np.cumsum([[0, 0, 0], *sizes], axis=0)
        ends[:, 1] += ends[-1, 0]
        ends[:, 2] += ends[-1, 1]
        return [(a, b, c) for a, b, c in ends.tolist()]

    def told(self) -> list[Told]:
        """What became of each column and why, in their order."""
        return [Told.of(column) for column in self.prepared]

    def places(self, names: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Which column each column of :meth:`transform` comes from, by number.

        Parameters
        ----------
        names : sequence of str, optional
            Of the columns of X in its order, where it is another than that of `columns`.
        """
        place = {name: j for j, name in enumerate(self.columns if names is None else names)}
        own = np.array([place.get(column.name, -1) for column in self._ordered], np.int64)
        sizes = ([len(c.continuous) for c in self._ordered],
                 [len(c.others) for c in self._ordered],
                 [len(c.code_counts) for c in self._ordered])  # fmt: skip
        return np.concatenate([np.repeat(own, some) for some in sizes])

    def transform(
        self, X: object, names: Sequence[str] | None = None, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """Apply the plan.

        Parameters
        ----------
        X : Table, mapping, data frame, or array-like of shape (rows, columns)
            Named columns may come in any order; those that were left out may be missing.
        names : sequence of str, optional
            Of the columns of an array; by default they are those that the plan was fitted on.
        dtype : dtype
            Of the result.

        Returns
        -------
        ndarray of shape (rows, n_features)

        Raises
        ------
        DataError
            Missing or additional columns, text where there were numbers, a date in another
            format, an infinite value.
        """
        data = Columns(X, names, self.columns)
        self._check_names(data.names)
        out = np.zeros((len(data), self.n_features), dtype=dtype)
        width = len(self.numbers)
        room = self._room(out, 0, width)
        numeric = [column.name for column in self.numbers]
        with data.called(numeric).telling():
            given = data.numbers(numeric)
            write_numbers(self.numbers, given, room.continuous, room.others)
        for k, column in enumerate(self._ordered[width:], width):
            if not isinstance(column, LeftOut):
                column.write(data[column.name], self._room(out, k, k + 1), data.place(column.name))
        return out

    def _room(self, out: NDArray[Any], first: int, end: int) -> Room:
        edges = zip(self._starts[first], self._starts[end], strict=True)
        return Room(*(out[:, a:b] for a, b in edges))

    def _check_names(self, names: Sequence[str]) -> None:
        known = {*self.columns}
        there = {*names}
        lacking = [name for name in self.needed if name not in there]
        extra = [name for name in names if name not in known]
        if lacking or extra:
            parts = [f"lack {_listed(lacking)}"] if lacking else []
            parts += [f"have {_listed(extra)} besides"] if extra else []
            raise DataError(
                f"the data {' and '.join(parts)}: the model was fitted on the columns"
                f" {_listed(self.columns)}."
            )

    # -- targets

    def transform_target(self, y: ArrayLike) -> NDArray[np.float64]:
        """Scaled targets of shape (rows, targets); needs a plan that was fitted with y."""
        return self._scale().transform(y)

    def inverse_target(self, z: ArrayLike) -> NDArray[np.float64]:
        """Predictions in y's units, of z's shape; needs a plan that was fitted with y."""
        return self._scale().inverse(z)

    def _scale(self) -> TargetScale:
        if self.target is None:
            raise DataError("this column plan was fitted without targets: it cannot scale any.")
        return self.target

    # -- files

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        target = None if self.target is None else self.target.to_dict()
        columns = stored.written(self.prepared)
        return {"version": stored.VERSION, "rows": self.rows, "prepared": columns, "target": target}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ColumnPlan:
        """The inverse of :meth:`to_dict`, of former versions as well; raises DataError."""
        prepared, target, rows = stored.read(values)
        return cls(prepared, target, rows)


def _listed(names: Sequence[str]) -> str:
    return listing([repr(name) for name in names], 8)

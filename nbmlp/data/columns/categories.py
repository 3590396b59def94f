"""Columns of categories: zeros and ones, minus and plus one, or codes for an embedding."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns.facts import Facts, Room
from nbmlp.errors import Place, RowError

__all__ = [
    "BooleanColumn", "CategoryColumn", "Counted", "EmbeddedColumn", "SignColumn", "cells_of",
]  # fmt: skip


def cells_of(column: NDArray[Any]) -> list[str | None]:
    """Cells as text, None where missing; whole numbers without a decimal point."""
    if column.dtype == object:
        return list(column)
    if column.dtype.kind == "M":
        return [None if text == "NaT" else text for text in np.datetime_as_string(column).tolist()]
    return [None if x != x else f"{x:.15g}" for x in column.tolist()]


class Counted:
    """How often each category occurs.

    Attributes
    ----------
    counts : Counter
        Of the texts.
    missing, rows : int
    """

    def __init__(self, column: NDArray[Any]) -> None:
        counts = Counter(cells_of(column))
        self.missing, self.rows = counts.pop(None, 0), len(column)
        self.counts: Counter[str] = counts  # type: ignore[assignment]

    @property
    def levels(self) -> int:
        """How many different ones there are."""
        return len(self.counts)

    def frequent(self, min_count: int, most: int) -> tuple[str, ...]:
        """The most frequent ones, in alphabetical order."""
        found = self.counts.most_common(most)
        return tuple(sorted(text for text, count in found if count >= min_count))

    def facts(self, kept: tuple[str, ...], why: str, remark: str) -> Facts:
        """What is told of the column if these have places of their own."""
        there = sum(self.counts[text] for text in kept)
        rare = self.levels - len(kept)
        return Facts(why, remark, self.missing, self.levels, rare, self.rows - self.missing - there)


class _Known:
    """What columns that know categories have in common."""

    name: str
    categories: tuple[str, ...]

    def unknown(self, column: NDArray[Any]) -> list[str]:
        """Texts of `column` that are none of the categories, each once."""
        cells = {cell for cell in cells_of(column) if cell is not None}
        return sorted(cells - {*self.categories})

    def _codes(self, column: NDArray[Any], other: int, missing: int) -> NDArray[np.intp]:
        """The place of each cell among the categories."""
        place: dict[str | None, int] = {c: k for k, c in enumerate(self.categories)}
        place[None] = missing
        return np.array([place.get(cell, other) for cell in cells_of(column)], dtype=np.intp)


def _levels(facts: Facts, kept: int) -> str:
    """How many categories have places of their own."""
    if not facts.rare:
        return f"{kept} categories"
    one = facts.rare == 1
    n = facts.rare_rows
    rows = "" if n is None else f" ({n} row{'s' * (n != 1)})"
    rare = f"the rare one{rows} is" if one else f"{facts.rare} rare ones{rows} are"
    return f"{kept} of {facts.levels} categories; {rare} taken together with unknown ones"


@dataclass(frozen=True)
class CategoryColumn(_Known):
    """Categories: one 0/1 column for each, and one for all others.

    Attributes
    ----------
    name : str
        Of the column.
    categories : tuple of str
        In alphabetical order.
    indicator : bool
        Some were missing when fitted: a last column is 1 where missing. Without it, a missing
        one is a row of zeros.
    rest : bool
        There is a column for all others; without it, these are rows of zeros.
    facts : Facts
    """

    name: str
    categories: tuple[str, ...]
    indicator: bool = False
    rest: bool = True
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "category"
    continuous: ClassVar[tuple[str, ...]] = ()
    code_counts: ClassVar[tuple[int, ...]] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the columns that it becomes."""
        ends = ("(other)",) * self.rest + ("(missing)",) * self.indicator
        return tuple(f"{self.name}={c}" for c in (*self.categories, *ends))

    @property
    def became(self) -> str:
        """Zeros and ones, how many of them."""
        return f"one-hot: {_levels(self.facts, len(self.categories))}"

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write the ones."""
        count = len(self.categories)
        codes = self._codes(
            values, count if self.rest else -1, count + self.rest if self.indicator else -1
        )
        rows = np.flatnonzero(codes >= 0)
        room.others[rows, codes[rows]] = 1.0


@dataclass(frozen=True)
class SignColumn(_Known):
    """Two categories: -1 and 1, and 0 where missing or unknown.

    Attributes
    ----------
    name : str
        Of the column.
    categories : tuple of two str
        That of -1 and that of 1.
    indicator : bool
        Some were missing when fitted: a further column is 1 where missing.
    facts : Facts
    """

    name: str
    categories: tuple[str, ...]
    indicator: bool = False
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "binary"
    continuous: ClassVar[tuple[str, ...]] = ()
    code_counts: ClassVar[tuple[int, ...]] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """One column, named after what is 1 there, and the indicator."""
        ends = (self.categories[1], *("(missing)",) * self.indicator)
        return tuple(f"{self.name}={c}" for c in ends)

    @property
    def became(self) -> str:
        """Which is which."""
        low, high = (text if len(text) <= 30 else f"{text[:27]}..." for text in self.categories)
        return f"one column: -1 for {low}, 1 for {high}"

    def codes(self, column: NDArray[Any], place: Place) -> NDArray[np.intp]:
        """0 and 1 for the categories, 2 where missing, -1 for any other."""
        return self._codes(column, -1, 2)

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write signs and indicator."""
        codes = self.codes(values, place)
        room.others[:, 0] = np.array([-1.0, 1.0, 0.0, 0.0])[codes]
        if self.indicator:
            room.others[:, 1] = codes == 2


#: What says true and false where it is text.
_TRUTH = {"true": 1, "1": 1, "false": 0, "0": 0}


@dataclass(frozen=True)
class BooleanColumn(SignColumn):
    """True or false: 1 or -1, and 0 where missing; nothing else is taken."""

    kind: ClassVar[str] = "boolean"

    @property
    def others(self) -> tuple[str, ...]:
        """One column, and the indicator."""
        return (self.name, *(f"{self.name}=(missing)",) * self.indicator)

    @property
    def became(self) -> str:
        """Which is which."""
        return "one column: -1 for false, 1 for true"

    def codes(self, column: NDArray[Any], place: Place) -> NDArray[np.intp]:
        """0 for false, 1 for true, 2 where missing; RowError about anything else."""
        cells = cells_of(column)
        found = np.full(len(cells), 2, np.intp)
        for row, cell in enumerate(cells):
            if cell is not None:
                if cell.casefold() not in _TRUTH:
                    rest = ": true or false is needed there."
                    raise RowError("X", f"holds {cell!r}", place._replace(row=row), rest)
                found[row] = _TRUTH[cell.casefold()]
        return found


@dataclass(frozen=True)
class EmbeddedColumn(_Known):
    """Categories as codes, for an embedding that is learned with the net.

    Attributes
    ----------
    name : str
        Of the column.
    categories : tuple of str
        In alphabetical order: the codes from 1 on. Code 0 is that of all others.
    indicator : bool
        Some were missing when fitted: the last code is theirs; else theirs is 0.
    facts : Facts
    """

    name: str
    categories: tuple[str, ...]
    indicator: bool = False
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "embedded"
    continuous: ClassVar[tuple[str, ...]] = ()
    others: ClassVar[tuple[str, ...]] = ()

    @property
    def code_counts(self) -> tuple[int, ...]:
        """How many codes there are, 0 included."""
        return (1 + len(self.categories) + self.indicator,)

    @property
    def became(self) -> str:
        """Codes of an embedding, how many of them."""
        return f"codes for an embedding: {_levels(self.facts, len(self.categories))}"

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write the codes."""
        missing = len(self.categories) if self.indicator else -1
        room.codes[:, 0] = 1 + self._codes(values, -1, missing)

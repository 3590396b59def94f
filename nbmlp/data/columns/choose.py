"""Which kind each column is of: what was asked for by name, else what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns.access import Columns
from nbmlp.data.columns.categories import (
    BooleanColumn,
    CategoryColumn,
    Counted,
    EmbeddedColumn,
    SignColumn,
)
from nbmlp.data.columns.dates import DateColumn, looks_like_dates, read_dates, times_of
from nbmlp.data.columns.facts import Column, Facts
from nbmlp.data.columns.left_out import (
    LeftOut,
    gaps,
    is_constant,
    names_rows,
    numbers_rows,
)
from nbmlp.data.columns.numbers import fit_numbers
from nbmlp.data.columns.rules import MOST_LEVELS, Rules
from nbmlp.errors import DataError, listing

__all__ = ["check_left", "choose", "chosen", "facts_of_numbers"]

_ASKED = "as asked for"
_NUMBERS = ("number", "standard", "robust")
_CATEGORIES = ("category", "one-hot", "embedded")
_TRUTH = ("true", "false")
_NUMBER, _EMPTY = "holds numbers", "all values are missing"
_CONSTANT = "constant: nothing can be learned from it"
_COUNTS = "counts the rows: leave it out unless their order means something"
#: So many texts are looked at for dates in another format.
_LOOKED_AT = 20


@dataclass(frozen=True)
class _Number:
    """A column that is a number; all of them are measured together."""

    facts: Facts
    robust: bool


def choose(data: Columns, rules: Rules) -> tuple[Column, ...]:
    """What becomes of each column.

    Raises
    ------
    DataError
        A column can't be what was asked for, holds an infinite value, or nothing is left.
    """
    columns = chosen(data, rules, rules.wanted(data.names))
    check_left(columns, len(data))
    return columns


def chosen(
    data: Columns, rules: Rules, wanted: Mapping[str, str], beside: bool = False
) -> tuple[Column, ...]:
    """The same of some of the columns of a table.

    Parameters
    ----------
    data : Columns
    rules : Rules
    wanted : mapping of str to str
        What is to become of some of them.
    beside : bool
        There are numbers among the other columns: NumPy adds up several columns row by row, and a
        single one in another order, by pairs.
    """
    made = {name: _Chooser(data, name, wanted.get(name, ""), rules).made() for name in data.names}
    numbers = {name: one for name, one in made.items() if isinstance(one, _Number)}
    robust = np.array([one.robust for one in numbers.values()], bool)
    facts = [one.facts for one in numbers.values()]
    names = tuple(numbers)
    with data.called(names).telling():
        A = data.numbers(names)
        if beside and len(names) == 1:
            A, robust = np.repeat(A, 2, axis=1), np.repeat(robust, 2)
        found = fit_numbers(names, A, robust, rules.bins, facts)
    fitted = iter(found)
    return tuple(next(fitted) if isinstance(one, _Number) else one for one in made.values())


def check_left(columns: Sequence[Column], rows: int) -> None:
    """Raise DataError where nothing is left to learn from."""
    if all(isinstance(column, LeftOut) for column in columns):
        if rows == 1:
            raise DataError("no column is left: in one row (n_samples=1) none varies.")
        reasons = listing([f"{c.name!r} ({c.facts.why})" for c in columns], 5)
        raise DataError(f"no column is left to learn from: left out were {reasons}.")


def facts_of_numbers(rows: int, missing: int, constant: bool, counts: bool) -> Facts:
    """Of a column of an array of numbers: how many rows have none, and what was seen of the others.

    constant: all are the same; counts: each is one more, or one less, than the one before.
    """
    if missing == rows:
        return Facts(_EMPTY, "", missing)
    return Facts(_NUMBER, _CONSTANT if constant else _COUNTS if counts else "", missing)


class _Chooser:
    """One column, and what is wished of it."""

    def __init__(self, data: Columns, name: str, wanted: str, rules: Rules) -> None:
        self.name, self.wanted, self.rules = name, wanted, rules
        self.values, self.said = data[name], data.kind(name)
        self.place = data.place(name)
        self._missing = int(gaps(self.values).sum())

    def made(self) -> Column | _Number:
        """The column, or that it is a number."""
        if self.wanted == "drop":
            return self._left_out(_ASKED)
        if self._missing == len(self.values):
            return self._empty()
        if not self.wanted and self.rules.leaves_out and is_constant(self.values):
            return self._left_out(f"always {self._first()}")
        if self.wanted in _CATEGORIES:
            return self._category(_ASKED)
        if self.wanted in _NUMBERS:
            return self._number(_ASKED)
        if self.wanted == "date":
            return self._date(times_of(self.values, self.place), _ASKED)
        if self.wanted == "boolean":
            return self._boolean(_ASKED)
        return self._by_content()

    def _by_content(self) -> Column | _Number:
        if self.said == "category":
            return self._category("is declared a category")
        if self.said == "boolean":
            return self._boolean("holds true and false")
        if self.values.dtype.kind == "M":
            return self._date(self.values, "holds dates")
        if self.values.dtype != object:
            return self._number(_NUMBER)
        if all(cell.casefold() in _TRUTH for cell in self.values if cell is not None):
            return self._boolean("holds the words true and false")
        times, _ = read_dates(self.values)
        if times is not None:
            return self._date(times, "holds text that reads as dates")
        return self._category("holds text")

    def _first(self) -> str:
        """What a constant column holds, in few characters."""
        first = self.values[0]
        text = f"{first:g}" if self.values.dtype.kind in "fu" else str(first)
        return repr(text if len(text) <= 30 else f"{text[:27]}...")

    def _facts(self, why: str, remark: str = "") -> Facts:
        return Facts(why, remark, self._missing)

    def _left_out(self, why: str) -> LeftOut:
        return LeftOut(self.name, self._facts(why))

    def _empty(self) -> Column | _Number:
        """A column without a single value is a number that is always missing, if it stays."""
        if self.rules.leaves_out or self.values.dtype.kind not in "fu":
            return self._left_out(_EMPTY)
        return _Number(self._facts(_EMPTY), False)

    def _remark(self) -> str:
        return _CONSTANT if is_constant(self.values) else ""

    def _number(self, why: str) -> _Number:
        robust = self.wanted if self.wanted in ("standard", "robust") else self.rules.numbers
        remark = self._remark()
        if not remark and numbers_rows(self.values):
            remark = _COUNTS
        return _Number(self._facts(why, remark), robust == "robust")

    def _date(self, times: NDArray[Any], why: str) -> DateColumn:
        if np.isnat(times).all():
            raise DataError(f"column {self.name!r} has no date: all values are missing.")
        facts = self._facts(why, self._remark())
        return DateColumn.fit(self.name, times, self.rules.numbers == "robust", facts)

    def _boolean(self, why: str) -> Column:
        facts = self._facts(why, self._remark())
        column = BooleanColumn(self.name, ("0", "1"), bool(facts.missing), facts)
        column.codes(self.values, self.place)
        return column

    def _category(self, why: str) -> Column:
        counted = Counted(self.values)
        unsaid = not self.wanted and self.said != "category" and self.rules.leaves_out
        if unsaid and names_rows(counted):
            return self._left_out("nearly every row has another text")
        kept = counted.frequent(self.rules.min_count, MOST_LEVELS)
        if self._signs(kept, counted):
            facts = counted.facts(kept, why, "")
            return SignColumn(self.name, kept, counted.missing > 0, facts)
        if self._embeds(kept):
            facts = counted.facts(kept, why, "")
            return EmbeddedColumn(self.name, kept, counted.missing > 0, facts)
        if self.wanted != "one-hot":
            kept = counted.frequent(self.rules.min_count, self.rules.one_hot)
        facts = counted.facts(kept, why, self._odd(counted, kept))
        rest = not self.rules.leaves_out or bool(facts.rare)
        return CategoryColumn(self.name, kept, counted.missing > 0, rest, facts)

    def _signs(self, kept: tuple[str, ...], counted: Counted) -> bool:
        """Whether two categories are all there is."""
        if self.wanted in ("one-hot", "embedded") or not self.rules.leaves_out:
            return False
        return len(kept) == 2 == counted.levels

    def _embeds(self, kept: tuple[str, ...]) -> bool:
        if self.wanted == "embedded":
            return True
        return self.rules.embed and self.wanted != "one-hot" and len(kept) > self.rules.one_hot

    def _odd(self, counted: Counted, kept: tuple[str, ...]) -> str:
        """What to look at in a column of text."""
        if remark := self._remark():
            return remark
        few = [text for text, _ in counted.counts.most_common(_LOOKED_AT)]
        if looks_like_dates(few):
            return "seems to hold dates: written as 2024-12-31 they become parts and cycles"
        if names_rows(counted):
            return "nearly every row has another text: nothing can be learned from it"
        if len(kept) == self.rules.one_hot < counted.levels:
            return f"only the {len(kept)} most frequent categories are told apart"
        return ""

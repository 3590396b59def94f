"""Columns that a net can't learn from: recognised, told, and left out where that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns.categories import Counted
from nbmlp.data.columns.facts import Facts, Room
from nbmlp.errors import Place

__all__ = ["FEW", "LeftOut", "gaps", "is_constant", "names_rows", "numbers_rows"]

#: So many rows tell nearly always that a column is not constant.
_FIRST = 64
#: With fewer rows, that each is another one says nothing.
FEW = 30
#: Share of the rows with a text of their own from which a column names rows.
_MOST = 0.9


@dataclass(frozen=True)
class LeftOut:
    """A column that nothing becomes of; `facts` say why. It may be missing later.

    Attributes
    ----------
    name : str
        Of the column.
    facts : Facts
    """

    name: str
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "left out"
    continuous: ClassVar[tuple[str, ...]] = ()
    others: ClassVar[tuple[str, ...]] = ()
    code_counts: ClassVar[tuple[int, ...]] = ()
    became: ClassVar[str] = "left out"

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Nothing."""


def gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where values are missing."""
    if values.dtype == object:
        return np.array([cell is None for cell in values], bool)
    if values.dtype.kind == "M":
        return np.asarray(np.isnat(values))
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def is_constant(values: NDArray[Any]) -> bool:
    """Whether all are the same, none of them missing."""
    return all(bool((some == values[0]).all()) for some in (values[:_FIRST], values[_FIRST:]))


def names_rows(counted: Counted) -> bool:
    """Whether nearly every row has a text of its own, as names, addresses and keys have."""
    present = counted.rows - counted.missing
    return present >= FEW and counted.levels > _MOST * present


def numbers_rows(values: NDArray[Any]) -> bool:
    """Whether numbers count the rows, one by one."""
    if values.dtype.kind not in "fu" or len(values) < FEW:
        return False
    first = np.diff(values[:_FIRST].astype(np.float64))
    if abs(first[0]) != 1 or (first != first[0]).any():
        return False
    return bool((np.diff(values.astype(np.float64)) == first[0]).all())

"""What all kinds of columns have in common: where they write, and what was seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from nbmlp.errors import Place

__all__ = ["Column", "Facts", "Room"]


@dataclass(frozen=True)
class Facts:
    """What was seen of a column when the plan was fitted, and why it became what it is.

    Attributes
    ----------
    why : str
        What decided, e.g. ``"text"`` or ``"as asked for"``.
    remark : str
        What to look at, e.g. that the column is constant; empty where nothing is odd.
    missing : int or None
        Rows without a value; None in plans of old files, which did not keep it.
    levels, rare, rare_rows : int or None
        Of categories: how many different ones there were, how many of them have no place of
        their own, and the rows of these.
    """

    why: str = ""
    remark: str = ""
    missing: int | None = None
    levels: int | None = None
    rare: int | None = None
    rare_rows: int | None = None


class Room(NamedTuple):
    """Where the features of one column go: parts of a matrix of zeros.

    Attributes
    ----------
    continuous, others, codes : ndarray (rows, features)
    """

    continuous: NDArray[Any]
    others: NDArray[Any]
    codes: NDArray[Any]


class Column(Protocol):
    """One column of the data and what becomes of it; each kind is a frozen dataclass.

    Attributes
    ----------
    name : str
        Of the column.
    facts : Facts
    kind : str
        A word for users and files.
    continuous, others : tuple of str
        Names of its features: scaled numbers, and all else but codes.
    code_counts : tuple of int
        How many codes it may have, 0 included; empty for all but embedded categories.
    became : str
        What became of it, in a few words.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> Facts: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def continuous(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def others(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def code_counts(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def became(self) -> str: ...  # noqa: D102

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write the features of `values` (rows,); `place` is that of the column, for errors."""

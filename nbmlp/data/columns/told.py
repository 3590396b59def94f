"""What a plan says of its columns: a record for each, and a table of them for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nbmlp.data.columns.facts import Column

__all__ = ["Told", "as_taken", "shown", "table_of"]

#: Characters of a name or a text that are shown.
_LONGEST = 60


@dataclass(frozen=True)
class Told:
    """What became of one column.

    Attributes
    ----------
    column : str
        Its name.
    kind : str
        ``number``, ``boolean``, ``binary``, ``category``, ``embedded``, ``date`` or ``left out``.
    became : str
        What the net gets of it.
    why : str
        What decided that.
    features : int
        Columns of the net's inputs.
    missing : int or None
        Rows without a value; None where nobody counted, as in old files.
    levels, kept, rare : int or None
        Of categories: how many there are, how many of them have a place of their own, and how
        many share one.
    remark : str
        What to look at; empty where nothing is odd.
    """

    column: str
    kind: str
    became: str
    why: str
    features: int
    missing: int | None = None
    levels: int | None = None
    kept: int | None = None
    rare: int | None = None
    remark: str = ""

    @classmethod
    def of(cls, column: Column) -> Told:
        """The record of a column."""
        facts = column.facts
        features = len(column.continuous) + len(column.others) + len(column.code_counts)
        categories = getattr(column, "categories", None)
        kept = None if categories is None or column.kind == "boolean" else len(categories)
        return cls(
            column.name, column.kind, column.became, facts.why, features, facts.missing,
            facts.levels, kept, facts.rare, facts.remark,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def reason(self) -> str:
        """Why, and what to look at, as one text."""
        return "; ".join(filter(None, (self.why, self.remark)))


def as_taken(names: Sequence[str], bytes_only: bool) -> list[Told]:
    """Records of columns that go into the net without a plan."""
    became = "divided by 255" if bytes_only else "as it is"
    why = "whole numbers of 0 to 255, as in pictures" if bytes_only else "nothing is to be scaled"
    return [Told(name, "number", became, why, 1) for name in names]


def shown(text: str, most: int = _LONGEST) -> str:
    """A text that may hold anything as one short line: what can't be seen is written as escapes."""
    plain = "".join(c if c.isprintable() else _escaped(c) for c in text[: most + 1])
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def table_of(columns: Sequence[Told]) -> str:
    """A line for each column, in plain text."""
    head = ("column", "kind", "becomes", "inputs", "missing", "why")
    rows: list[tuple[str, ...]] = [head]
    for one in columns:
        missing = "" if one.missing is None else str(one.missing)
        cells = (one.column, one.kind, one.became, str(one.features), missing, one.reason)
        rows.append(tuple(shown(cell, 110) for cell in cells))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)

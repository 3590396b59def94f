"""Column plans as plain values in files: written, and read again with suspicion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

from nbmlp.data.columns.categories import (
    BooleanColumn,
    CategoryColumn,
    EmbeddedColumn,
    SignColumn,
)
from nbmlp.data.columns.dates import CYCLES, PARTS, DateColumn
from nbmlp.data.columns.facts import Column, Facts
from nbmlp.data.columns.left_out import LeftOut
from nbmlp.data.columns.numbers import NumberColumn
from nbmlp.data.columns.rules import MOST_BINS, MOST_LEVELS
from nbmlp.data.scale import TargetScale
from nbmlp.errors import DataError

__all__ = ["VERSION", "read", "written"]

VERSION = 2
_KINDS: dict[str, Any] = {
    kind.kind: kind
    for kind in (
        NumberColumn, CategoryColumn, SignColumn, BooleanColumn, EmbeddedColumn, DateColumn, LeftOut
    )
}  # fmt: skip
#: Of a plan; of names, categories and remarks.
_MOST_COLUMNS, _MOST_FEATURES, _LONGEST = 1_000_000, 10_000_000, 100_000


def written(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Plain values for each column: its kind, and the fields that are not as by default."""
    return [{"kind": column.kind, **_plain(column)} for column in columns]


def _plain(column: Any) -> dict[str, Any]:
    found = asdict(column)
    for name, inner in (("facts", found), *(("facts", part) for part in found.get("parts", ()))):
        inner[name] = {k: v for k, v in inner[name].items() if v not in (None, "")}
    return found


def read(values: Any) -> tuple[tuple[Column, ...], TargetScale | None, int | None]:
    """Columns, scale of the targets and number of rows.

    Raises
    ------
    DataError
        It is no plan, one of a newer version, or has a value that no plan has.
    """
    try:
        target = values["target"]
        scale = None if target is None else TargetScale.from_dict(target)
        if "version" not in values:
            columns, rows = _old(values), None
        else:
            _hold(values["version"] == VERSION, "it is of another version")
            columns, rows = _new(values["prepared"]), _count(values["rows"])
    except (KeyError, TypeError, AttributeError):
        raise DataError("the stored column plan cannot be read.") from None
    _check(columns)
    return columns, scale, rows


def _hold(condition: bool, fault: str) -> None:
    if not condition:
        raise DataError(f"the stored column plan cannot be read: {fault}.")


def _check(columns: Sequence[Column]) -> None:
    """What no single column shows."""
    _hold(0 < len(columns) <= _MOST_COLUMNS, f"it has {len(columns)} columns")
    _hold(len({column.name for column in columns}) == len(columns), "a column occurs twice")
    two = all(len(c.categories) == 2 for c in columns if isinstance(c, SignColumn))
    _hold(two, "a column of two categories has another number")
    sizes = (len(c.continuous) + len(c.others) + len(c.code_counts) for c in columns)
    _hold(0 < sum(sizes) <= _MOST_FEATURES, "it makes no inputs, or too many")


# -- as they are written today


def _new(columns: Any) -> tuple[Column, ...]:
    _hold(isinstance(columns, list), "its columns are no list")
    return tuple(_column(dict(values)) for values in columns)


def _column(values: dict[str, Any]) -> Column:
    kind = values.pop("kind")
    _hold(isinstance(kind, str) and kind in _KINDS, "a column is of an unknown kind")
    made: Column = _made(_KINDS[kind], values)
    return made


def _made(class_: Any, values: dict[str, Any]) -> Any:
    known = {f.name for f in fields(class_)}
    return class_(**{name: _FIELDS[name](v) for name, v in values.items() if _known(name, known)})


def _known(name: str, known: set[str]) -> bool:
    _hold(name in known, "a column has a field that is not known")
    return True


def _text(value: Any) -> str:
    _hold(isinstance(value, str) and len(value) <= _LONGEST, "a name is no text, or too long")
    return str(value)


def _number(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _hold(number and not math.isnan(value), "a value is no number")
    return float(value)


def _positive(value: Any) -> float:
    _hold(_number(value) > 0, "a scale is not above 0")
    return float(value)


def _flag(value: Any) -> bool:
    _hold(isinstance(value, bool), "a flag is neither true nor false")
    return bool(value)


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    _hold(value is None or whole, "a count is no number")
    return None if value is None else int(value)


def _edges(value: Any) -> tuple[float, ...]:
    fits = isinstance(value, list | tuple) and len(value) <= MOST_BINS + 1
    _hold(fits, "there are too many bins")
    edges = tuple(map(_number, value))
    rising = len(edges) != 1 and all(a < b for a, b in pairwise(edges))
    _hold(rising and all(map(math.isfinite, edges)), "bins do not rise")
    return edges


def _categories(value: Any) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and len(value) <= MOST_LEVELS
    _hold(fits, "there are too many categories")
    texts = tuple(map(_text, value))
    _hold(len({*texts}) == len(texts), "a category occurs twice")
    return texts


def _facts(value: Any) -> Facts:
    told: dict[str, Callable[[Any], Any]] = {
        name: _text if name in ("why", "remark") else _count for name in _FACTS
    }
    _hold(isinstance(value, dict) and value.keys() <= told.keys(), "its facts are unknown")
    return Facts(**{name: told[name](v) for name, v in value.items()})


def _parts(value: Any) -> tuple[NumberColumn, ...]:
    fits = isinstance(value, list | tuple) and 0 < len(value) <= len(PARTS)
    _hold(fits, "a date has other parts")
    parts = tuple(_made(NumberColumn, dict(part)) for part in value)
    names = [part.name for part in parts]
    plain = not any(part.indicator or part.edges for part in parts)
    _hold(plain and names == [name for name in PARTS if name in names], "a date has other parts")
    return parts


def _cycles(value: Any) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and list(value) == [c for c in CYCLES if c in value]
    _hold(fits, "a date has other cycles")
    return tuple(value)


_FACTS = {f.name for f in fields(Facts)}
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": _text, "centre": _number, "scale": _positive, "indicator": _flag, "clip": _flag,
    "edges": _edges, "facts": _facts, "categories": _categories, "rest": _flag, "parts": _parts,
    "cycles": _cycles,
}  # fmt: skip

# -- as they were written first


def _old(values: Mapping[str, Any]) -> tuple[Column, ...]:
    """Numbers and one-hot categories, each in a list of its own beside the names of all."""
    known: dict[str, Column] = {}
    for one in values["numbers"]:
        renamed = {"centre" if name == "mean" else name: v for name, v in one.items()}
        column = _made(NumberColumn, renamed)
        known[column.name] = column
    for one in values["categories"]:
        column = _made(CategoryColumn, dict(one))
        known[column.name] = column
    names = [_text(name) for name in values["columns"]]
    _hold({*names} == known.keys() and len(names) == len(known), "its columns do not fit together")
    return tuple(known[name] for name in names)

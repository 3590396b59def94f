"""Dates and times: elapsed days, the parts that vary, and cycles of the year, the week, the day."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns.facts import Facts, Room
from nbmlp.data.columns.numbers import NumberColumn, fit_numbers, write_numbers
from nbmlp.errors import Place, RowError

__all__ = ["CYCLES", "PARTS", "DateColumn", "looks_like_dates", "read_dates", "times_of"]

_ISO = re.compile(
    r"\s*(?:(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s*(?:Z|[+-]\d\d:?\d\d)?"
    r"|(\d{4}-\d\d-\d\d|(?:18|19|20|21)\d\d-\d\d))\s*",
    re.ASCII,
)
#: Days and months in any other order.
_DATE_LIKE = re.compile(
    r"(\d{4}([./-])\d\d?\2\d\d?|\d\d?([./-])\d\d?\3(\d\d){1,2})([ T].*)?", re.DOTALL | re.ASCII
)
_DAY = np.timedelta64(1, "D")
#: What dates are taken apart into.
PARTS = ("elapsed days", "year", "month", "weekday", "hour")
#: Length of a cycle, and the part that must vary for it.
CYCLES = {"year": "month", "week": "weekday", "day": "hour"}


def _time(text: str) -> Any:
    """A date as it is written, whatever its zone, which the clock on the wall has not; or None."""
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    try:
        return np.datetime64(found[1] or found[2]).astype("M8[us]")
    except ValueError:  # the 30th of February
        return None


def read_dates(column: NDArray[Any]) -> tuple[NDArray[Any] | None, int]:
    """Dates (``datetime64[us]``) out of text as ISO 8601 has it, or None and the first bad row."""
    known: dict[Any, Any] = {None: np.datetime64("NaT", "us")}
    for row, cell in enumerate(column):
        if cell not in known:
            known[cell] = _time(cell)
            if known[cell] is None:
                return None, row
    return np.array([known[cell] for cell in column], dtype="M8[us]"), -1


def looks_like_dates(texts: list[str]) -> bool:
    """Whether texts seem to be dates, but not as ISO 8601 has it."""
    return bool(texts) and all(_DATE_LIKE.fullmatch(text.strip()) for text in texts)


def _parts(times: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Numbers that say when, NaN where missing."""
    gone = np.isnat(times)
    days = times.astype("M8[D]")
    numbers = (
        (times - np.datetime64(0, "us")) / _DAY,
        times.astype("M8[Y]").astype(np.int64) + 1970.0,
        times.astype("M8[M]").astype(np.int64) % 12 + 1.0,
        (days.astype(np.int64) + 3) % 7 + 0.0,  # the first day of 1970 was a Thursday
        (times - days) / np.timedelta64(1, "h"),
    )
    return {n: np.where(gone, np.nan, v) for n, v in zip(PARTS, numbers, strict=True)}


def _phase(times: NDArray[Any], cycle: str) -> NDArray[np.float64]:
    """How far a cycle is, 0 to 1; NaN where missing."""
    if cycle == "year":
        years = times.astype("M8[Y]")
        length = (years + 1).astype("M8[D]") - years.astype("M8[D]")
        return np.asarray((times - years) / length)
    parts = _parts(times)
    if cycle == "week":
        return (parts["weekday"] + parts["hour"] / 24) / 7
    return parts["hour"] / 24


def times_of(column: NDArray[Any], place: Place) -> NDArray[Any]:
    """A column of dates as ``datetime64[us]``, from text as well.

    Raises
    ------
    RowError
        Text in another format, or numbers.
    """
    if column.dtype.kind == "M":
        return column
    if column.dtype == object:
        times, row = read_dates(column)
        if times is None:
            rest = ": a date is needed there, as in 2024-12-31 or 2024-12-31 23:59."
            raise RowError("X", f"holds the text {column[row]!r}", place._replace(row=row), rest)
        return times
    there = np.flatnonzero(~np.isnan(column.astype(np.float64)))
    if len(there):
        row = int(there[0])
        rest = ": a date is needed there, as in 2024-12-31."
        raise RowError("X", f"holds the number {column[row]:g}", place._replace(row=row), rest)
    return np.full(len(column), np.datetime64("NaT", "us"))


@dataclass(frozen=True)
class DateColumn:
    """Dates: elapsed days and parts as numbers, cycles as sine and cosine; 0 where missing.

    Attributes
    ----------
    name : str
        Of the column.
    parts : tuple of NumberColumn
        Those that vary, of ``elapsed days``, ``year``, ``month``, ``weekday``, ``hour``.
    cycles : tuple of str
        Those that vary, of ``year``, ``week``, ``day``.
    indicator : bool
        Some were missing when fitted: a further column is 1 where missing.
    facts : Facts
    """

    name: str
    parts: tuple[NumberColumn, ...]
    cycles: tuple[str, ...]
    indicator: bool = False
    facts: Facts = field(default_factory=Facts)

    kind: ClassVar[str] = "date"
    code_counts: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def fit(cls, name: str, times: NDArray[Any], robust: bool, facts: Facts) -> DateColumn:
        """Learn what varies, and how to scale it."""
        parts = {n: v for n, v in _parts(times).items() if n == "elapsed days" or _varies(v)}
        numbers = np.column_stack(list(parts.values()))
        found = fit_numbers(tuple(parts), numbers, np.full(len(parts), robust))
        plain = (NumberColumn(p.name, p.centre, p.scale, clip=p.clip) for p in found)
        cycles = tuple(cycle for cycle, part in CYCLES.items() if part in parts)
        return cls(name, tuple(plain), cycles, bool(np.isnat(times).any()), facts)

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(f"{self.name}={part.name}" for part in self.parts)

    @property
    def others(self) -> tuple[str, ...]:
        """Sines, cosines, and the indicator."""
        waves = (f"{self.name}={f}({c})" for c in self.cycles for f in ("sin", "cos"))
        return (*waves, *(f"{self.name}=(missing)",) * self.indicator)

    @property
    def became(self) -> str:
        """Which parts and cycles."""
        words = [part.name for part in self.parts]
        words += [f"cycle of the {cycle}" for cycle in self.cycles]
        return ", ".join(words + ["indicator"] * self.indicator)

    def write(self, values: NDArray[Any], room: Room, place: Place) -> None:
        """Write parts, cycles and indicator of dates or of text."""
        times = times_of(values, place)
        gone, parts = np.isnat(times), _parts(times)
        numbers = np.column_stack([parts[part.name] for part in self.parts])
        write_numbers(self.parts, numbers, room.continuous, room.others[:, :0])
        for k, cycle in enumerate(self.cycles):
            angle = 2 * np.pi * np.where(gone, 0.0, _phase(times, cycle))
            room.others[:, 2 * k] = np.where(gone, 0.0, np.sin(angle))
            room.others[:, 2 * k + 1] = np.where(gone, 0.0, np.cos(angle))
        if self.indicator:
            room.others[:, -1] = gone


def _varies(values: NDArray[np.float64]) -> bool:
    present = values[~np.isnan(values)]
    return bool(len(present)) and bool((present != present[0]).any())

"""How a text table is written: its separator, its header, its decimal mark, and its rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from nbmlp.data.decoding import known_encoding, open_text
from nbmlp.data.numerals import OTHER, read_number
from nbmlp.data.table import is_missing
from nbmlp.errors import DataError

__all__ = ["Dialect", "Layout", "guess_layout", "rows"]

_HEAD = 1 << 20
_SAMPLE_LINES = 20
#: In order of trust: a comma may be a decimal mark.
_SEPARATORS = ("\t", ";", "|", ",")
#: How a tab may be given where it is hard to type.
_TAB = ("tab", "\\t")
#: What some spreadsheets write above the table.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?')
#: From a quote to the one that closes it, or to the end.
_QUOTED = re.compile(r'"((?:[^"]|"")*)("|\Z)')


@dataclass(frozen=True)
class Dialect:
    """What is told about a text table, so that it need not be guessed.

    Attributes
    ----------
    decimal : {".", ","} or None
        The decimal mark of its numbers.
    encoding : str or None
        Such as ``"cp1252"``.
    separator : str or None
        The character between fields; ``"tab"`` stands for one.

    Raises
    ------
    DataError
        One of them cannot be.
    """

    decimal: str | None = None
    encoding: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.decimal is not None and self.decimal not in OTHER:
            raise DataError(f"decimal={self.decimal!r} must be '.' or ','.")
        if self.encoding is not None:
            object.__setattr__(self, "encoding", known_encoding(self.encoding))
        if self.separator in _TAB:
            object.__setattr__(self, "separator", "\t")
        elif self.separator is not None and not _separates(self.separator):
            raise DataError(
                f"separator={self.separator[:40]!r} must be one character, no letter, digit,"
                " quote or line's end."
            )


def _separates(text: str) -> bool:
    return len(text) == 1 and not text.isalnum() and text not in '"\r\n\0.'


@dataclass(frozen=True)
class Layout:
    """How a text table is written.

    Attributes
    ----------
    separator : str or None
        Between fields; None stands for runs of white space.
    names : tuple of str
        One per column; ``x0``, ``x1``, ... without a header.
    header_lines : int
        Lines before the data.
    encoding : str or None
        As it was given.
    commas, points : int or None
        A column whose numbers in the first lines have decimal commas, or points.
    """

    separator: str | None
    names: tuple[str, ...]
    header_lines: int
    encoding: str | None = None
    commas: int | None = None
    points: int | None = None


def rows(
    text: str, separator: str | None, line: int, path: Path, *, cut: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank.

    Parameters
    ----------
    text : str
        Whole lines.
    separator : str or None
        As in :class:`Layout`.
    line : int
        Number of the first line, counted from 1.
    path : Path
        Named in errors.
    cut : bool
        The text may end within quotes, for more of it follows.

    Raises
    ------
    DataError
        A line that the csv format does not allow, a quote that is never closed.
    """
    if separator is None:
        for number, row in enumerate(text.split("\n"), line):
            if fields := row.split():
                yield number, fields
        return
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator)
    start = 0
    try:
        for fields in reader:
            if not cut and lines.tell() == len(text):
                first = line + text.count("\n", 0, start)
                _check_closed(text[start:], separator, first, path)
            start = lines.tell()
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield line + reader.line_num - 1, fields
    except csv.Error as error:
        number = line + reader.line_num - 1
        raise DataError(f"{path}, line {number}: not a line of a table ({error}).") from None


def _check_closed(record: str, separator: str, line: int, path: Path) -> None:
    """Raise DataError when a record ends within quotes: it would swallow one more line."""
    *_, last = csv.reader(io.StringIO(f"{record}\nx", newline=""), delimiter=separator)
    if last != ["x"]:
        opened = next((m.start() for m in _QUOTED.finditer(record) if not m[2]), 0)
        number = line + record.count("\n", 0, opened)
        raise DataError(f"{path}, line {number}: a quote begins here and is never closed: mend it.")


def _guess_separator(lines: list[str], first: int, path: Path, decimal: str | None) -> str | None:
    for separator in _SEPARATORS:
        counts = {len(row) for _, row in rows("\n".join(lines), separator, first, path, cut=True)}
        if len(counts) == 1 and counts != {1}:
            return separator
    likely = [separator for separator in _SEPARATORS if separator != decimal]
    found = max(likely, key=lines[0].count)
    if found in lines[0]:
        return found
    return None if len(lines[0].split()) > 1 else likely[-1]


def _unit(field: str) -> str | None:
    """The sign of a number in either notation, "" for none; None if it is no number."""
    return next((found.unit for mark in OTHER if (found := read_number(field, mark))), None)


def _is_header(first: list[str], below: list[list[str]]) -> bool:
    """Whether a name stands over a number, or nothing in the first row is a number.

    ``50 %`` is a name, too, unless there are such below.
    """
    units = [{_unit(row[j]) for row in below if j < len(row)} - {None} for j in range(len(first))]
    names = [
        not is_missing(field) and (unit is None or (unit != "" and unit not in under))
        for field, unit, under in zip(first, map(_unit, first), units, strict=True)
    ]
    return all(names) or any(name and under for name, under in zip(names, units, strict=True))


def _notation(below: list[list[str]], width: int) -> dict[str, int]:
    """By decimal mark: a column whose fields are all numbers with this one and not the other."""
    found: dict[str, int] = {}
    for j in range(width):
        texts = {row[j] for row in below if j < len(row) and not is_missing(row[j])}
        fits = [m for m in OTHER if texts and all(read_number(text, m) for text in texts)]
        if len(fits) == 1:
            found.setdefault(fits[0], j)
    return found


def _clean(names: list[str], path: Path) -> tuple[str, ...]:
    clean = [name.strip() or f"column{j}" for j, name in enumerate(names)]
    seen: dict[str, int] = {}
    for j, name in enumerate(clean):
        if name in seen:
            raise DataError(
                f"{path}: columns {seen[name]} and {j} are both called {name!r}: rename one."
            )
        seen[name] = j
    return tuple(clean)


def guess_layout(path: Path, header: bool | None = None, dialect: Dialect | None = None) -> Layout:
    """Look at the first lines of a text table.

    Leading lines that begin with ``#`` are comments; the last of them gives the names if there
    is no other header and it has as many fields as the data. A line ``sep=;`` above all is taken
    at its word.

    Parameters
    ----------
    path : Path
        The file, gzip or not.
    header : bool, optional
        Whether the first line holds names. Guessed if None: it does when a name stands over a
        number, or when nothing in it is a number.
    dialect : Dialect, optional
        What need not be guessed.

    Raises
    ------
    DataError
        No lines, two columns of one name, bytes that the encoding does not have.
    """
    dialect = dialect or Dialect()
    with open_text(path, dialect.encoding) as stream:
        lines = _whole_lines(stream.read(_HEAD)).split("\n")
    filled = [n for n, line in enumerate(lines) if line.strip()]
    said = _SEPARATOR_LINE.fullmatch(lines[filled[0]]) if filled else None
    filled = filled[said is not None :]
    comments = list(takewhile(lambda n: lines[n].startswith("#"), filled))
    filled = filled[len(comments) :][:_SAMPLE_LINES]
    if not filled:
        raise DataError(f"{path} holds no rows.")
    sample = [lines[n] for n in filled]
    separator = dialect.separator or (said[1] if said and _separates(said[1]) else None)
    if separator is None:
        separator = _guess_separator(sample, filled[0] + 1, path, dialect.decimal)
    first, *below = (
        fields for _, fields in rows("\n".join(sample), separator, filled[0] + 1, path, cut=True)
    )
    title = lines[comments[-1]].lstrip("# ") if comments and header is None else ""
    titles = [fields for _, fields in rows(title, separator, 1, path)]
    skipped = filled[0]
    if header or (header is None and _is_header(first, below)):
        names, skipped = _clean(first, path), skipped + 1
    else:
        below = [first, *below]
        titled = titles and len(titles[0]) == len(first)
        names = _clean(titles[0], path) if titled else tuple(f"x{j}" for j in range(len(first)))
    marks = _notation(below, len(first))
    return Layout(separator, names, skipped, dialect.encoding, marks.get(","), marks.get("."))


def _whole_lines(head: str) -> str:
    cut = head.rfind("\n") + 1
    return head[:cut] if cut and len(head) == _HEAD else head

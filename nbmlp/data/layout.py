"""How a text table is written: its delimiter, its header, and its rows as lists of fields."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from nbmlp.data.files import open_binary
from nbmlp.data.table import is_missing
from nbmlp.errors import DataError

__all__ = ["Layout", "decode", "guess_layout", "rows"]

_HEAD_BYTES = 1 << 20
_SAMPLE_LINES = 20
#: In order of trust: a comma may be a decimal mark.
_DELIMITERS = ("\t", ";", ",")
#: From a quote to the one that closes it, or to the end.
_QUOTED = re.compile(r'"((?:[^"]|"")*)("|\Z)')


@dataclass(frozen=True)
class Layout:
    """How a text table is written.

    Attributes
    ----------
    delimiter : str or None
        Between fields; None stands for runs of white space.
    names : tuple of str
        One per column; ``x0``, ``x1``, ... without a header.
    header_lines : int
        Lines before the data.
    """

    delimiter: str | None
    names: tuple[str, ...]
    header_lines: int


def decode(raw: bytes, path: Path) -> str:
    """Text of a block of whole lines; raises DataError unless it is UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: save it in that encoding.") from None


def rows(
    text: str, delimiter: str | None, line: int, path: Path, *, cut: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank.

    Parameters
    ----------
    text : str
        Whole lines.
    delimiter : str or None
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
    if delimiter is None:
        for number, row in enumerate(text.splitlines(), line):
            if fields := row.split():
                yield number, fields
        return
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    start = 0
    try:
        for fields in reader:
            if not cut and lines.tell() == len(text):
                first = line + text.count("\n", 0, start)
                _check_closed(text[start:], delimiter, first, path)
            start = lines.tell()
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield line + reader.line_num - 1, fields
    except csv.Error as error:
        number = line + reader.line_num - 1
        raise DataError(f"{path}, line {number}: not a line of a table ({error}).") from None


def _check_closed(record: str, delimiter: str, line: int, path: Path) -> None:
    """Raise DataError when a record ends within quotes: it would swallow one more line."""
    *_, last = csv.reader(io.StringIO(f"{record}\nx", newline=""), delimiter=delimiter)
    if last != ["x"]:
        opened = next((m.start() for m in _QUOTED.finditer(record) if not m[2]), 0)
        number = line + record.count("\n", 0, opened)
        raise DataError(f"{path}, line {number}: a quote begins here and is never closed: mend it.")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _guess_delimiter(lines: list[str], first: int, path: Path) -> str | None:
    for delimiter in _DELIMITERS:
        counts = {len(row) for _, row in rows("\n".join(lines), delimiter, first, path, cut=True)}
        if len(counts) == 1 and counts != {1}:
            return delimiter
    found = max(_DELIMITERS, key=lines[0].count)
    if found in lines[0]:
        return found
    return None if len(lines[0].split()) > 1 else ","


def _is_header(first: list[str], below: list[list[str]]) -> bool:
    """Whether a name stands over a number, or nothing in the first row is a number."""
    names = [not _is_number(field) and not is_missing(field) for field in first]
    over_number = any(
        name and _is_number(value) for row in below for name, value in zip(names, row, strict=False)
    )
    return over_number or all(names)


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


def guess_layout(path: Path, header: bool | None = None, delimiter: str | None = None) -> Layout:
    """Look at the first lines of a text table.

    Leading lines that begin with ``#`` are comments; the last of them gives the names if there
    is no other header and it has as many fields as the data.

    Parameters
    ----------
    path : Path
        The file, gzip or not.
    header : bool, optional
        Whether the first line holds names. Guessed if None: it does when a name stands over a
        number, or when nothing in it is a number.
    delimiter : str, optional
        Guessed if None.

    Raises
    ------
    DataError
        No lines, two columns of one name, or a delimiter that is not one character.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"delimiter {delimiter!r} is not one character.")
    with open_binary(path) as stream:
        lines = decode(_whole_lines(stream.read(_HEAD_BYTES)), path).splitlines()
    filled = [n for n, line in enumerate(lines) if line.strip()]
    comments = list(takewhile(lambda n: lines[n].startswith("#"), filled))
    filled = filled[len(comments) :][:_SAMPLE_LINES]
    if not filled:
        raise DataError(f"{path} holds no rows.")
    sample = [lines[n] for n in filled]
    if delimiter is None:
        delimiter = _guess_delimiter(sample, filled[0] + 1, path)
    first, *below = (fields for _, fields in rows("\n".join(sample), delimiter, 1, path, cut=True))
    if header or (header is None and _is_header(first, below)):
        return Layout(delimiter, _clean(first, path), filled[0] + 1)
    title = lines[comments[-1]].lstrip("# ") if comments and header is None else ""
    titles = [fields for _, fields in rows(title, delimiter, 1, path)]
    if titles and len(titles[0]) == len(first):
        return Layout(delimiter, _clean(titles[0], path), filled[0])
    return Layout(delimiter, tuple(f"x{j}" for j in range(len(first))), filled[0])


def _whole_lines(head: bytes) -> bytes:
    cut = head.rfind(b"\n") + 1
    return head[:cut] if cut and len(head) == _HEAD_BYTES else head

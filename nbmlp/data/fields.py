"""Lines of a text table to columns of fields, and fields to numbers or text.

Lines whose separators NumPy has counted are cut by polars, or by `str.split`; whatever is unusual
goes through Python's `csv`, which names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.layout import Layout, rows
from nbmlp.data.numerals import OTHER, Numeral, is_name, read_number
from nbmlp.data.quick import Packed, counted, cut
from nbmlp.data.table import MISSING_MARKS, is_missing
from nbmlp.errors import DataError

__all__ = ["Fields", "Notes", "parse_fields", "parse_matrix", "parse_numbers", "parse_text"]

#: Between fields where they are joined; no text holds it.
_NUL = "\0"
_MISSING = Numeral(np.nan, "", "")
#: A number that begins with zeros: none where commas are decimal marks.
_ZEROS = re.compile(r"(?<![\deE.,+-])[-+]?0\d")


#: A column of a block.
Fields = Sequence[str] | Packed


@dataclass
class Notes:
    """How the numbers of one column are written, over all blocks of a file.

    Attributes
    ----------
    units : dict of str to int
        Percent and currency signs, "" for none, and the first record with each.
    ambiguous : int or None
        First record whose number would be another one with the other decimal mark.
    dotted : bool
        Some hold a full stop.
    names : bool
        All are digits in groups, as phone numbers are.
    """

    units: dict[str, int] = field(default_factory=dict)
    ambiguous: int | None = None
    dotted: bool = False
    names: bool = True

    def take_plain(self, values: NDArray[np.float64], record: int, dotted: bool) -> None:
        """Take note of numbers without any sign, from `record` on; NaN where missing."""
        self.dotted = self.dotted or dotted
        if "" not in self.units or self.names:
            present = ~np.isnan(values)
            if present.any():
                self.units.setdefault("", record + int(present.argmax()))
                self.names = False


def _cut(text: str, separator: str | None, width: int, large: bool) -> Sequence[Fields] | None:
    """Columns of lines that leave no doubt; None of any others."""
    raw = counted(text, separator, width, csv.field_size_limit())
    if raw is None or separator is None:
        return None
    if large and (columns := cut(raw, separator, width)):
        return columns
    if '"' in text:
        return None
    fields = raw.decode().replace("\n", separator).split(separator)
    return [fields[j:-1:width] for j in range(width)]


def _read_quoted(text: str, separator: str | None, width: int) -> list[tuple[str, ...]] | None:
    """Columns by `csv`; None when a line has another number of fields, or anything is wrong."""
    if separator is None or width == 1:
        return None
    # A record of its own at the end shows that no quote is open there.
    lines = io.StringIO(f"{text}\nx", newline="")
    try:
        records = list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return None
    if records.pop() != ["x"]:
        return None
    records = [record for record in records if record]
    if {*map(len, records)} != {width}:
        return None
    return list(zip(*records, strict=True))


def parse_fields(
    text: str, layout: Layout, line: int, path: Path, large: bool = False
) -> Sequence[Fields]:
    """Columns of a block of whole lines.

    Parameters
    ----------
    text : str
    layout : Layout
    line : int
        Number of its first line, counted from 1.
    path : Path
        Named in errors.
    large : bool
        The table is large enough for importing polars, if there is one.

    Raises
    ------
    DataError
        A ragged line, or one that is none of a table; with its number.
    """
    width = len(layout.names)
    separator = layout.separator
    quick = _cut(text, separator, width, large) or _read_quoted(text, separator, width)
    if quick is not None:
        return quick
    fields: list[list[str]] = []
    for number, row in rows(text, layout.separator, line, path):
        if len(row) != width:
            raise DataError(
                f"{path}, line {number}: {len(row)} fields where {width} are expected: mend or"
                f" remove that line, or give another separator than {layout.separator or ' '!r}"
                " (--separator)."
            )
        fields.append(row)
    return list(zip(*fields, strict=True))


def parse_matrix(text: str, layout: Layout, decimal: str) -> NDArray[np.float64] | None:
    """A block of plain numbers, or None when there is anything else in it."""
    if text.count('"') % 2:  # NumPy would read past a quote that is never closed
        return None
    if decimal == "," and "," in text:
        if layout.separator == "," or "." in text or _ZEROS.search(text):
            return None
        text = text.replace(",", ".")
    elif decimal == "," and "." in text:
        return None
    try:
        block = np.loadtxt(
            io.StringIO(text), delimiter=layout.separator, comments=None, quotechar='"', ndmin=2
        )
    except ValueError:
        return None
    return block if block.shape[1] == len(layout.names) else None


def _floats(fields: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.fromiter(map(float, fields), dtype=np.float64, count=len(fields))
    except ValueError:
        pass
    present = (np.nan if text in MISSING_MARKS else float(text) for text in fields)
    try:
        return np.fromiter(present, dtype=np.float64, count=len(fields))
    except ValueError:
        return None


def _plain(fields: Sequence[str], joined: str, decimal: str) -> NDArray[np.float64] | None:
    """Numbers without thousands and signs, NaN where missing; None if there is anything else."""
    if "_" in joined:  # Python reads "1_0" as ten; in a file it is a name
        return None
    if decimal == "." or not ("." in joined or "," in joined):
        return _floats(fields)
    if "." in joined or _ZEROS.search(joined):
        return None
    return _floats(joined.replace(",", ".").split(_NUL))


def parse_numbers(
    fields: Fields, decimal: str, notes: Notes, record: int
) -> NDArray[np.float64] | None:
    """Numbers with NaN where missing, or None if any field is neither.

    Parameters
    ----------
    fields : sequence of str or Packed
    decimal : {".", ","}
        Their decimal mark.
    notes : Notes
        Of the column; brought up to date.
    record : int
        Number of the first field.
    """
    if isinstance(fields, Packed):
        if (values := fields.floats(decimal)) is not None:
            notes.take_plain(values, record, notes.dotted or fields.has_point())
            return values
        fields = fields.unpack()
    joined = _NUL.join(fields)
    if (values := _plain(fields, joined, decimal)) is not None:
        notes.take_plain(values, record, "." in joined)
        return values
    found: dict[str, Numeral] = {}
    for text in fields:
        if text not in found:
            number = _MISSING if is_missing(text) else read_number(text, decimal)
            if number is None:
                return None
            found[text] = number
    notes.dotted = notes.dotted or "." in joined
    _take_note(found, fields, decimal, notes, record)
    return np.array([found[text].value for text in fields], dtype=np.float64)


def _take_note(
    found: dict[str, Numeral], fields: Sequence[str], decimal: str, notes: Notes, record: int
) -> None:
    """Note the first record of each kind; `found` is in the order of `fields`."""
    for text, number in found.items():
        if number is _MISSING:
            continue
        if number.unit not in notes.units:
            notes.units[number.unit] = record + fields.index(text)
        notes.names = notes.names and is_name(text)
        if notes.ambiguous is None and number.grouped == OTHER[decimal]:
            other = read_number(text, OTHER[decimal])
            if other is not None and other.value != number.value:
                notes.ambiguous = record + fields.index(text)


def parse_text(fields: Fields) -> NDArray[Any]:
    """Text with None where missing; equal texts are stored once."""
    fields = fields.unpack() if isinstance(fields, Packed) else fields
    shared: dict[str, str | None] = {f: None if is_missing(f) else f.strip() for f in set(fields)}
    return np.array([shared[f] for f in fields], dtype=object)

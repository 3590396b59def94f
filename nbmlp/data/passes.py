"""One pass over a text table: blocks of lines in, columns of numbers and of text out.

Memory stays near the result's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import Choice
from nbmlp.data.decoding import open_text
from nbmlp.data.fields import Fields, Notes, parse_fields, parse_matrix, parse_numbers, parse_text
from nbmlp.data.layout import Layout, rows
from nbmlp.errors import DataError

__all__ = ["Columns", "Source", "TextFoundError", "fits_bytes"]

_BLOCK = 1 << 19
#: Longest record; beyond it a quote was opened and never closed.
_RECORD = 1 << 24
#: After so many blocks it pays to import polars.
_LARGE = 4


def fits_bytes(values: NDArray[Any]) -> bool:
    """Whether all are whole numbers of 0 to 255, so that uint8 holds them exactly."""
    with np.errstate(invalid="ignore"):
        return bool((values.astype(np.uint8) == values).all())


class TextFoundError(Exception):
    """Columns that had been read as numbers hold text further down."""

    def __init__(self, columns: set[int]) -> None:
        super().__init__()
        self.columns = columns


class _Growing:
    """Rows of numbers, appended block by block: uint8 as long as all fit, else float64."""

    def __init__(self, width: int) -> None:
        self._array: NDArray[Any] = np.empty((0, width), dtype=np.uint8)
        self._length = 0

    def append(self, block: NDArray[np.float64]) -> None:
        if self._array.dtype == np.uint8 and not fits_bytes(block):
            self._array = self._array.astype(np.float64)
        end = self._length + len(block)
        if end > len(self._array):
            self._resize(end + end // 4)
        self._array[self._length : end] = block
        self._length = end

    def _resize(self, length: int) -> None:
        # In place: realloc moves pages instead of copying them, which keeps the peak low.
        self._array.resize((length, self._array.shape[1]), refcheck=False)

    def finish(self) -> NDArray[Any]:
        self._resize(self._length)
        return self._array


class Columns:
    """What one pass collects.

    Parameters
    ----------
    choice : Choice
    text : set of int
        Columns that are text.
    decimal : {".", ","}
        The decimal mark of all others.

    Attributes
    ----------
    features, targets : list of int
        Columns of numbers among the inputs and the targets.
    text : dict of int to list of ndarray
        Columns of text, in pieces.
    notes : dict of int to Notes
        How the numbers of each column are written.
    length : int
        Records so far.
    """

    def __init__(self, choice: Choice, text: set[int], decimal: str) -> None:
        self.features = [j for j in choice.features if j not in text]
        self.targets = [j for j in choice.targets if j not in text]
        self.decimal = decimal
        self.text: dict[int, list[NDArray[Any]]] = {j: [] for j in sorted(text)}
        self.notes = {j: Notes() for j in (*self.features, *self.targets)}
        self.length = 0
        self._X, self._Y = _Growing(len(self.features)), _Growing(len(self.targets))

    def append_matrix(self, block: NDArray[np.float64], dotted: bool) -> None:
        """Add rows of plain numbers; `dotted` if some were written with a full stop."""
        self._X.append(block[:, self.features])
        self._Y.append(block[:, self.targets])
        for j, notes in self.notes.items():
            notes.take_plain(block[:, j], self.length, dotted)
        self.length += len(block)

    def append_fields(self, fields: Sequence[Fields]) -> set[int]:
        """Add columns of fields, unless some that should be numbers are text: they are returned."""
        numbers = {
            j: parse_numbers(fields[j], self.decimal, notes, self.length)
            for j, notes in self.notes.items()
        }
        if found := {j for j, values in numbers.items() if values is None}:
            return found
        length = len(fields[0])
        for store, wanted in ((self._X, self.features), (self._Y, self.targets)):
            block = np.empty((length, len(wanted)))
            for k, j in enumerate(wanted):
                block[:, k] = numbers[j]
            store.append(block)
        for j, pieces in self.text.items():
            pieces.append(parse_text(fields[j]))
        self.length += length
        return set()

    def finish(self) -> tuple[NDArray[Any], NDArray[Any], dict[int, NDArray[Any]]]:
        """Numeric inputs, numeric targets, and text by column."""
        text = {j: np.concatenate(pieces) for j, pieces in self.text.items()}
        return self._X.finish(), self._Y.finish(), text


@dataclass(frozen=True)
class Source:
    """A text table, and what is wanted of it.

    Attributes
    ----------
    path : Path
    layout : Layout
    choice : Choice
    """

    path: Path
    layout: Layout
    choice: Choice

    def read(self, decimal: str, text: set[int], *, firm: bool = False) -> Columns:
        """All columns, those of `text` and whatever turns out to be none of numbers as text.

        Parameters
        ----------
        decimal : {".", ","}
        text : set of int
        firm : bool
            No further column may be text.

        Raises
        ------
        TextFoundError
            When it is `firm` and there is one.
        """
        while True:
            try:
                return self._read_once(decimal, text, firm)
            except TextFoundError as found:
                if firm:
                    raise
                text = text | found.columns

    def _read_once(self, decimal: str, text: set[int], firm: bool) -> Columns:
        columns = Columns(self.choice, text, decimal)
        with open_text(self.path, self.layout.encoding) as stream:
            for number, (line, block) in enumerate(self._blocks(stream)):
                if not block.strip():
                    continue
                matrix = None if text else parse_matrix(block, self.layout, decimal)
                if matrix is not None:
                    columns.append_matrix(matrix, "." in block)
                    continue
                large = number >= _LARGE
                fields = parse_fields(block, self.layout, line, self.path, large)
                found = columns.append_fields(fields)
                if found and (firm or columns.length):
                    raise TextFoundError(found)
                if found:
                    text = text | found
                    columns = Columns(self.choice, text, decimal)
                    columns.append_fields(fields)
        if not columns.length:
            raise DataError(f"{self.path} has a header but no rows.")
        return columns

    def _blocks(self, stream: TextIO) -> Iterator[tuple[int, str]]:
        """Whole lines, about `_BLOCK` characters at a time, never cut within quotes.

        With the number of the first one.
        """
        for _ in range(self.layout.header_lines):
            stream.readline()
        line, rest = self.layout.header_lines + 1, ""
        while chunk := stream.read(_BLOCK):
            rest += chunk
            cut = rest.rfind("\n") + 1
            if cut and rest.count('"', 0, cut) % 2 == 0:
                yield line, self._checked(rest[:cut], line)
                line += rest.count("\n", 0, cut)
                rest = rest[cut:]
            if len(rest) > _RECORD:
                raise DataError(
                    f"{self.path} has a line of more than {_RECORD >> 20} MB, or a quote that is"
                    " never closed: mend it."
                )
        if rest:
            yield line, self._checked(rest, line)

    def _checked(self, block: str, line: int) -> str:
        if (place := block.find("\0")) >= 0:
            line += block.count("\n", 0, place)
            raise DataError(f"{self.path}, line {line}: a zero byte, which is no text: mend it.")
        return block

    def locate(self, record: int, column: int) -> tuple[int, str]:
        """Line and text of a field, for a sentence about it; reads up to there once more."""
        with open_text(self.path, self.layout.encoding) as stream:
            for line, block in self._blocks(stream):
                for number, row in rows(block, self.layout.separator, line, self.path):
                    if record == 0:
                        return number, row[column].strip()
                    record -= 1
        raise DataError(f"{self.path} has changed while it was read: try again.")

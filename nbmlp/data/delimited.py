"""Text tables (.csv, .tsv, space-separated; gzip or not), read block by block.

Plain numbers go through NumPy's parser, at some 20 ns each; only a block that it refuses (text,
missing values, a ragged line) is taken apart field by field. Memory stays near the result's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import Choice, ColumnRef, Dataset, choose
from nbmlp.data.files import open_binary
from nbmlp.data.layout import Layout, decode, guess_layout, rows
from nbmlp.data.table import Table, is_missing
from nbmlp.errors import DataError

__all__ = ["fits_bytes", "read_delimited", "whole_numbers"]

_BLOCK_BYTES = 1 << 19
#: Longest record; beyond it a quote was opened and never closed.
_RECORD_BYTES = 1 << 24


def fits_bytes(values: NDArray[Any]) -> bool:
    """Whether all are whole numbers of 0 to 255, so that uint8 holds them exactly."""
    with np.errstate(invalid="ignore"):
        return bool((values.astype(np.uint8) == values).all())


def whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """As int64 if every value is a whole number that int64 holds, else unchanged."""
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    return integers if (integers == values).all() else values


class _TextFound(Exception):
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


class _Sink:
    """Collects numeric inputs, numeric targets and text columns."""

    def __init__(self, choice: Choice, text: set[int]) -> None:
        self.features = [j for j in choice.features if j not in text]
        self.targets = [j for j in choice.targets if j not in text]
        self._X, self._Y = _Growing(len(self.features)), _Growing(len(self.targets))
        self._text: dict[int, list[NDArray[Any]]] = {j: [] for j in text}

    def append_matrix(self, block: NDArray[np.float64]) -> None:
        self._X.append(block[:, self.features])
        self._Y.append(block[:, self.targets])

    def append_columns(self, columns: dict[int, NDArray[Any]], length: int) -> None:
        for store, wanted in ((self._X, self.features), (self._Y, self.targets)):
            block = np.empty((length, len(wanted)))
            for k, j in enumerate(wanted):
                block[:, k] = columns[j]
            store.append(block)
        for j, chunks in self._text.items():
            chunks.append(columns[j])

    def finish(self) -> tuple[NDArray[Any], NDArray[Any], dict[int, NDArray[Any]]]:
        text = {j: np.concatenate(chunks) for j, chunks in self._text.items()}
        return self._X.finish(), self._Y.finish(), text


def _blocks(stream: IO[bytes], path: Path) -> Iterator[str]:
    """Whole lines, about `_BLOCK_BYTES` at a time, never cut within quotes."""
    rest = b""
    while chunk := stream.read(_BLOCK_BYTES):
        rest += chunk
        cut = rest.rfind(b"\n") + 1
        if cut and rest.count(b'"', 0, cut) % 2 == 0:
            yield decode(rest[:cut], path)
            rest = rest[cut:]
        if len(rest) > _RECORD_BYTES:
            raise DataError(
                f"{path} has a line of more than {_RECORD_BYTES >> 20} MB, or a quote that is never"
                " closed: mend it."
            )
    if rest:
        yield decode(rest, path)


def _parse_matrix(text: str, layout: Layout) -> NDArray[np.float64] | None:
    """A block of plain numbers, or None when there is anything else in it."""
    if text.count('"') % 2:  # NumPy would read past a quote that is never closed
        return None
    try:
        block = np.loadtxt(
            io.StringIO(text), delimiter=layout.delimiter, comments=None, quotechar='"', ndmin=2
        )
    except ValueError:
        return None
    return block if block.shape[1] == len(layout.names) else None


def _parse_fields(text: str, layout: Layout, line: int, path: Path) -> list[tuple[str, ...]]:
    """Columns of a block as text; raises DataError with the number of a ragged line."""
    width = len(layout.names)
    fields: list[list[str]] = []
    for number, row in rows(text, layout.delimiter, line, path):
        if len(row) != width:
            raise DataError(
                f"{path}, line {number}: {len(row)} fields where {width} are expected: mend or"
                " remove that line."
            )
        fields.append(row)
    return list(zip(*fields, strict=True))


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        if is_missing(field):
            return np.nan
        raise


def _parse_numbers(fields: Sequence[str]) -> NDArray[np.float64] | None:
    """Numbers with NaN where missing, or None if any other field is not a number."""
    if "_" in "".join(fields):  # Python reads "1_0" as ten; in a file it is a name
        return None
    try:
        return np.array([_number(field) for field in fields], dtype=np.float64)
    except ValueError:
        return None


def _parse_text(fields: Sequence[str]) -> NDArray[Any]:
    """Text with None where missing; equal texts are stored once."""
    shared: dict[str, str | None] = {f: None if is_missing(f) else f.strip() for f in set(fields)}
    return np.array([shared[f] for f in fields], dtype=object)


def _parse_columns(
    fields: list[tuple[str, ...]], wanted: set[int], text: set[int]
) -> dict[int, NDArray[Any]]:
    parsed = {j: None if j in text else _parse_numbers(fields[j]) for j in wanted}
    return {j: _parse_text(fields[j]) if v is None else v for j, v in parsed.items()}


def _read_once(path: Path, layout: Layout, choice: Choice, text: set[int]) -> _Sink:
    """One pass that takes the columns of `text` for text, beside those that the first block shows.

    Raises
    ------
    _TextFound
        When a later block shows more of them.
    """
    wanted = {*choice.features, *choice.targets}
    sink: _Sink | None = None
    line = layout.header_lines + 1
    with open_binary(path) as stream:
        for _ in range(layout.header_lines):
            stream.readline()
        for block in _blocks(stream, path):
            first, line = line, line + block.count("\n")
            if not block.strip():
                continue
            matrix = None if text else _parse_matrix(block, layout)
            if matrix is not None:
                sink = sink or _Sink(choice, text)
                sink.append_matrix(matrix)
                continue
            fields = _parse_fields(block, layout, first, path)
            columns = _parse_columns(fields, wanted, text)
            found = {j for j, column in columns.items() if column.dtype == object}
            if sink is None:
                text = text | found
                sink = _Sink(choice, text)
            if not found <= text:
                raise _TextFound(found)
            sink.append_columns(columns, len(fields[0]))
    if sink is None:
        raise DataError(f"{path} has a header but no rows.")
    return sink


def _read_all(path: Path, layout: Layout, choice: Choice) -> _Sink:
    text: set[int] = set()
    while True:
        try:
            return _read_once(path, layout, choice, text)
        except _TextFound as found:
            text = text | found.columns


def read_delimited(
    path: Path,
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    require_target: bool = True,
) -> Dataset:
    """Read a text table.

    Inputs that are all numbers become a matrix: uint8 if all are whole numbers of 0 to 255, else
    float64 with NaN where missing. If any is text they become a Table. A target of whole numbers
    becomes int64, other numbers float64, text an object array.

    Parameters
    ----------
    path : Path
        The file, gzip or not.
    target, columns, require_target
        See :func:`nbmlp.data.dataset.choose`.
    header, delimiter
        See :func:`nbmlp.data.layout.guess_layout`.

    Raises
    ------
    DataError
        No rows, a ragged line (its number is given), two columns of one name, a column that
        does not exist, text that is not UTF-8.
    """
    layout = guess_layout(path, header, delimiter)
    choice = choose(layout.names, target, columns, str(path), require_target)
    X, Y, text = (sink := _read_all(path, layout, choice)).finish()
    if any(j in text for j in choice.features):
        numeric = {j: np.ascontiguousarray(X[:, k]) for k, j in enumerate(sink.features)}
        cells = numeric | text
        inputs: NDArray[Any] | Table = Table({layout.names[j]: cells[j] for j in choice.features})
    else:
        inputs = X
    return Dataset(
        X=inputs,
        y=_target(choice, Y, text, path),
        feature_names=tuple(layout.names[j] for j in choice.features),
        target_names=tuple(layout.names[j] for j in choice.targets),
        source=str(path),
    )


def _target(
    choice: Choice, Y: NDArray[Any], text: dict[int, NDArray[Any]], path: Path
) -> NDArray[Any] | None:
    if not choice.targets:
        return None
    if len(choice.targets) == 1:
        only = choice.targets[0]
        return text[only] if only in text else whole_numbers(Y[:, 0])
    if any(j in text for j in choice.targets):
        raise DataError(f"{path}: several targets have to be numbers, and one of these is text.")
    return Y.astype(np.float64)

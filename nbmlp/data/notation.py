"""Which decimal mark a text table has: all of its numbers decide, and who reads is told if not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from nbmlp.data.fields import Notes
from nbmlp.data.numerals import OTHER, is_name, read_number
from nbmlp.data.passes import Columns, Source, TextFoundError
from nbmlp.errors import DataError

__all__ = ["read_columns"]

#: Cells of a column of text that tell it from one of numbers with mistakes in it: there more than
#: half are numbers, and more than a tenth have a comma or a sign.
_LOOK, _NUMBERS, _MARKED = 1000, 0.5, 0.1
_SAY = "decimal=',' or decimal='.' (--decimal)"


def read_columns(source: Source, decimal: str | None, text: set[int]) -> Columns:
    """Read all columns, numbers as the file writes them.

    Parameters
    ----------
    source : Source
    decimal : {".", ","} or None
        None: columns that are numbers with one mark only decide for all, and a column of text is
        refused when it looks like numbers with mistakes.
    text : set of int
        Columns that are text in any case.

    Raises
    ------
    DataError
        Nothing decides where something must, columns contradict each other, or percent and
        currency signs are mixed within a column.
    """
    columns = source.read(decimal, text) if decimal else _decided(source, text)
    names = {j for j, notes in columns.notes.items() if notes.units and notes.names}
    if names:
        columns = source.read(columns.decimal, names.union(columns.text))
    for j, notes in columns.notes.items():
        _check_units(source, j, notes)
    if decimal is None:
        for j in columns.text.keys() - text - names:
            _check_text(source, j, columns)
    return columns


def _decided(source: Source, text: set[int]) -> Columns:
    """What the mark gives that fits all columns of numbers."""
    layout = source.layout
    guess = "," if layout.points is None and layout.commas is not None else "."
    columns = source.read(guess, text)
    if guess == "," and layout.commas in columns.text:  # no numbers, further down
        columns = source.read(".", text)
    foreign = [j for j in columns.text if j not in text and _is_foreign(columns, j)]
    if foreign:
        other = source.read(OTHER[columns.decimal], text)
        if lost := other.text.keys() - columns.text.keys():
            raise _contradiction(source, (columns, foreign[0]), (other, min(lost)))
        return other
    if columns.decimal == ".":
        _check_decided(source, columns)
    return columns


def _is_foreign(columns: Columns, column: int) -> bool:
    """Whether a column of text is all numbers with the other decimal mark."""
    other, names = OTHER[columns.decimal], True
    for cell in {cell for _, cell in _cells(columns, column)}:
        if read_number(cell, other) is None:
            return False
        names = names and is_name(cell)
    return not names


def _cells(columns: Columns, column: int) -> Iterator[tuple[int, str]]:
    """Record and text of the cells that are not missing."""
    record = 0
    for piece in columns.text[column]:
        for cell in piece:
            if cell is not None:
                yield record, cell
            record += 1


def _first_unread(columns: Columns, column: int, decimal: str) -> int:
    """Record of the first cell that is no number with that mark."""
    return next(r for r, cell in _cells(columns, column) if read_number(cell, decimal) is None)


def _contradiction(source: Source, *found: tuple[Columns, int]) -> DataError:
    said = []
    for columns, j in found:
        line, text = source.locate(_first_unread(columns, j, columns.decimal), j)
        said.append(f"column {source.layout.names[j]!r} has {text!r} (line {line})")
    return DataError(
        f"{source.path}: {' and '.join(said)}: say which is the decimal mark with {_SAY}; the other"
        " column is text then."
    )


def _check_decided(source: Source, columns: Columns) -> None:
    """Raise DataError when numbers would be others with a decimal comma, and none forbids it.

    Between commas, and in columns of white space, a full stop is a decimal mark; commas within
    quotes separate thousands then.
    """
    layout = source.layout
    if layout.separator == "," or (layout.points is not None and layout.points not in columns.text):
        return
    doubtful = _ambiguous(columns.notes)
    if doubtful is None and not (
        layout.separator == ";" and any(notes.dotted for notes in columns.notes.values())
    ):
        return
    try:
        other = source.read(",", set(columns.text), firm=True)
    except TextFoundError:
        return
    if doubtful := doubtful or _ambiguous(other.notes):
        record, j = doubtful
        line, text = source.locate(record, j)
        raise DataError(
            f"{source.path}, line {line}: column {layout.names[j]!r} has {text!r}, and nothing in"
            f" the file tells whether its mark is for decimals or thousands: say so with {_SAY}."
        )


def _ambiguous(notes: dict[int, Notes]) -> tuple[int, int] | None:
    """First record, and its column, that would be another number with the other mark."""
    places = ((n.ambiguous, j) for j, n in notes.items() if n.ambiguous is not None)
    return min(places, default=None)


def _check_units(source: Source, column: int, notes: Notes) -> None:
    """Raise DataError when percent or currency signs are mixed, or only some are percent."""
    signs = [unit for unit in notes.units if unit]
    mixed = signs if len(signs) > 1 else ["%", ""] if "%" in signs and "" in notes.units else []
    if mixed:
        places = (source.locate(notes.units[unit], column) for unit in mixed[:2])
        shown = " and ".join(f"{text!r} (line {line})" for line, text in places)
        raise DataError(
            f"{source.path}: column {source.layout.names[column]!r} has {shown}: bring all to one"
            " unit, or leave that column out."
        )


def _check_text(source: Source, column: int, columns: Columns) -> None:
    """Raise DataError when a column of text looks like numbers with mistakes among them."""
    cells = [cell for _, cell in islice(_cells(columns, column), _LOOK)]
    marked = [cell for cell in cells if _is_marked(cell)]
    numbers = sum(any(read_number(cell, mark) for mark in OTHER) for cell in cells)
    if numbers <= _NUMBERS * len(cells) or len(marked) <= _MARKED * len(cells):
        return
    decimal = min(OTHER, key=lambda mark: _unread(cells, mark))
    line, text = source.locate(_first_unread(columns, column, decimal), column)
    raise DataError(
        f"{source.path}, line {line}: column {source.layout.names[column]!r} has {text!r} among"
        f" numbers such as {marked[0]!r}: mend it or leave it empty, or give"
        f" decimal={columns.decimal!r} (--decimal) to take the column as text."
    )


def _unread(cells: Iterable[str], decimal: str) -> int:
    return sum(read_number(cell, decimal) is None for cell in cells)


def _is_marked(text: str) -> bool:
    """Whether it is a number, but none that Python knows, nor a phone number or an address."""
    try:
        return float(text) is None
    except ValueError:
        return any(read_number(text, mark) for mark in OTHER) and not is_name(text)

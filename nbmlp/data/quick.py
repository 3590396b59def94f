"""Blocks of plain lines cut by polars, where it is installed: several times as fast as Python.

polars mends what it does not understand, so it is only given what leaves no choice: lines whose
separators have been counted here, with quotes around whole fields or none, nothing missing or to
spare in the end. Of its numbers those are taken that Python reads as well; everything else about
fields is decided in one place, :mod:`nbmlp.data.fields`.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.table import MISSING_MARKS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Packed", "counted", "cut", "forgo_polars"]

_NEWLINE, _QUOTE, _ZERO, _NINE = b'\n"09'
#: Before a zero, they make it one within a number.
_WITHIN = np.frombuffer(b"0123456789.,", dtype=np.uint8)
_MARK = "\ufeff"
#: A number that begins with zeros, as in nbmlp.data.fields.
_ZEROS = r"^\s*[-+]?0\d"


#: Emptied where polars must not be imported.
_allowed = [True]


def forgo_polars() -> None:
    """Do without polars in this process: its threads reserve address space by the 100 MB."""
    _allowed.clear()


@cache
def _polars() -> ModuleType | None:
    if not _allowed:
        return None
    try:
        import polars
    except ImportError:
        return None
    return polars


def counted(text: str, separator: str | None, width: int, longest: int) -> bytes | None:
    """Lines that all have `width` fields, in UTF-8 and ending with a newline; None of any others.

    Quotes enclose whole fields and hold no further ones.

    Parameters
    ----------
    text : str
        Whole lines.
    separator : str or None
    width : int
    longest : int
        Bytes that a field may have.
    """
    if separator is None or not separator.isascii() or width == 1:
        return None
    if returns := "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            return None
    raw = (text if text.endswith("\n") else f"{text}\n").encode()
    bytes_ = np.frombuffer(raw, dtype=np.uint8)
    ends = np.flatnonzero((bytes_ == ord(separator)) | (bytes_ == _NEWLINE))
    if '"' in text:
        quotes = np.flatnonzero(bytes_ == _QUOTE)
        if not _enclose(quotes, ends):
            return None
        outside = np.searchsorted(quotes, ends) % 2 == 0
        if returns and (bytes_[ends[~outside]] == _NEWLINE).any():  # they belong to the field
            return None
        ends = ends[outside]
    if not len(ends) or len(ends) % width or np.diff(ends, prepend=-1).max() > longest:
        return None
    lines = bytes_[ends].reshape(-1, width) == _NEWLINE
    return None if lines[:, :-1].any() or not lines[:, -1].all() else raw


def _enclose(quotes: NDArray[np.intp], ends: NDArray[np.intp]) -> bool:
    """Whether quotes come in pairs, from the first to the last character of a field."""
    edges = np.concatenate(([-1], ends))
    opening, closing = quotes[::2] - 1, quotes[1::2] + 1
    if len(opening) != len(closing):
        return False
    return bool(
        (edges[np.searchsorted(edges, opening)] == opening).all()
        and (edges[np.minimum(np.searchsorted(edges, closing), len(edges) - 1)] == closing).all()
    )


class Packed:
    """A column of fields that polars holds.

    Parameters
    ----------
    series : polars.Series
        Of text, nothing missing.
    points, zeros : bool
        There may be full stops in it, and zeros at the beginning of numbers.
    """

    def __init__(self, series: pl.Series, points: bool = True, zeros: bool = True) -> None:
        self._series, self._points, self._zeros = series, points, zeros

    def __len__(self) -> int:
        return len(self._series)

    def unpack(self) -> list[str]:
        """The fields as they are."""
        fields: list[str] = self._series.to_list()
        return fields

    def floats(self, decimal: str) -> NDArray[np.float64] | None:
        """Plain numbers, NaN where missing; None if there is anything else."""
        import polars as pl

        texts = self._series
        if decimal == ",":
            if self.has_point() or (self._zeros and texts.str.contains(_ZEROS).any()):
                return None
            texts = texts.str.replace_all(",", ".", literal=True)
        values = texts.cast(pl.Float64, strict=False)
        if values.null_count():
            if not texts.filter(values.is_null()).is_in(MISSING_MARKS).all():
                return None
            values = values.fill_null(np.nan)
        return values.to_numpy()

    def has_point(self) -> bool:
        """Whether there is a full stop in any field."""
        return self._points and bool(self._series.str.contains(".", literal=True).any())


def _has_zeros(raw: bytes) -> bool:
    """Whether some zero may begin a number of several digits."""
    found = np.frombuffer(b"\n" + raw, dtype=np.uint8)
    zeros = np.flatnonzero(found[:-1] == _ZERO)
    zeros = zeros[(found[zeros + 1] >= _ZERO) & (found[zeros + 1] <= _NINE)]
    return not np.isin(found[zeros - 1], _WITHIN).all()


def cut(raw: bytes, separator: str, width: int) -> list[Packed] | None:
    """Columns of lines that :func:`counted` has let pass; None if polars cannot tell."""
    pl = _polars()
    if pl is None or raw.startswith(_MARK.encode()):
        return None
    quotes = raw.count(b'"')
    try:
        frame = pl.read_csv(
            raw,
            has_header=False,
            separator=separator,
            quote_char='"' if quotes else None,
            schema={str(j): pl.String for j in range(width)},
        ).fill_null("")
    except pl.exceptions.PolarsError:
        return None
    held = sum(int(column.str.len_bytes().sum()) for column in frame)
    if held + quotes + len(frame) * width != len(raw):
        return None
    points, zeros = b"." in raw, separator == "," or _has_zeros(raw)
    return [Packed(column, points, zeros) for column in frame]

"""Records that compiled code reads, written from Python."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels import records
from nbmlp.kernels.pieces import piece_address
from nbmlp.names import Element

__all__ = ["Table", "places"]

_KINDS = (np.int64, np.float64)


@functools.cache
def _layout(dtype: np.dtype[Any]) -> dict[str, tuple[int, int]]:
    """Which of the kinds each field is, and how many words into the record it lies."""
    fields: Any = dtype.fields
    return {name: (_KINDS.index(kind.type), at // 8) for name, (kind, at, *_) in fields.items()}


def places(dtype: np.dtype[Any]) -> dict[str, int]:
    """How many words into the record each field lies."""
    return {name: at for name, (_, at) in _layout(dtype).items()}


class Table:
    """Records of one kind, all of whose fields are of 8 bytes.

    Parameters
    ----------
    dtype : dtype
        One of `kernels.records`.
    n : int
        How many.
    element : Element
        That the pieces are built for which its fields call.

    Attributes
    ----------
    records : ndarray (n,)
    ints, floats : memoryview
        All of it as words. Writing there takes a tenth of the time that NumPy takes for a field.
    """

    def __init__(self, dtype: np.dtype[Any], n: int, element: Element) -> None:
        self.records: NDArray[Any] = np.zeros(n, dtype)
        self._element = element
        self._views: Any = tuple(self.records.view(kind).data for kind in _KINDS)
        self.ints: memoryview[int] = self._views[0]
        self.floats: memoryview[float] = self._views[1]
        self._layout, self._width = _layout(dtype), dtype.itemsize // 8

    @property
    def address(self) -> int:
        """Of the first record."""
        return int(self.records.ctypes.data)

    def address_of(self, i: int) -> int:
        """Of record i."""
        return self.address + i * self._width * 8

    def set(self, i: int, **fields: Any) -> None:
        """Set fields of record i."""
        start, layout, views = i * self._width, self._layout, self._views
        for name, value in fields.items():
            kind, at = layout[name]
            views[kind][start + at] = value

    def bind(self, i: int, **pieces: str) -> None:
        """Let fields of record i call the pieces named, each of the family that it asks for."""
        self.set(i, **{
            field: piece_address(name, self._element, records.PIECES[field])
            for field, name in pieces.items()
        })  # fmt: skip

"""Records that compiled code reads, written from Python."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table"]

_KINDS = (np.int64, np.float64)


@functools.cache
def _places(dtype: np.dtype[Any]) -> dict[str, tuple[int, int]]:
    """Which of the kinds each field is, and how many words into the record it lies."""
    fields: Any = dtype.fields
    return {name: (_KINDS.index(kind.type), at // 8) for name, (kind, at, *_) in fields.items()}


class Table:
    """Records of one kind, all of whose fields are of 8 bytes.

    Parameters
    ----------
    dtype : dtype
        One of `kernels.records`.
    n : int
        How many.

    Attributes
    ----------
    records : ndarray (n,)
    """

    def __init__(self, dtype: np.dtype[Any], n: int) -> None:
        self.records: NDArray[Any] = np.zeros(n, dtype)
        # Writing there takes a tenth of the time that NumPy takes for a field of such an array.
        self._views = tuple(self.records.view(kind).data for kind in _KINDS)
        self._places, self._width = _places(dtype), dtype.itemsize // 8

    @property
    def address(self) -> int:
        """Of the first record."""
        return int(self.records.ctypes.data)

    def address_of(self, i: int) -> int:
        """Of record i."""
        return self.address + i * self._width * 8

    def set(self, i: int, fields: dict[str, Any]) -> None:
        """Set fields of record i."""
        start, places, views = i * self._width, self._places, self._views
        for name, value in fields.items():
            kind, at = places[name]
            views[kind][start + at] = value

    def fields(self) -> dict[str, tuple[memoryview, int]]:
        """Where to read and write each field of the first record: a view, and an index."""
        return {name: (self._views[kind], at) for name, (kind, at) in self._places.items()}

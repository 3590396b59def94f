"""Types of elements: what a step keeps its numbers in, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DTYPES", "ELEMENTS", "Element", "element_of"]


@dataclass(frozen=True, kw_only=True)
class Element:
    """What is to be known of a type of elements.

    Attributes
    ----------
    name : str
        Of the pieces that are built for it, and what a spec says if it is `plain`.
    compute : type
        NumPy's type of the masters: parameters, slots, gradient, targets, sums.
    storage : type
        NumPy's type of what products read: rows, activations, deltas, the copies of W that an
        update renews. One of as many bytes where NumPy has no such numbers.
    """

    name: str
    compute: type[np.generic]
    storage: type[np.generic]

    @property
    def plain(self) -> bool:
        """Whether all is kept in the one type that it is computed in."""
        return self.storage is self.compute

    @property
    def compute_bytes(self) -> int:
        """Of one element of the masters."""
        return np.dtype(self.compute).itemsize

    @property
    def storage_bytes(self) -> int:
        """Of one element of what products read."""
        return np.dtype(self.storage).itemsize


_ROWS = (
    Element(name="float32", compute=np.float32, storage=np.float32),
    Element(name="float64", compute=np.float64, storage=np.float64),
)
ELEMENTS: dict[str, Element] = {row.name: row for row in _ROWS}
#: What a spec may say as `dtype`.
DTYPES = tuple(row.name for row in _ROWS if row.plain)
_PLAIN: dict[type, Element] = {row.compute: row for row in _ROWS if row.plain}


def element_of(given: Any) -> Element:
    """The row of a NumPy type that a net may be kept in; a row is its own.

    Raises
    ------
    KeyError
        There is no such row.
    """
    return given if isinstance(given, Element) else _PLAIN[np.dtype(given).type]

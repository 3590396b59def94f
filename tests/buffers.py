"""Buffers as the kernels want them, with something around them that shows what goes astray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels.pieces import in_order, piece_function
from nbmlp.state import aligned

T32_T64 = pytest.mark.parametrize("T", [np.float32, np.float64], ids=["float32", "float64"])
#: What a buffer holds where a piece must not write.
SENTINEL = -77.0


def panel_of(T: type) -> int:
    """Elements of one panel."""
    return tuning.PANEL_BYTES // np.dtype(T).itemsize


def panels_for(T: type, n: int) -> int:
    """Panels that hold n elements."""
    return -(-n // panel_of(T))


def matrix(T: type, rows: int, panels: int, fill: float = np.nan) -> NDArray[Any]:
    """Aligned rows of whole panels, with one panel and one row more than asked for."""
    width = (panels + 1) * panel_of(T)
    a = aligned((rows + 1) * width, T).reshape(rows + 1, width)
    a[:] = fill
    return a


def address(a: NDArray[Any]) -> int:
    """Address of the first element."""
    return a.ctypes.data


def call(piece: str, T: type, **arguments: float) -> float:
    """What a piece for this element type returns; all its arguments by name."""
    return piece_function(piece, T)(*in_order(piece, **arguments))

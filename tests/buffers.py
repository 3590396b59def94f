"""Buffers as the kernels want them, with something around them that shows what goes astray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.kernels.pieces import in_order, piece_address, piece_function
from nbmlp.state import aligned

T32_T64 = pytest.mark.parametrize("T", [np.float32, np.float64], ids=["float32", "float64"])
#: Other instruction sets run float32 alone, for pieces that differ in more than the type little.
T32_AGAIN = pytest.mark.parametrize(
    "T",
    [
        pytest.param(np.float32, id="float32", marks=pytest.mark.kernels),
        pytest.param(np.float64, id="float64"),
    ],
)
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


class Layer:
    """A layer of the tables by itself, on a thread by itself.

    Parameters
    ----------
    T : type
        Of the elements.
    **fields
        Of the layer's record; those that are not given are 0, and there is no column of ones.
    """

    def __init__(self, T: type, **fields: Any) -> None:
        self.T = T
        self.job, self.thread = np.zeros(1, records.JOB), np.zeros(1, records.THREAD)
        self.layer = np.zeros(1, records.LAYER)
        self.set("job", size=np.dtype(T).itemsize, panel=panel_of(T), x_scale=1.0, y_scale=1.0)
        self.set("thread", size=1)
        self.set("layer", **{"one": -1, "copy_one": -1} | fields)

    def set(self, record: str, **fields: Any) -> None:
        """Fields of ``"job"``, ``"layer"`` or ``"thread"``."""
        for name, value in fields.items():
            getattr(self, record)[name] = value

    def bind(self, record: str, **pieces: str) -> None:
        """Addresses of pieces for fields of a record."""
        self.set(record, **{field: piece_address(name, self.T) for field, name in pieces.items()})

    def call(self, piece: str, **arguments: float) -> float:
        """What one of the layer's pieces returns for a rectangle."""
        at = {name: address(getattr(self, name)) for name in ("job", "layer", "thread")}
        return call(piece, self.T, **at, **arguments)


def call(piece: str, T: type, **arguments: float) -> float:
    """What a piece for this element type returns; all its arguments by name."""
    return piece_function(piece, T)(*in_order(piece, **arguments))

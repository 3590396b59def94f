"""The order in which an epoch takes its rows: a function of (seed, epoch, row) and nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels.pieces import in_order, piece_function

__all__ = ["ORDERS", "draw_order"]

#: The setting `shuffle` -> the piece that draws the order.
ORDERS: dict[bool | str, str] = {True: "shuffle", "blocks": "shuffle.blocks"}


def draw_order(
    order: NDArray[np.int64], shuffle: bool | str, seed: int, epoch: int, stream: int = 0
) -> None:
    """Fill `order` (n,) with a permutation of 0..n-1.

    Parameters
    ----------
    order : ndarray of int64 (n,)
        Contiguous.
    shuffle : True or "blocks"
    seed, epoch : int
    stream : int
        Which of several orders of the same epoch; 0 where there is one.
    """
    at, n = order.ctypes.data, len(order)
    piece = ORDERS[shuffle]
    drawn = in_order(piece, order=at, n=n, seed=seed, epoch=epoch, stream=stream)
    piece_function(piece, np.float64)(*drawn)

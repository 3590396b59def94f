"""The order in which an epoch takes its rows: a function of (seed, epoch, row) and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels.pieces import in_order, piece_function
from nbmlp.plan import Shards

__all__ = ["ORDERS", "Order", "draw_order"]

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


class Order:
    """Which row comes when, of the epoch at hand.

    Several shards each have an order of their own, and are dealt out to the batches in turn: see
    `kernels/shards.py`.

    Parameters
    ----------
    rows, batch : int
        Of an epoch, and of an update.
    shuffle : bool or "blocks"
    seed : int
    shards : Shards
        Only the rows of those that are summed here have a place in it.

    Attributes
    ----------
    rows : ndarray of int64 (rows,)
        -1 where a row is not summed here.
    """

    def __init__(
        self, rows: int, batch: int, shuffle: bool | str, seed: int, shards: Shards
    ) -> None:
        self.rows = np.arange(rows, dtype=np.int64)
        self._shuffle, self._seed, self._batch, self._shards = shuffle, seed, batch, shards
        piece_function(ORDERS[shuffle or True], np.float64)
        if shards.count > 1:
            piece_function("deal", np.float64)
            self._drawn = np.empty_like(self.rows)
            starts = -(-np.arange(shards.count + 1) * rows // shards.count)
            self._starts = starts[:-1]
            self._own = [self._drawn[a:b] for a, b in pairwise(starts)]
            as_they_lie = self.rows.copy()
            self.rows[:] = -1
            self.take(as_they_lie)

    @property
    def permutes(self) -> bool:
        """Whether rows are not taken as they lie."""
        return bool(self._shuffle) or self._shards.count > 1

    def between(self, start: int, end: int) -> NDArray[np.int64]:
        """Rows from a place of the epoch to another that are summed here."""
        rows = self.rows[start:end]
        return rows[rows >= 0]

    def draw(self, epoch: int) -> None:
        """That of an epoch, if orders are drawn."""
        if self._shuffle and self._shards.count == 1:
            draw_order(self.rows, self._shuffle, self._seed, epoch)
        elif self._shuffle:
            for shard in range(self._shards.first, self._shards.end):
                draw_order(self._own[shard], self._shuffle, self._seed, epoch, shard)
            self._deal()

    def take(self, given: NDArray[np.int64]) -> None:
        """Another one, each row once; of each shard, its rows as they follow each other there."""
        if self._shards.count == 1:
            np.copyto(self.rows, given)
            return
        shard = given * self._shards.count // len(given)
        by_shard = np.argsort(shard, kind="stable")
        np.subtract(given[by_shard], self._starts[shard[by_shard]], out=self._drawn)
        self._deal()

    def _deal(self) -> None:
        shards = self._shards
        dealt = in_order(
            "deal", order=self.rows.ctypes.data, drawn=self._drawn.ctypes.data, n=len(self.rows),
            batch=self._batch, shards=shards.count, first=shards.first, end=shards.end,
        )  # fmt: skip
        piece_function("deal", np.float64)(*dealt)

"""What an engine goes back to: right away when a region has gone wrong, or from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.workspace import Cursor, Workspace

__all__ = ["Snapshot"]


class Snapshot:
    """Weights, their average, the optimizer's vectors and where the job stood.

    Parameters
    ----------
    work : Workspace
        Of a training.
    batches : ndarray (updates, 3)
        Sums of each batch of the epoch that the job adds to; may be empty.

    Attributes
    ----------
    cursor : Cursor
        Where the job stood.
    """

    def __init__(self, work: Workspace, batches: NDArray[np.float64]) -> None:
        self._work, self._job, self._batches = work, work.job, batches
        state = work.state
        self._live = [state.theta, state.slots, state.average, work.block_norms]
        self._kept = [np.empty_like(array) for array in self._live]
        self.cursor = Cursor()
        #: What a batch that is half done has added up.
        self._halves = [work.buffers.gradients, work.buffers.shard_sums]
        self._kept_halves: list[NDArray[Any]] = []

    def take(self) -> None:
        """Remember; gradients too, if half a batch has been added up in them."""
        self.cursor = self._job.cursor
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(kept, live)
        if self.cursor.within_batch:
            if not self._kept_halves:
                self._kept_halves = [np.empty_like(array) for array in self._halves]
            for kept, live in zip(self._kept_halves, self._halves, strict=True):
                np.copyto(kept, live)
        self._sums = self._batches[self._update : self._update + 1].copy()

    @property
    def _update(self) -> int:
        """Number of the update in its epoch."""
        return self.cursor.step - self._job.first_step

    def restore(self) -> None:
        """Put all back; transposed copies of weights have to be renewed then."""
        self._job.take_up(self.cursor)
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(live, kept)
        if self.cursor.within_batch:
            for kept, live in zip(self._kept_halves, self._halves, strict=True):
                np.copyto(live, kept)
        self._batches[self._update :] = 0.0
        self._batches[self._update : self._update + 1] = self._sums

    def carry(self) -> dict[str, NDArray[Any]]:
        """What the state does not hold of an epoch, as it is now, at the border of two batches."""
        now = self._job.cursor
        return {
            "rows": np.array([now.row, self._job.rows]),
            "sums": np.array([now.loss, now.weight]),
            "squared_norms": self._work.block_norms.copy(),
            "batches": self._batches.copy(),
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what :meth:`carry` gave, in an epoch that has just been started."""
        self._job.resume_at(int(arrays["rows"][0]), *arrays["sums"].tolist())
        self._work.block_norms[:] = arrays["squared_norms"]
        self._batches[:] = arrays["batches"]

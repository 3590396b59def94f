"""What an engine goes back to: right away when a region has gone wrong, or from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.workspace import Workspace

__all__ = ["Snapshot"]

#: Where the job stands.
_FIELDS = ("cursor", "batch_start", "step", "accumulated", "loss_sum", "weight_sum")


class Snapshot:
    """Weights, the optimizer's vectors and the counters of a job, as they were.

    Parameters
    ----------
    work : Workspace
        Of a training.
    batches : ndarray (updates, 3)
        Sums of each batch of the epoch that the job adds to; may be empty.
    """

    def __init__(self, work: Workspace, batches: NDArray[np.float64]) -> None:
        self._work, self._batches = work, batches
        self._live = [work.state.theta, work.state.slots, work.block_norms]
        self._kept = [np.empty_like(array) for array in self._live]
        self._fields: dict[str, Any] = {}
        self._gradient: NDArray[Any] | None = None
        self._within = False

    def __getitem__(self, name: str) -> Any:
        """A counter of the job."""
        return self._fields[name]

    def take(self) -> None:
        """Remember; the gradient too, if half a batch has been added up in it."""
        work = self._work
        self._fields = {name: work[name] for name in _FIELDS}
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(kept, live)
        self._within = self._fields["cursor"] != self._fields["batch_start"]
        if self._within:
            if self._gradient is None:
                self._gradient = np.empty_like(work.gradient)
            np.copyto(self._gradient, work.gradient)
        self._sums = self._batches[self._update : self._update + 1].copy()

    @property
    def _update(self) -> int:
        """Number of the update in its epoch."""
        return int(self._fields["step"] - self._work["first_step"])

    def restore(self) -> None:
        """Put all back; transposed copies of weights have to be renewed then."""
        self._work.set(**self._fields)
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(live, kept)
        if self._within and self._gradient is not None:
            np.copyto(self._work.gradient, self._gradient)
        self._batches[self._update :] = 0.0
        self._batches[self._update : self._update + 1] = self._sums

    def carry(self) -> dict[str, NDArray[Any]]:
        """What the state does not hold of an epoch, as it is now, at the border of two batches."""
        work = self._work
        return {
            "rows": np.array([work["cursor"], work["n_rows"]]),
            "sums": np.array([work["loss_sum"], work["weight_sum"]]),
            "squared_norms": work.block_norms.copy(),
            "batches": self._batches.copy(),
        }

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what :meth:`carry` gave, in an epoch that has just been started."""
        work, rows = self._work, int(arrays["rows"][0])
        loss_sum, weight_sum = arrays["sums"].tolist()
        work.set(
            cursor=rows, batch_start=rows, step=work["first_step"] + rows // work["batch"],
            loss_sum=loss_sum, weight_sum=weight_sum,
        )  # fmt: skip
        work.block_norms[:] = arrays["squared_norms"]
        self._batches[:] = arrays["batches"]

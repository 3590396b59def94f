"""Watching a net while it trains: what each layer's outputs and gradients are like."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import number
from nbmlp.errors import NonFiniteError
from nbmlp.plots import watched_layers
from nbmlp.train.callbacks import Callback, Run
from nbmlp.train.history import EpochRecord
from nbmlp.train.statistics import NetStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Watch"]


class Watch(Callback):
    """Look at every layer now and then: saturated and dead units, size of the gradients.

    Takes 256 of the training rows forward and backward after an epoch, as often as a share of the
    training time allows.

    Parameters
    ----------
    share : float
        Most time to spend, as a share of the training's.

    Attributes
    ----------
    epochs : list of int
        After which it looked.
    views : list of NetStatistics
        What it saw.
    """

    def __init__(self, share: float = 0.02) -> None:
        self.share = number("share", share, high=1.0, closed_low=False, closed_high=True)
        self.epochs: list[int] = []
        self.views: list[NetStatistics] = []

    def on_fit_begin(self, run: Run) -> None:
        """Forget the training before."""
        self.epochs, self.views = [], []
        self._trained = self._spent = self._last = 0.0

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Look, if it has not taken too much time yet."""
        self._trained += record.seconds
        if self._spent + self._last <= self.share * self._trained:
            self._look(run, record.epoch)

    def on_fit_end(self, run: Run) -> None:
        """A training too short for any look gets one at its end."""
        if not self.views and len(run.history):
            self._look(run, run.history[-1].epoch)

    def _look(self, run: Run, epoch: int) -> None:
        began = time.perf_counter()
        try:
            view = run.look()
        except NonFiniteError:  # the training itself will say so
            return
        self.epochs.append(epoch)
        self.views.append(view)
        self._last = time.perf_counter() - began
        self._spent += self._last

    def column(self, name: str) -> NDArray[np.float64]:
        """One value of ``LayerStatistics`` by look and layer, (looks, layers)."""
        rows = [[getattr(layer, name) for layer in view.layers] for view in self.views]
        return np.array(rows, dtype=np.float64)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw units without slope, outputs and gradients of each layer over the epochs.

        Raises
        ------
        MissingPackageError
            matplotlib is not installed.
        DataError
            Nothing was seen yet, or the file cannot be written.
        """
        flat = np.maximum(self.column("saturated"), self.column("dead"))
        panels = {
            "share of outputs\nwithout slope": flat,
            "size of the\ngradient": self.column("gradient"),
            "size of the\noutputs": self.column("output"),
        }
        return watched_layers(self.epochs, panels, path=path)

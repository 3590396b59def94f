"""What belongs to a checkpoint is written by no process that is left over of an older start."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from typing import Any

from nbmlp.train.callbacks import Callback
from nbmlp.train.history import EpochRecord
from nbmlp.train.hosts.fence import NO_FENCE

__all__ = ["Guard"]

#: Seconds between two looks.
_BETWEEN = 1.0


class Guard(Callback):
    """Knows who may write, from the training that it is a callback of; stands before a log.

    Parameters
    ----------
    checkpoint : path or None
        Which bears the number of the newest start.
    """

    def __init__(self, checkpoint: str | None) -> None:
        self._checkpoint, self._fence = checkpoint, NO_FENCE
        self._looked = -math.inf

    def on_fit_begin(self, run: Any) -> None:
        """Learn it."""
        self._fence = run.fence

    def on_epoch_end(self, run: Any, record: EpochRecord) -> None:
        """End a process that may not write, before it logs the epoch."""
        now = time.monotonic()
        if self._checkpoint is not None and self._fence.number and now - self._looked >= _BETWEEN:
            self._looked = now
            self._fence.check(self._checkpoint)

    def guarding(self) -> AbstractContextManager[None]:
        """Files that are written meanwhile are replaced only if this process may."""
        return self._fence.guarding(self._checkpoint)

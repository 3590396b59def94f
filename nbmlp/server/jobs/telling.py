"""What a job's process tells of a training on the way: phases, epochs and progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nbmlp.server.jobs.limits import memory
from nbmlp.server.jobs.protocol import Order
from nbmlp.train.callbacks import Callback, Progress, Run
from nbmlp.train.history import EpochRecord

__all__ = ["PERIOD", "Flush", "Reports", "Send"]

Send = Callable[[dict[str, Any]], None]
#: Seconds between two reports.
PERIOD = 0.5


class Reports(Callback):
    """Tell the server of phases, epochs and progress, twice a second at most.

    Parameters
    ----------
    order : Order
    send : callable
    """

    def __init__(self, order: Order, send: Send) -> None:
        self._send, self._recorded = send, order.recorded
        self._rows: list[dict[str, Any]] = []
        self._phase, self._last = "", 0.0
        self._also: dict[str, Any] = {}

    def on_fit_begin(self, run: Run) -> None:
        """Epochs of a checkpoint that the server has not heard of."""
        self._rows = [r.to_row() for r in run.history if r.epoch > self._recorded]
        self.flush()

    def on_progress(self, run: Run, progress: Progress) -> None:
        """How far the epoch is."""
        if run.phase != self._phase:
            self._phase = run.phase
            self._send({
                "kind": "phase", "phase": run.phase, "score_name": run.history.score_name,
            })  # fmt: skip
        if time.monotonic() - self._last >= PERIOD:
            self.flush()
            self._progress(run, progress)

    def _progress(self, run: Run, progress: Progress) -> None:
        self._last = time.monotonic()
        known = len(run.history) > 0
        rate = progress.samples_per_second
        rate = run.history[-1].samples_per_second if known and not rate else rate
        left = (run.epochs - progress.epoch + 1) * progress.rows_total - progress.rows_done
        self._send({
            "kind": "progress", "epoch": progress.epoch, "rows_done": progress.rows_done,
            "rows_total": progress.rows_total, "samples_per_second": rate,
            "loss": progress.loss_so_far, "memory_bytes": memory()[1],
            "threads": run.history[-1].threads if known else 0,
            "seconds_left": left / rate if rate else None,
        })  # fmt: skip

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Keep it until the next report."""
        self._rows.append(record.to_row())
        if time.monotonic() - self._last >= PERIOD:
            self.flush()
            done = Progress(
                record.epoch, run.n_samples, run.n_samples, record.samples_per_second,
                record.train_loss,
            )  # fmt: skip
            self._progress(run, done)

    def send(self, message: dict[str, Any]) -> None:
        """Something else, perhaps at every epoch; the epochs before it are known first."""
        self.flush()
        self._send(message)

    def flush(self) -> None:
        """Report the epochs kept."""
        if self._rows:
            self._send({"kind": "epochs", "rows": self._rows, **self._also})
            self._rows = []


class Flush(Callback):
    """The last epochs, when training ends for whatever reason."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def on_fit_end(self, run: Run) -> None:
        """Report them."""
        self._reports.flush()

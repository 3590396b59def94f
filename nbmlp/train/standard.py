"""The callbacks that come with nbmlp: early stopping, checkpoints, CSV log, progress bar."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import flag, number, whole
from nbmlp.errors import DataError, TrainingWarning, unknown_name
from nbmlp.train.callbacks import Callback, CallbackList, Progress, Run
from nbmlp.train.history import MONITORS, EpochRecord, choose_monitor, direction
from nbmlp.train.progress import Status, open_display

__all__ = [
    "TIES", "CSVLog", "Checkpoint", "EarlyStopping", "ProgressBar", "checkpoints_among",
]  # fmt: skip

#: Which of the epochs that are equally good is the best.
TIES = ("first", "last")


class EarlyStopping(Callback):
    """Stop when nothing has improved for a while, and go back to the best epoch's weights.

    Parameters
    ----------
    monitor : str
        ``"val_score"`` or ``"score"`` (what `eval_metric` names), ``"val_loss"``,
        ``"train_loss"``, or ``"auto"``: the first of them that is recorded.
    patience : int
        Epochs in a row without improvement after which to stop.
    min_delta : float
        Least change that counts as an improvement.
    restore_best : bool
        Put the weights of the best epoch back when training ends, for whatever reason. Costs
        one copy of the parameters.
    ties : str
        Which of several epochs is the best that are equally good, as of scores on few rows many
        are: the ``"first"`` or the ``"last"``, which has learned for longer. Patience is counted
        from the first either way.

    Attributes
    ----------
    best_epoch : int
        Best epoch so far; 0 before the first.
    """

    of_one_net = True

    def __init__(
        self,
        monitor: str = "auto",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        ties: str = "first",
    ) -> None:
        if monitor not in (known := ("auto", "score", *MONITORS)):
            raise unknown_name("monitor", monitor, known)
        self.monitor = "val_score" if monitor == "score" else monitor
        self.patience = whole("patience", patience)
        self.min_delta = number("min_delta", min_delta)
        self.restore_best = flag("restore_best", restore_best)
        if ties not in TIES:
            raise unknown_name("ties", ties, TIES)
        self.ties = ties
        self._reset()

    def _reset(self) -> None:
        self.best_epoch = 0
        self._best = -math.inf
        self._watched = self.monitor
        self._waited = 0
        self._weights: NDArray[Any] | None = None

    def on_fit_begin(self, run: Run) -> None:
        """Take the epochs of a resumed training into account."""
        self._reset()
        for record in run.history:
            self._is_best(run, record)
        if len(run.history) and run.history[-1].epoch == self.best_epoch and not run.rows_done:
            self._keep(run)
        if self._waited >= self.patience:
            run.stop(f"early stopping at epoch {run.history[-1].epoch}")

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Keep the weights, or count towards the end."""
        if self._is_best(run, record):
            self._keep(run)
        if self._waited >= self.patience:
            run.stop(f"early stopping at epoch {record.epoch}")

    def carry(self) -> dict[str, NDArray[Any]]:
        """The best weights so far, and their epoch."""
        if self._weights is None:
            return {}
        return {"weights": self._weights, "epoch": np.array([self.best_epoch])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take them back, unless the checkpoint's own epoch or another monitor's is the best."""
        if self.restore_best and arrays["epoch"][0] == self.best_epoch:
            self._weights = arrays["weights"]

    def on_fit_end(self, run: Run) -> None:
        """Put the best weights back."""
        if self._weights is not None:
            run.set_weights(self._weights)
        elif self.restore_best and self.best_epoch:
            message = (
                f"the weights of the best epoch, {self.best_epoch}, are not in the checkpoint"
                " that this training resumed from: the last ones stay."
            )
            warnings.warn(message, TrainingWarning, stacklevel=2)
        self._weights = None

    def _keep(self, run: Run) -> None:
        if self.restore_best:
            self._weights = run.get_weights()

    def _is_best(self, run: Run, record: EpochRecord) -> bool:
        """Whether the epoch is to be kept; counts those since the last improvement. NaN never is
        one."""
        self._watched = choose_monitor(record, self._watched)
        sign = direction(self._watched, run.history.score_name)
        value = sign * getattr(record, self._watched)
        better = value > self._best + self.min_delta
        tied = self.ties == "last" and self.best_epoch > 0 and value == self._best
        if better or tied:
            self._best, self.best_epoch = value, record.epoch
        self._waited = 0 if better else self._waited + 1
        return bool(better or tied)


class Checkpoint(Callback):
    """Write all that resuming needs into one file, replaced whole or not at all.

    Parameters
    ----------
    path : path-like
        Always the same file; its folder must exist.
    every : int
        Epochs between two writings; the last epoch planned is always written.
    seconds : float
        Written within an epoch, too, when the last writing is so long ago.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1, seconds: float = 60.0) -> None:
        self.path = Path(path)
        self.every = whole("every", every)
        self.seconds = number("seconds", seconds)

    def on_fit_begin(self, run: Run) -> None:
        """Refuse a place that cannot be written before any time is spent."""
        if not self.path.parent.is_dir():
            raise DataError(f"checkpoint {self.path}: the folder {self.path.parent} is missing.")
        if self.path.is_dir():
            raise DataError(f"checkpoint {self.path} is a folder: name a file.")
        self._written = time.monotonic()

    def on_progress(self, run: Run, progress: Progress) -> None:
        """Write within a long epoch."""
        if progress.between_batches and time.monotonic() - self._written >= self.seconds:
            self._write(run)

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Write when it is due."""
        if record.epoch % self.every == 0 or record.epoch == run.epochs:
            self._write(run)

    def _write(self, run: Run) -> None:
        run.save_checkpoint(self.path)
        self._written = time.monotonic()


def checkpoints_among(callbacks: CallbackList) -> list[Path]:
    """The files that these callbacks write checkpoints to."""
    return [c.path for c in callbacks.callbacks if isinstance(c, Checkpoint)]


class CSVLog(Callback):
    """One line per epoch in a CSV file, readable at any moment.

    A resumed training writes the epochs of its history again before it goes on, so that the
    file never holds an epoch twice or one that the checkpoint did not know.

    Parameters
    ----------
    path : path-like
        Replaced when a training begins.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None

    def on_fit_begin(self, run: Run) -> None:
        """Open the file."""
        with self._named_errors():
            self._file = self.path.open("w", newline="", encoding="utf-8")
        self._columns: list[str] = []
        for record in run.history:
            self.on_epoch_end(run, record)

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Write a line, and the header before the first one."""
        assert self._file is not None
        row = record.to_row()
        with self._named_errors():
            if not self._columns:
                self._columns = list(row)
                csv.writer(self._file).writerow(row)
            csv.writer(self._file).writerow(row.get(name) for name in self._columns)
            self._file.flush()

    def on_fit_end(self, run: Run) -> None:
        """Close the file."""
        if self._file is not None:
            with self._named_errors():
                self._file.close()
            self._file = None  # open or closed, it cannot be copied or pickled

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"log {self.path} cannot be written: {error.strerror}.") from error


class ProgressBar(Callback):
    """Show on standard error how training goes.

    A live bar where that is a terminal and rich is installed, else a plain line per epoch, at
    most one a second.

    Parameters
    ----------
    stream : text stream, optional
        Another place than standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    def on_fit_begin(self, run: Run) -> None:
        """Open the display."""
        self._display = open_display(self.stream or sys.stderr)
        if run.phase == "compiling":
            self._display.compiling()

    def on_progress(self, run: Run, progress: Progress) -> None:
        """Show how far the epoch is, or that kernels are being compiled."""
        if run.phase == "compiling":
            self._display.compiling()
            return
        rate, loss = progress.samples_per_second, progress.loss_so_far
        last = run.history[-1] if len(run.history) else None
        self._display.within_epoch(
            self._status(run, progress.epoch, progress.rows_done, rate, loss, last)
        )

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Show the epoch."""
        rate, loss = record.samples_per_second, record.train_loss
        self._display.after_epoch(
            self._status(run, record.epoch, run.n_samples, rate, loss, record)
        )

    def on_fit_end(self, run: Run) -> None:
        """Leave the terminal in order, and say why training ended if not as planned."""
        finished = len(run.history) and run.history[-1].epoch >= run.epochs
        self._display.close("" if finished else run.history.stop_reason)
        del self._display  # it holds a stream, which cannot be copied or pickled

    @staticmethod
    def _status(
        run: Run, epoch: int, rows: int, rate: float, loss: float, last: EpochRecord | None
    ) -> Status:
        return Status(
            epoch=epoch,
            epochs=run.epochs,
            done=(epoch - 1) * run.n_samples + rows,
            total=run.epochs * run.n_samples,
            rate=rate,
            loss=loss,
            val_loss=last.val_loss if last else None,
            val_score=last.val_score if last else None,
            score_name=run.history.score_name,
        )

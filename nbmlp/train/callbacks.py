"""What may happen at the borders of epochs: early stopping, checkpoints, progress, logs.

Callbacks see the run's model and history, never the loop.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import flag, number, whole
from nbmlp.errors import DataError, SpecError, TrainingWarning, unknown_name
from nbmlp.train.history import MONITORS, EpochRecord, History, choose_monitor
from nbmlp.train.progress import Status, open_display

__all__ = [
    "CSVLog",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "EarlyStopping",
    "FunctionCallback",
    "Progress",
    "ProgressBar",
    "Run",
    "as_callback",
]


@dataclass(frozen=True)
class Progress:
    """How far an epoch has come.

    Attributes
    ----------
    epoch : int
        From 1.
    rows_done, rows_total : int
        Rows of this epoch trained on so far; rows of a whole epoch.
    samples_per_second : float
        Rows per second in this epoch.
    loss_so_far : float
        Mean training loss of the epoch's updates so far, penalty included.
    """

    epoch: int
    rows_done: int
    rows_total: int
    samples_per_second: float
    loss_so_far: float


class Run(Protocol):
    """A training that is going on, as callbacks see it."""

    @property
    def model(self) -> Any:
        """The :class:`~nbmlp.MLP` being trained; usable at every call."""

    @property
    def history(self) -> History:
        """Epochs so far; not empty at the start of a resumed training."""

    @property
    def epochs(self) -> int:
        """Number of the last epoch planned."""

    @property
    def n_samples(self) -> int:
        """Rows of an epoch."""

    @property
    def phase(self) -> str:
        """``"compiling"`` until the kernels are ready, then ``"training"``."""

    def stop(self, reason: str) -> None:
        """End training after this epoch; the reason goes into the history."""

    def get_weights(self) -> NDArray[Any]:
        """A flat copy of all parameters."""

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Put such a copy back."""

    def save_checkpoint(self, path: Path) -> None:
        """Write all that resuming needs, whole or not at all."""


class Callback:
    """Base of the callbacks: does nothing at every occasion; override what you need."""

    def on_fit_begin(self, run: Run) -> None:
        """Before the first epoch; kernels may still have to be compiled."""

    def on_progress(self, run: Run, progress: Progress) -> None:
        """A few times a second within an epoch."""

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """After an epoch and its validation; `record` is already in the history."""

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch, an interruption or an error."""

    def carry(self) -> dict[str, NDArray[Any]]:
        """Arrays that a checkpoint keeps for this callback, beside history and model."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`carry` gave; called after `on_fit_begin` of a resumed training."""


class FunctionCallback(Callback):
    """A user's function, called after every epoch.

    Parameters
    ----------
    function : callable
        ``function(run, record)``.
    """

    def __init__(self, function: Callable[[Run, EpochRecord], object]) -> None:
        self.function = function

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """See :class:`Callback`."""
        self.function(run, record)


def as_callback(value: object) -> Callback:
    """A callback itself, or a function ``f(run, record)`` as one.

    Raises
    ------
    SpecError
        It is neither.
    """
    if isinstance(value, Callback):
        return value
    if isinstance(value, type) and issubclass(value, Callback):
        raise SpecError(f"callback {value.__name__} is a class: write {value.__name__}().")
    if callable(value):
        return FunctionCallback(value)
    raise SpecError(f"callback {value!r} is neither a Callback nor a function f(run, record).")


class CallbackList:
    """The callbacks of one fit, called in the order given.

    Parameters
    ----------
    callbacks : iterable of Callback or callable
        See :func:`as_callback`.
    """

    def __init__(self, callbacks: Iterable[object] = ()) -> None:
        if not isinstance(callbacks, Iterable):
            raise SpecError(f"callbacks={callbacks!r}: give a list of them.")
        self.callbacks = [as_callback(c) for c in callbacks]
        kinds = [type(c).__name__ for c in self.callbacks]
        #: Of the first, second, ... callback of a class, whatever stands between them.
        self._names = [f"{kind}{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]

    def carry(self) -> dict[str, NDArray[Any]]:
        """What all callbacks carry, by ``"EarlyStopping0.weights"``."""
        return {
            f"{name}.{key}": array
            for name, callback in zip(self._names, self.callbacks, strict=True)
            for key, array in callback.carry().items()
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Hand back what :meth:`carry` gave, to those callbacks that are still there."""
        for name, callback in zip(self._names, self.callbacks, strict=True):
            start = f"{name}."
            own = {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}
            if own:
                callback.restore(own)

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        """Begin all, and end those that began, whatever is raised within or by another one.

        An exception goes on after the last `on_fit_end`.
        """
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.on_fit_begin(run)
                begun.append(callback)
            yield
        finally:
            with ExitStack() as ends:
                for callback in reversed(begun):
                    ends.callback(callback.on_fit_end, run)

    def on_progress(self, run: Run, progress: Progress) -> None:
        """Pass it on to all."""
        for callback in self.callbacks:
            callback.on_progress(run, progress)

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Pass it on to all."""
        for callback in self.callbacks:
            callback.on_epoch_end(run, record)


class EarlyStopping(Callback):
    """Stop when nothing has improved for a while, and go back to the best epoch's weights.

    Parameters
    ----------
    monitor : str
        ``"val_score"``, ``"val_loss"``, ``"train_loss"``, or ``"auto"``: the first of them that
        is recorded.
    patience : int
        Epochs in a row without improvement after which to stop.
    min_delta : float
        Least change that counts as an improvement.
    restore_best : bool
        Put the weights of the best epoch back when training ends, for whatever reason. Costs
        one copy of the parameters.

    Attributes
    ----------
    best_epoch : int
        Best epoch so far; 0 before the first.
    """

    def __init__(
        self,
        monitor: str = "auto",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if monitor not in ("auto", *MONITORS):
            raise unknown_name("monitor", monitor, ("auto", *MONITORS))
        self.monitor = monitor
        self.patience = whole("patience", patience)
        self.min_delta = number("min_delta", min_delta)
        self.restore_best = flag("restore_best", restore_best)
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
            self._improves(record)
        if len(run.history) and run.history[-1].epoch == self.best_epoch:
            self._keep(run)
        if self._waited >= self.patience:
            run.stop(f"early stopping at epoch {run.history[-1].epoch}")

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Keep the weights, or count towards the end."""
        if self._improves(record):
            self._keep(run)
        elif self._waited >= self.patience:
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

    def _improves(self, record: EpochRecord) -> bool:
        """Whether the epoch is the best so far; counts the epochs since. NaN never is."""
        self._watched = choose_monitor(record, self._watched)
        value = MONITORS[self._watched] * getattr(record, self._watched)
        better = value > self._best + self.min_delta
        if better:
            self._best, self.best_epoch = value, record.epoch
        self._waited = 0 if better else self._waited + 1
        return bool(better)


class Checkpoint(Callback):
    """Write all that resuming needs into one file, replaced whole or not at all.

    Parameters
    ----------
    path : path-like
        Always the same file; its folder must exist.
    every : int
        Epochs between two writings; the last epoch planned is always written.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = Path(path)
        self.every = whole("every", every)

    def on_fit_begin(self, run: Run) -> None:
        """Refuse a place that cannot be written before any time is spent."""
        if not self.path.parent.is_dir():
            raise DataError(f"checkpoint {self.path}: the folder {self.path.parent} is missing.")
        if self.path.is_dir():
            raise DataError(f"checkpoint {self.path} is a folder: name a file.")

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Write when it is due."""
        if record.epoch % self.every == 0 or record.epoch == run.epochs:
            run.save_checkpoint(self.path)


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

"""Short trainings: the same rows, with and without a cure, measured in the same way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.coding import TargetCoding
from nbmlp.data import Given
from nbmlp.errors import DataError, NonFiniteError
from nbmlp.failures.explain import explain
from nbmlp.names import Loss
from nbmlp.net import Net
from nbmlp.optimizers import LBFGS
from nbmlp.predict import Predictor
from nbmlp.settings import Settings
from nbmlp.train.callbacks import Callback, CallbackList, Run
from nbmlp.train.engine import Engine
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.loop import Loop, Validation

__all__ = ["Outcome", "Samples", "Trainer", "error_of", "log_losses", "name_of_error"]

#: Probabilities below this count as this: one row must not outweigh all others.
_LEAST = 1e-6


@dataclass(frozen=True)
class Samples:
    """Rows to train on and rows to measure on.

    Attributes
    ----------
    given : Given
        To train on; knows the numbers of its rows in the user's data.
    held : Given
        To measure on.
    """

    given: Given
    held: Given

    def __len__(self) -> int:
        return len(self.y)

    @property
    def y(self) -> NDArray[Any]:
        """Targets of the training rows."""
        return np.asarray(self.given.y)

    @property
    def y_val(self) -> NDArray[Any]:
        """Targets of the rows to measure on."""
        return np.asarray(self.held.y)

    def numbers(self, rows: NDArray[Any]) -> tuple[int, ...]:
        """What some training rows are called in the user's data."""
        return tuple(self.given.names.row_numbers(rows).tolist())

    def take(self, rows: NDArray[Any]) -> Samples:
        """Some of the training rows, by their place here."""
        return replace(self, given=self.given.take(rows))

    def without_columns(self, columns: tuple[int, ...]) -> Samples:
        """The same rows without some columns of a matrix."""
        kept = np.setdiff1d(np.arange(self.given.X.shape[1]), columns)
        given, held = (
            replace(part, X=part.X[:, kept], names=part.names.take_columns(kept))
            for part in (self.given, self.held)
        )
        return Samples(given, held)


def error_of(coding: TargetCoding, y: NDArray[Any], outputs: NDArray[Any], loss: Loss) -> float:
    """How wrong outputs are, whatever loss they were trained with; lower is better.

    Classes: mean of -log(probability of the right one), outputs made to sum to one. Numbers:
    mean squared error over the targets' variance; mean absolute error over the mean absolute
    deviation for the losses that are absolute in their tails.
    """
    if not np.isfinite(outputs).all():
        return float("inf")
    if coding.labels is not None:
        return float(log_losses(coding.labels.encode(y), outputs).mean())
    truth = np.asarray(y, np.float64).reshape(len(y), -1)
    residual = truth - coding.decode(outputs).astype(np.float64).reshape(truth.shape)
    spread = truth - truth.mean(axis=0)
    with np.errstate(over="ignore"):
        if loss.absolute:
            ratio = np.abs(residual).mean(axis=0) / _positive(np.abs(spread).mean(axis=0))
        else:
            ratio = np.square(residual).mean(axis=0) / _positive(np.square(spread).mean(axis=0))
    return float(ratio.mean())


def name_of_error(coding: TargetCoding, loss: Loss) -> str:
    """What :func:`error_of` measures."""
    if coding.labels is not None:
        return "log loss"
    if loss.absolute:
        return "absolute error / deviation"
    return "squared error / variance"


def _positive(values: NDArray[Any]) -> NDArray[Any]:
    return np.where(values > 0, values, 1.0)


def log_losses(codes: NDArray[Any], outputs: NDArray[Any]) -> NDArray[np.float64]:
    """-log(probability of the right class) of each row, (rows,)."""
    p = np.clip(outputs.astype(np.float64), 0.0, 1.0)
    if p.shape[1] == 1:
        p = np.hstack([1 - p, p])
    total = p.sum(axis=1, keepdims=True)
    p = np.where(total > 0, p / _positive(total), 1.0 / p.shape[1])
    right = p[np.arange(len(codes)), codes]
    return np.asarray(-np.log(np.maximum(right, _LEAST)))


@dataclass
class Outcome:
    """One training.

    Attributes
    ----------
    error : float
        At its end, on the validation rows; infinite if it failed.
    train_error : float
        Likewise on some of the training rows.
    curve : list of float
        The error after each epoch.
    losses : list of float
        Training loss of each epoch, without penalty.
    net : Net
        As trained; with the last good weights if training failed.
    failure : NonFiniteError or None
    epochs : int
        Done.
    cut_short : bool
        Time ran out before the planned epochs.
    seconds : float
    """

    error: float
    train_error: float
    curve: list[float]
    losses: list[float]
    net: Net
    failure: NonFiniteError | None
    epochs: int
    cut_short: bool
    seconds: float


@dataclass
class _Deadline(Callback):
    """Ends a training when its time is over."""

    seconds: float
    reached: bool = field(default=False, init=False)

    def on_fit_begin(self, run: Run) -> None:
        self._begin: float | None = None

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        now = time.perf_counter()
        self._begin = now - record.seconds if self._begin is None else self._begin
        if now - self._begin > self.seconds and record.epoch < run.epochs:
            self.reached = True
            run.stop("the trial's time is over")


class Trainer:
    """Trains settings on samples and measures the result.

    Parameters
    ----------
    samples : Samples
    classes : array-like or None
        All labels, where a sample may lack some.

    Attributes
    ----------
    count : int
        Trainings so far.
    """

    def __init__(self, samples: Samples, classes: Any) -> None:
        self.samples, self._classes, self.count = samples, classes, 0

    def net(self, settings: Settings, samples: Samples | None = None) -> Net:
        """A net with first weights for the samples."""
        samples = samples or self.samples
        return Net.learn(settings, samples.given.X, samples.y, self._classes)

    def train(
        self,
        settings: Settings,
        samples: Samples | None = None,
        epochs: int | None = None,
        seconds: float = float("inf"),
    ) -> Outcome:
        """Train from first weights.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C ended the training.
        """
        self.count += 1
        samples = samples or self.samples
        net = self.net(settings, samples)
        train = settings.train
        batch = train.batch_size
        if batch is not None and batch > len(samples):
            train = train.with_(batch_size=None)
        epochs = epochs or train.epochs
        given, aside = samples.given, samples.held
        rows = net.weighted(net.rows_of(given), settings.class_weight)
        held = net.rows(aside.X, aside.y, names=aside.names)
        threads = train.threads or tuning.available_threads()
        predictor = Predictor(net.spec, net.state.plan, net.state, threads)
        full = isinstance(train.optimizer, LBFGS)

        def score(outputs: NDArray[Any]) -> float:
            return -error_of(net.coding, samples.y_val, outputs, net.spec.loss_function.row)

        history, deadline = History(), _Deadline(seconds)
        loop = Loop(
            None, train, epochs, net.state, len(rows),
            lambda: Engine(net.spec, train, net.state, rows, threads, full, explain=explain),
            lambda: predictor, Validation(held, score), history, _no_checkpoint, {},
        )  # fmt: skip
        failure = None
        began = time.perf_counter()
        try:
            loop.fit(CallbackList([deadline]))
        except NonFiniteError as error:
            failure = error
        except DataError as error:  # predictions that are not finite
            failure = NonFiniteError(str(error), step=net.state.step)
        if history.stop_reason == "interrupted":
            raise KeyboardInterrupt
        curve = [-float(v) for v in history.val_score]
        train_error = self._train_error(net, predictor, samples)
        return Outcome(
            float("inf") if failure or not curve else curve[-1], train_error, curve,
            list(history.data_loss), net, failure, net.state.epoch, deadline.reached,
            time.perf_counter() - began,
        )  # fmt: skip

    def _train_error(self, net: Net, predictor: Predictor, samples: Samples) -> float:
        """On as many training rows as there are validation rows, at most."""
        few = np.arange(min(len(samples), max(len(samples.y_val), 500)))
        part = samples.given.take(few)
        try:
            outputs = predictor.outputs(net.rows(part.X))
        except DataError:
            return float("inf")
        return error_of(net.coding, part.y, outputs, net.spec.loss_function.row)

    def outputs(self, net: Net, X: Any) -> NDArray[Any]:
        """Outputs (rows, n_outputs) of a net."""
        predictor = Predictor(net.spec, net.state.plan, net.state, tuning.available_threads())
        return predictor.outputs(net.rows(X))


def _no_checkpoint(path: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Trials leave no files."""

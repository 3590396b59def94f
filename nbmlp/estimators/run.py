"""A fit of an estimator as callbacks see it: nbmlp's own, and plain functions of the estimator."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from nbmlp.errors import SpecError
from nbmlp.estimators.updates import Updates
from nbmlp.train.callbacks import Callback, CallbackList, Progress, Run
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.statistics import NetStatistics, layer_statistics

__all__ = ["EstimatorRun", "as_callbacks"]


class _Function(Callback):
    """A function of the estimator, called after every epoch; True ends training."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        answer = self._function(run.model)
        if isinstance(answer, bool | np.bool_) and answer:
            run.stop("a callback has asked for the end")


def as_callbacks(value: object) -> CallbackList:
    """The parameter `callbacks`: one or several of nbmlp's callbacks or functions.

    Raises
    ------
    SpecError
        Something else is among them.
    """
    several = isinstance(value, Iterable)
    given: Any = [] if value is None else value if several else [value]
    own = [_Function(c) if callable(c) and not isinstance(c, type) else c for c in given]
    return CallbackList(own)


class EstimatorRun:
    """One call of `fit` or `partial_fit`; a :class:`~nbmlp.train.callbacks.Run`.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
    updates : Updates
        Of its weights.
    epochs : int
        Planned at most.
    """

    phase = "training"

    def __init__(self, model: Any, updates: Updates, epochs: int) -> None:
        self.model, self.epochs, self.n_samples = model, epochs, updates.n_rows
        self.history = History(score_name="accuracy" if is_classifier(model) else "R2")
        self._updates, self._callbacks = updates, as_callbacks(model.callbacks)

    # -- what callbacks may do

    @property
    def rows_done(self) -> int:
        """Rows of the epoch at hand that have been trained on."""
        return self._updates.engine.rows_done

    def stop(self, reason: str) -> None:
        """End training after this epoch."""
        self.history.stop_reason = reason

    def get_weights(self) -> NDArray[Any]:
        """A flat copy of all parameters."""
        return self._updates.weights.state.get_flat()

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Put such a copy back."""
        self._updates.weights.state.set_flat(weights)

    def look(self) -> NetStatistics:
        """What the net does with the first of the training rows, layer by layer."""
        engine = self._updates.engine
        return layer_statistics(
            engine.spec, engine.train, engine.state, engine.rows, engine.explain
        )  # fmt: skip

    def save_checkpoint(self, path: Path) -> None:
        """Refused: what resuming an estimator needs is not in the native model's files."""
        raise SpecError(
            f"{path}: checkpoints are for nbmlp.MLP; keep an estimator with joblib.dump, from a"
            " function given as a callback."
        )

    @property
    def stopped(self) -> bool:
        """Whether training ends after this epoch."""
        return bool(self.history.stop_reason)

    # -- what the estimator tells

    @contextmanager
    def around(self) -> Iterator[None]:
        """Begin the callbacks, and end those that began."""
        with self._callbacks.around(self):
            yield

    def train(self, rate: float, order: NDArray[Any] | None) -> float:
        """One epoch's updates; returns their loss."""
        self._began, self._rate = time.perf_counter(), rate
        loss = self._updates.epoch(rate, order, self._within if self._callbacks.callbacks else None)
        self._trained = time.perf_counter() - self._began
        return loss

    def _within(self) -> None:
        engine, seconds = self._updates.engine, time.perf_counter() - self._began
        speed = engine.rows_done / max(seconds, 1e-9)
        epoch, loss = len(self.history) + 1, self._updates.loss_so_far
        progress = Progress(epoch, engine.rows_done, self.n_samples, speed, loss)
        self._callbacks.on_progress(self, progress)

    def after_epoch(self, val_loss: float | None, val_score: float | None) -> None:
        """Tell the callbacks."""
        if not self._callbacks.callbacks:
            return
        penalty = self._updates.penalty
        record = EpochRecord(
            epoch=len(self.history) + 1, data_loss=self.model.loss_ - penalty, penalty=penalty,
            val_loss=val_loss, val_score=val_score, learning_rate=self._rate,
            samples_per_second=self.n_samples / max(self._trained, 1e-9),
            seconds=time.perf_counter() - self._began, threads=self._updates.engine.joined,
        )  # fmt: skip
        self.history.append(record)
        self._callbacks.on_epoch_end(self, record)

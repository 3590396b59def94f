"""The driver of epochs: one after another through an engine, counted, recorded, told to callbacks.

The native loop and scikit-learn's estimators both train by it. What they do on their own is when an
epoch begins and with which rates, how its loss is counted, and what a failure means.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import TrainingWarning
from nbmlp.schedules import OnPlateau
from nbmlp.spec import TrainSpec
from nbmlp.state import State
from nbmlp.train.callbacks import CallbackList, Progress
from nbmlp.train.engine import Engine
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.hosts.fence import NO_FENCE
from nbmlp.train.statistics import NetStatistics, layer_statistics

__all__ = ["Epochs", "Factors", "factors_of"]


class Factors(NamedTuple):
    """What else each update of an epoch takes: factors on decay, and on the shares dropped."""

    decays: NDArray[np.float64] | None = None
    drops: NDArray[np.float64] | None = None


_NO_FACTORS = Factors()


def factors_of(
    train: TrainSpec, steps: NDArray[np.float64], per_epoch: int, epochs: int
) -> Factors:
    """Of updates with these numbers, by the schedules of a training of so many epochs."""
    others = train.decay_schedule, train.dropout_schedule
    return Factors(*[s.factor(steps, per_epoch, epochs * per_epoch) if s else None for s in others])


def _mean_loss(engine: Engine) -> float:
    return engine.mean_loss


class Epochs:
    """Epochs of one training; what callbacks see as their :class:`~nbmlp.train.callbacks.Run`.

    Parameters
    ----------
    model : object
        For callbacks.
    state : State
        Counts the epochs.
    history : History
        Appended to.
    epochs : int
        To end after, those of earlier calls included.
    n_samples : int
        Rows of an epoch.
    callbacks : CallbackList
    build : callable
        Builds (or hands out) the engine, when it is first needed.
    save : callable
        Given these epochs and a path, writes a checkpoint there, or refuses to.
    loss_so_far : callable
        Given the engine, the mean loss of its epoch's rows so far, without penalty.

    Attributes
    ----------
    phase : str
        ``"compiling"`` until there is an engine, then ``"training"``.
    stop_reason : str
        Why somebody has asked for the end; empty as long as nobody has.
    resumed_rows : int
        Rows of the epoch that is to be gone on with; 0 as soon as it is.
    check : callable
        Called before each region; may raise.
    seconds, trained : float
        Of the epoch at hand, in all and in the engine.
    fence : Fence
        Who may write what belongs to this training.
    """

    def __init__(
        self,
        model: Any,
        state: State,
        history: History,
        epochs: int,
        n_samples: int,
        callbacks: CallbackList,
        build: Callable[[], Engine],
        save: Callable[[Epochs, Path], None],
        loss_so_far: Callable[[Engine], float] = _mean_loss,
    ) -> None:
        self.model, self.history, self.epochs, self.n_samples = model, history, epochs, n_samples
        self.callbacks, self.phase, self.stop_reason = callbacks, "compiling", ""
        self.resumed_rows, self.trained, self.fence = 0, 0.0, NO_FENCE
        self.check: Callable[[], None] = lambda: None
        self._state, self._build, self._save, self._loss_so_far = state, build, save, loss_so_far
        self._engine: Engine | None = None
        self._skipped_before, self._began = history.batches_skipped, time.perf_counter()
        self._rates, self._factors = np.zeros(1), _NO_FACTORS

    # -- what callbacks may do

    def stop(self, reason: str) -> None:
        """End training after this epoch."""
        self.stop_reason = reason

    def get_weights(self) -> NDArray[Any]:
        """A flat copy of all parameters."""
        return self._state.get_flat()

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Put such a copy back."""
        self._state.set_flat(weights)

    def look(self) -> NetStatistics:
        """What the net does with the first of the training rows, layer by layer."""
        engine = self.bind()
        return layer_statistics(
            engine.spec, engine.train, engine.state, engine.rows, engine.explain
        )  # fmt: skip

    @property
    def rows_done(self) -> int:
        """Rows of the epoch at hand that have been trained on."""
        if self.resumed_rows or self._engine is None:
            return self.resumed_rows
        return self._engine.rows_done

    def save_checkpoint(self, path: Path) -> None:
        """Write all that resuming needs, whole or not at all.

        Raises
        ------
        SpecError
            A batch is half done, or such a training cannot be resumed.
        """
        self._save(self, path)

    # -- the course of an epoch

    @property
    def engine(self) -> Engine | None:
        """The engine, once there is one."""
        return self._engine

    def bind(self) -> Engine:
        """The engine; built on first use, which compiles what the spec needs."""
        if self._engine is None:
            self._engine = self._build()
            self.phase = "training"
        return self._engine

    def begin(
        self,
        rates: NDArray[np.float64],
        trained: float = 0.0,
        seconds: float = 0.0,
        factors: Factors = _NO_FACTORS,
    ) -> None:
        """Start the clock of an epoch with these learning rates, one for each update.

        One that is gone on with has already taken some time.
        """
        self._rates, self.trained, self._factors = rates, trained, factors
        self._began = time.perf_counter() - seconds

    def start(self, order: NDArray[np.int64] | None = None) -> None:
        """Bring the engine to the epoch's first row; see :meth:`Engine.start_epoch`."""
        self.bind().start_epoch(self._rates, order, *self._factors)

    def train(self) -> None:
        """All updates up to the epoch's end, with news for the callbacks a few times a second."""
        engine, over = self.bind(), False
        while not over:
            self.check()
            began = time.perf_counter()
            over = engine.region()
            self.trained += time.perf_counter() - began
            self.history.batches_skipped = self._skipped_before + engine.skipped
            if self.callbacks.callbacks:  # else it would take longer than a small net's epoch
                self.callbacks.on_progress(self, self._progress(engine))

    def record(
        self,
        data_loss: float,
        penalty: float,
        val_loss: float | None = None,
        val_score: float | None = None,
    ) -> None:
        """Count the epoch and append it to the history, tell the callbacks."""
        engine, state = self.bind(), self._state
        state.epoch += 1
        record = EpochRecord(
            epoch=state.epoch, data_loss=data_loss, penalty=penalty,
            val_loss=val_loss, val_score=val_score, learning_rate=float(self._rates[-1]),
            samples_per_second=self.n_samples / max(self.trained, 1e-9),
            seconds=self.seconds, threads=engine.joined, gradient_norms=engine.gradient_norms(),
        )  # fmt: skip
        schedule = engine.train.schedule
        if isinstance(schedule, OnPlateau):
            watched = record.train_loss if val_loss is None else val_loss
            state.plateau = schedule.after_epoch(state.plateau, watched)
        self.history.append(record)
        self.callbacks.on_epoch_end(self, record)

    @property
    def seconds(self) -> float:
        """Since the epoch at hand began."""
        return time.perf_counter() - self._began

    def announce(self) -> None:
        """Tell the callbacks which epoch comes, and whether kernels have to be compiled first."""
        epoch = self._state.epoch + 1
        self.callbacks.on_progress(
            self, Progress(epoch, self.resumed_rows, self.n_samples, 0.0, math.nan)
        )  # fmt: skip

    def _progress(self, engine: Engine) -> Progress:
        speed = engine.rows_done / max(self.trained, 1e-9)
        return Progress(
            self._state.epoch + 1, engine.rows_done, self.n_samples, speed,
            self._loss_so_far(engine), engine.between_batches,
        )  # fmt: skip

    # -- the end

    def finish(self) -> None:
        """Write down why training has ended."""
        self.history.stop_reason = self.stop_reason or "epochs done"

    def warn_of_skipped(self, stacklevel: int) -> None:
        """Say what was left out of the training, if anything was."""
        engine = self.bind()
        if engine.skipped:
            batches = f"{engine.skipped} batch{'es' * (engine.skipped > 1)}"
            sentence = f"{batches} with NaN or infinite values left out; the first: "
            warnings.warn(
                f"{sentence}{engine.first_skip}", TrainingWarning, stacklevel=stacklevel + 1
            )  # fmt: skip

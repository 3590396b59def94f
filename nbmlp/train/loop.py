"""Epochs, validation, history, callbacks: plan -> workspace -> epochs -> history."""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import DataError, NonFiniteError, SpecError, TrainingWarning
from nbmlp.optimizers import LBFGS
from nbmlp.predict import Predictor, Rows
from nbmlp.schedules import Constant, Cosine, OneCycle, OnPlateau, warmup_factor
from nbmlp.spec import TrainSpec
from nbmlp.state import State
from nbmlp.train.callbacks import CallbackList, Progress
from nbmlp.train.engine import Engine
from nbmlp.train.epochs import describe_skipped
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.interrupt import Interrupt, Interrupted
from nbmlp.train.lbfgs import minimise
from nbmlp.train.statistics import NetStatistics, layer_statistics

__all__ = ["Loop", "Validation", "check_rows", "without_horizon"]

Arrays = Mapping[str, NDArray[Any]]
_FIRST_WEIGHTS = "lbfgs.first"
#: Where an epoch stands: the arrays of the engine, and seconds.
_EPOCH = "epoch."


@dataclass(frozen=True)
class Validation:
    """Data to validate on, and the score of outputs on them (larger is better)."""

    rows: Rows
    score: Callable[[NDArray[Any]], float]


class Loop:
    """One call of fit: what callbacks see as their run.

    Parameters
    ----------
    model : MLP
        For callbacks.
    train : TrainSpec
    epochs : int
        To end after, those of earlier calls included.
    state : State
    n_samples : int
        Rows of an epoch.
    engine, predictor : callables
        Build (or hand out) an engine over the data, and a predictor of the same state.
    validation : Validation or None
    history : History
        Appended to.
    save_checkpoint : callable
        Given a path and arrays to keep, writes the model's checkpoint there.
    carried : mapping of str to ndarray
        The arrays of the checkpoint that is resumed from; empty when none is.
    """

    def __init__(
        self,
        model: Any,
        train: TrainSpec,
        epochs: int,
        state: State,
        n_samples: int,
        engine: Callable[[], Engine],
        predictor: Callable[[], Predictor],
        validation: Validation | None,
        history: History,
        save_checkpoint: Callable[[Path, Arrays], None],
        carried: Arrays,
    ) -> None:
        self.model, self.history, self.epochs = model, history, epochs
        self.n_samples, self.phase = n_samples, "compiling"
        self._train, self._state, self._validation = train, state, validation
        self._build_engine, self._build_predictor = engine, predictor
        self._save_checkpoint, self._stop_reason = save_checkpoint, ""
        self._callbacks, self._carried = CallbackList(), carried
        #: Where the epoch stands that the next one goes on with; empty once it has.
        self._place = {k[len(_EPOCH) :]: a for k, a in carried.items() if k.startswith(_EPOCH)}
        self._began = self._trained = 0.0  # when the epoch did; seconds in regions
        self._skipped_before = history.batches_skipped
        #: Where an L-BFGS run began, which resuming it starts from; None before it begins.
        self.first_weights = carried.get(_FIRST_WEIGHTS)
        #: What was not finite: that which ended training, or the first batch left out.
        self.failure: NonFiniteError | None = None
        self._engine: Engine | None = None
        self._predictor: Predictor | None = None

    # -- what callbacks may do

    def stop(self, reason: str) -> None:
        """End training after this epoch."""
        self._stop_reason = reason

    def get_weights(self) -> NDArray[Any]:
        """A flat copy of all parameters."""
        return self._state.get_flat()

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Put such a copy back."""
        self._state.set_flat(weights)

    def look(self) -> NetStatistics:
        """What the net does with the first of the training rows, layer by layer."""
        engine = self.engine
        return layer_statistics(
            engine.spec, self._train, self._state, engine.rows, engine.explain
        )  # fmt: skip

    @property
    def rows_done(self) -> int:
        """Rows of the epoch at hand that have been trained on."""
        if self._place or self._engine is None:
            return int(self._place["rows"][0]) if "rows" in self._place else 0
        return self._engine.rows_done

    def save_checkpoint(self, path: Path) -> None:
        """Write all that resuming needs, whole or not at all.

        Raises
        ------
        SpecError
            A batch is half done.
        """
        arrays = self._callbacks.carry()
        arrays |= {_EPOCH + name: array for name, array in self._where().items()}
        if self.first_weights is not None:
            arrays[_FIRST_WEIGHTS] = self.first_weights
        self._save_checkpoint(path, arrays)

    def _where(self) -> Arrays:
        """Where the epoch stands."""
        engine = self._engine
        if self._place or engine is None:
            return self._place
        if not engine.between_batches and 0 < engine.rows_done < self.n_samples:
            raise SpecError(
                "a checkpoint cannot be written while a batch is half done: wait until"
                " progress.between_batches, or for the end of the epoch."
            )
        found = engine.carry()
        if engine.between_batches:
            found["seconds"] = np.array([self._trained, time.perf_counter() - self._began])
        return found

    @property
    def stop_reason(self) -> str:
        """Why somebody has asked for the end; empty as long as nobody has."""
        return self._stop_reason

    # -- the loop

    @property
    def engine(self) -> Engine:
        """The bound engine; built on first use, which compiles what the spec needs."""
        return self._bind()

    def _bind(self) -> Engine:
        if self._engine is None:
            self._engine = self._build_engine()
            if self._validation:
                self._predictor = self._build_predictor()
            self.phase = "training"
        return self._engine

    def fit(self, callbacks: CallbackList) -> None:
        """Train until the planned epoch, a callback's stop or Ctrl-C; raise what goes wrong."""
        self._callbacks = callbacks
        with Interrupt() as interrupt, callbacks.around(self):
            callbacks.restore(self._carried)
            first = Progress(
                self._state.epoch + 1, self.rows_done, self.n_samples, 0.0, math.nan
            )  # fmt: skip
            callbacks.on_progress(self, first)
            self._prepare()
            callbacks.on_progress(self, first)  # compiled: the first epoch may take a while
            try:
                if isinstance(self._train.optimizer, LBFGS):
                    minimise(self, self.engine, callbacks, interrupt)
                while self._state.epoch < self.epochs and not self._stop_reason:
                    self._one_epoch(callbacks, interrupt)
            except Interrupted as end:
                self.stop(str(end))
            except NonFiniteError as error:
                self.failure = error
                if self._train.on_nonfinite != "warn":
                    raise
                self.stop(str(error))
                warnings.warn(f"training stopped: {error}", TrainingWarning, stacklevel=4)
            self._tell_of_skipped()
            self.history.stop_reason = self._stop_reason or "epochs done"

    def _tell_of_skipped(self) -> None:
        if sentence := describe_skipped(self.engine):
            self.failure = self.failure or self.engine.first_skip
            warnings.warn(sentence, TrainingWarning, stacklevel=5)

    def _prepare(self) -> None:
        """Compile before the clock of the first epoch starts."""
        self._bind()
        if self._validation and self._predictor:
            self._predictor.outputs_and_loss(self._validation.rows.first(1))

    def _one_epoch(self, callbacks: CallbackList, interrupt: Interrupt) -> None:
        engine, last_rate, over = self.engine, self._start_epoch(), False
        while not over:
            interrupt.check()
            began = time.perf_counter()
            over = engine.region()
            self._trained += time.perf_counter() - began
            self.history.batches_skipped = self._skipped_before + engine.skipped
            callbacks.on_progress(self, self._progress())
        self.record(
            callbacks, interrupt, engine.mean_loss, last_rate, self._trained, self._began
        )  # fmt: skip

    def _start_epoch(self) -> float:
        """Begin an epoch, or go on where one stands; returns the rate of its last update."""
        engine, place = self.engine, self._place
        self._trained, passed = place["seconds"].tolist() if "rows" in place else (0.0, 0.0)
        self._began = time.perf_counter() - passed
        if place:
            self._state.step -= self.rows_done // engine.batch  # to the first one of the epoch
        rates = self._rates()
        engine.start_epoch(rates)
        if place:
            engine.resume(place)
            self._place = {}
        return float(rates[-1])

    def _progress(self) -> Progress:
        engine = self.engine
        speed = engine.rows_done / max(self._trained, 1e-9)
        return Progress(
            self._state.epoch + 1, engine.rows_done, self.n_samples, speed, engine.mean_loss,
            engine.between_batches,
        )  # fmt: skip

    def _rates(self) -> NDArray[np.float64]:
        """Learning rate of each of the next epoch's updates."""
        train, per_epoch = self._train, self.engine.steps_per_epoch
        steps = self._state.step + np.arange(per_epoch, dtype=np.float64)
        factor = train.schedule.factor(steps, per_epoch, self.epochs * per_epoch)
        factor = factor * warmup_factor(steps, train.warmup * per_epoch)
        rate = train.learning_rate_for(self.engine.batch)
        return rate * factor * self._state.plateau.factor

    def record(
        self,
        callbacks: CallbackList,
        interrupt: Interrupt,
        data_loss: float,
        rate: float,
        trained: float,
        start: float,
    ) -> None:
        """Validate, count the epoch and append it to the history, tell the callbacks."""
        engine, val_loss, val_score = self.engine, None, None
        if self._validation and self._predictor:
            outputs, val_loss = self._predictor.outputs_and_loss(
                self._validation.rows, interrupt.check
            )
            val_score = self._validation.score(outputs)
        self._state.epoch += 1
        record = EpochRecord(
            epoch=self._state.epoch, data_loss=data_loss, penalty=engine.penalty(),
            val_loss=val_loss, val_score=val_score, learning_rate=rate,
            samples_per_second=self.n_samples / max(trained, 1e-9),
            seconds=time.perf_counter() - start, threads=engine.joined,
            gradient_norms=engine.gradient_norms(),
        )  # fmt: skip
        if isinstance(self._train.schedule, OnPlateau):
            watched = record.train_loss if val_loss is None else val_loss
            self._state.plateau = self._train.schedule.after_epoch(self._state.plateau, watched)
        self.history.append(record)
        callbacks.on_epoch_end(self, record)


def check_rows(carried: Arrays, n_samples: int) -> None:
    """Refuse to go on with an epoch over another number of rows.

    Raises
    ------
    DataError
    """
    rows = carried.get(f"{_EPOCH}rows", (0, n_samples))
    if rows[1] != n_samples:
        raise DataError(
            f"the checkpoint was written within an epoch over {rows[1]} rows, and these are"
            f" {n_samples}: resume with the same data."
        )


@functools.lru_cache
def without_horizon(train: TrainSpec) -> TrainSpec:
    """The same training for calls whose end is unknown: schedules over a whole training off."""
    if isinstance(train.schedule, Cosine | OneCycle):
        return train.with_(schedule=Constant())
    return train

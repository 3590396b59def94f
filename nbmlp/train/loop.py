"""The native training: schedule, validation, Ctrl-C and failures around the driver of epochs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import NonFiniteError, TrainingWarning
from nbmlp.optimizers import LBFGS
from nbmlp.predict import Predictor, Rows
from nbmlp.schedules import Constant, Schedule, warmup_factor
from nbmlp.spec import TrainSpec
from nbmlp.state import State, whole_slots
from nbmlp.train.callbacks import CallbackList
from nbmlp.train.engine import Engine
from nbmlp.train.epochs import Epochs, Factors, factors_of
from nbmlp.train.history import History
from nbmlp.train.hosts import ALONE, Hosts
from nbmlp.train.interrupt import Interrupt, Interrupted
from nbmlp.train.lbfgs import minimise
from nbmlp.train.resume import Arrays, Resume
from nbmlp.train.standard import checkpoints_among

__all__ = ["Loop", "Validation", "without_horizon"]


@dataclass(frozen=True)
class Validation:
    """Data to validate on, and the score of outputs on them (larger is better)."""

    rows: Rows
    score: Callable[[NDArray[Any]], float]


class Loop:
    """One call of fit.

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
    hosts : Hosts
        Who trains together.
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
        hosts: Hosts = ALONE,
    ) -> None:
        self._train, self._state, self._validation = train, state, validation
        self._build_engine, self._build_predictor = engine, predictor
        self._resume, self._hosts = Resume(carried, save_checkpoint), hosts
        self._of_run = model, state, history, epochs, n_samples
        self._predictor: Predictor | None = None
        self._check: Callable[[], None] = lambda: None
        #: What was not finite: that which ended training, or the first batch left out.
        self.failure: NonFiniteError | None = None

    def fit(self, callbacks: CallbackList) -> None:
        """Train until the planned epoch, a callback's stop or Ctrl-C; raise what goes wrong."""
        run = Epochs(*self._of_run, callbacks, self._build, self._resume.save)
        run.resumed_rows = self._resume.rows_done
        run.fence = self._hosts.fence(checkpoints_among(callbacks), self._resume.carried)
        led = self._hosts.led(self._state)
        with led, Interrupt() as interrupt, callbacks.around(run):
            run.check = self._hosts.interruptible(interrupt.check)
            if self._hosts.size == 1:  # else all have to be interrupted at the same place
                self._check = interrupt.check
            callbacks.restore(self._resume.carried)
            run.stop_reason = self._hosts.agree(run.stop_reason)[0]  # resumed behind its end
            run.announce()
            self._state.begin_updates(self._train.ema is not None)
            try:
                self._prepare(run)
                run.announce()  # compiled: the first epoch may take a while
                self._epochs(run)
                run.bind().make_whole()
            finally:
                whole_slots(self._state, self._train.optimizer)
                self._state.end_updates()
            run.warn_of_skipped(stacklevel=4)
            self.failure = self.failure or run.bind().first_skip
            run.finish()

    def _build(self) -> Engine:
        engine = self._build_engine()
        if self._validation:
            self._predictor = self._build_predictor()
        return engine

    def _prepare(self, run: Epochs) -> None:
        """Compile before the clock of the first epoch starts."""
        run.bind()
        if self._validation and self._predictor:
            rows = self._validation.rows
            at = min(self._hosts.part(len(rows))[0], len(rows) - 1)
            self._predictor.outputs_and_loss(rows.between(at, at + 1))

    def _epochs(self, run: Epochs) -> None:
        try:
            if isinstance(self._train.optimizer, LBFGS):
                minimise(run, self._resume, functools.partial(self._record, run))
            while self._state.epoch < run.epochs and not run.stop_reason:
                self._one_epoch(run)
        except Interrupted as end:
            run.stop(str(end))
        except NonFiniteError as error:
            self.failure = error
            if self._train.on_nonfinite != "warn":
                raise
            run.stop(str(error))
            warnings.warn(f"training stopped: {error}", TrainingWarning, stacklevel=5)

    def _one_epoch(self, run: Epochs) -> None:
        """Train an epoch, or the rest of one that is gone on with."""
        engine = run.bind()
        self._state.step -= run.resumed_rows // engine.batch  # to the first one of the epoch
        rates, factors = self._paces(engine, run.epochs)
        run.begin(rates, *self._resume.seconds, factors)
        run.start()
        self._resume.go_on(engine)
        run.resumed_rows = 0
        run.train()
        self._record(run, engine.mean_loss)

    def _paces(self, engine: Engine, epochs: int) -> tuple[NDArray[np.float64], Factors]:
        """Learning rate of each of the next epoch's updates, and factors on what else changes."""
        train, per_epoch = self._train, engine.steps_per_epoch
        steps = self._state.step + np.arange(per_epoch, dtype=np.float64)
        factor = train.schedule.factor(steps, per_epoch, epochs * per_epoch)
        factor = factor * warmup_factor(steps, train.warmup * per_epoch)
        rates = engine.learning_rate * factor * self._state.plateau.factor
        return rates, factors_of(train, steps, per_epoch, epochs)

    def _record(self, run: Epochs, data_loss: float) -> None:
        """Validate, and end the epoch."""
        penalty = run.bind().penalty()
        with self._state.between_updates(), self._hosts.led(self._state):
            run.record(data_loss, penalty, *self._validate())
            run.stop_reason = self._hosts.agree(run.stop_reason)[0]

    def _validate(self) -> tuple[float | None, float | None]:
        """Loss and score of the validation rows, if there are any."""
        if not (self._validation and self._predictor):
            return None, None
        rows = self._validation.rows
        outputs, loss = self._hosts.outputs_and_loss(self._predictor, rows, self._check)
        return loss, self._validation.score(outputs)


@functools.lru_cache
def without_horizon(train: TrainSpec) -> TrainSpec:
    """The same training for calls whose end is unknown: schedules over a whole training off."""
    rest = {"schedule": Constant(), "dropout_schedule": None, "decay_schedule": None}
    over = {name: value for name, value in rest.items() if _of_the_whole(getattr(train, name))}
    return train.with_(**over) if over else train


def _of_the_whole(schedule: Schedule | None) -> bool:
    return schedule is not None and schedule.of_the_whole

"""One net in training: a stretch of epochs at a time, with nothing but vectors of its own between.

Buffers belong to who trains it, and data to all: between two stretches a net has its parameters,
the optimizer's vectors, the best parameters so far and their outputs on the held-out rows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import NonFiniteError
from nbmlp.failures.explain import explain
from nbmlp.init import initialise
from nbmlp.plan import make_plan
from nbmlp.predict import Predictor, Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, new_state
from nbmlp.tabular.criteria import Criterion, Truth
from nbmlp.train.callbacks import Callback, CallbackList, Progress, Run
from nbmlp.train.engine import Engine
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.interrupt import Interrupted
from nbmlp.train.loop import Loop, Validation

__all__ = ["FOUND", "TIME_LIMIT", "Fold", "Observer", "Rest", "Trainee"]

#: Why a net ended when the time for all of them was over.
TIME_LIMIT = "time limit"

#: What a trainee has found so far, as plain values.
FOUND = ("best", "best_epoch", "waited", "ended", "failure", "lagged")


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of one division, which all nets share.

    Attributes
    ----------
    train, held : tuple of Rows
        To train on and held out, as each column plan prepares them.
    truth : Truth
        Of those held out.
    places : ndarray of int64 or None
        Of those held out among all that were given; None where they were given apart.
    """

    train: tuple[Rows, ...]
    held: tuple[Rows, ...]
    truth: Truth
    places: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Rest:
    """All that going on with a net takes, as it was between two stretches.

    Attributes
    ----------
    epoch : int
        Epochs done.
    plain, counts : dict
        What it has found so far; of the state, what is no array.
    arrays : dict of str to ndarray
    history : dict
        See :meth:`History.to_dict`.
    """

    epoch: int
    plain: dict[str, Any]
    counts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    history: dict[str, Any]


class Observer(Protocol):
    """Who is told of epochs, from any thread."""

    def check(self) -> None:
        """Before each region; raises Interrupted where training is to end."""

    def after_epoch(self, trainee: Trainee, record: EpochRecord) -> bool:
        """After an epoch; whether the net is to pause."""


@dataclass(eq=False)
class Trainee:
    """A net of an ensemble-to-be on one fold.

    Attributes
    ----------
    member, fold, plan : int
        Whose settings it has, which rows, prepared by which column plan.
    spec, train : ModelSpec, TrainSpec
    patience : int
        See :class:`~nbmlp.tabular.recipe.Preset`.
    state : State or None
        None before the first epoch, and again after the last.
    history : History
    best : float
        Least value of the criterion; infinite before the first epoch.
    best_epoch, waited : int
    weights, outputs : ndarray or None
        Of the best epoch: flat parameters, and outputs (rows, outputs) on the held-out rows.
    ended : str
        Why it is not trained any longer; empty as long as it is.
    failure : str
        Where its values left the finite numbers and why, if they did.
    lagged : bool
        It was among the worst at a rung.
    rest : Rest or None
        What it was before the stretch that it is on.
    """

    member: int
    fold: int
    plan: int
    spec: ModelSpec
    train: TrainSpec
    patience: int
    state: State | None = None
    history: History = field(default_factory=History)
    best: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    weights: NDArray[Any] | None = None
    outputs: NDArray[Any] | None = None
    ended: str = ""
    failure: str = ""
    lagged: bool = False
    rest: Rest | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.history[-1].epoch if len(self.history) else 0

    @property
    def nbytes(self) -> int:
        """Bytes that it takes at most between two stretches, its history left out."""
        own = sum((b.rows * b.row for b in make_plan(self.spec, 1).blocks), 0)
        element = self.spec.element.compute_bytes
        vectors = 2 + len(self.train.optimizer.slots) + (self.train.ema is not None)
        return own * element * vectors

    def advance(
        self, fold: Fold, criterion: Criterion, until: int, threads: int, observer: Observer
    ) -> None:
        """Train up to that epoch at most, in buffers that are gone afterwards.

        A net that leaves the finite numbers ends with the best epoch that it had.
        """
        state = self.begin()
        watch = _Watch(self, criterion, fold.truth, until, observer)
        rows, held = fold.train[self.plan], fold.held[self.plan]
        validation = Validation(held, watch.take)
        loop = Loop(
            None, self.train, self.train.epochs, state, len(rows),
            lambda: Engine(self.spec, self.train, state, rows, threads, explain=explain),
            lambda: Predictor(self.spec, state.plan, state, threads),
            validation, self.history, _no_checkpoint, {},
        )  # fmt: skip
        try:
            loop.fit(CallbackList([watch]))
        except Interrupted:  # before its first region
            pass
        except NonFiniteError as error:
            self.failure = str(error)
            self.end("its values left the finite numbers")
        if watch.interrupted:
            self.end(watch.interrupted)
        elif self.ended or self.epoch >= self.train.epochs:
            self.end("epochs done")

    def at_rest(self) -> Rest:
        """Copies of what the next stretch changes; to be asked between two."""
        arrays: dict[str, NDArray[Any]] = {}
        counts: dict[str, Any] = {}
        if (state := self.state) is not None:
            arrays |= {"theta": state.trained.copy(), "slots": state.slots.copy()}
            if state.averaged:
                arrays["average"] = state.theta.copy()
            counts = {"step": state.step, "epoch": state.epoch, "plateau": asdict(state.plateau)}
        if self.weights is not None and self.outputs is not None:
            # Never written to: those of a better epoch take their place.
            arrays |= {"weights": self.weights, "outputs": self.outputs}
        plain = {name: getattr(self, name) for name in FOUND}
        return Rest(self.epoch, plain, counts, arrays, self.history.to_dict())

    def begin(self) -> State:
        """Its parameters; first ones before the first epoch."""
        if self.state is None:
            self.state = new_state(make_plan(self.spec, 1), self.train.optimizer)
            initialise(self.state, self.spec, self.train.seed)
        return self.state

    def end(self, reason: str) -> None:
        """Keep the best epoch alone."""
        self.ended, self.state = self.ended or reason, None

    def take(self, value: float, outputs: NDArray[Any], run: Run, epoch: int) -> None:
        """Compare an epoch with the best one so far. NaN never is."""
        if value < self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            self.weights, self.outputs = run.get_weights(), outputs
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.ended = f"early stopping at epoch {epoch}"


def _no_checkpoint(path: object, arrays: object) -> None:
    raise NotImplementedError("checkpoints are written of all nets together.")


class _Watch(Callback):
    """Keeps the best epoch of a net, and ends its stretch."""

    def __init__(
        self, trainee: Trainee, criterion: Criterion, truth: Truth, until: int, observer: Observer
    ) -> None:
        self._trainee, self._until, self._observer = trainee, until, observer
        self._criterion, self._truth = criterion, truth
        self._outputs: NDArray[Any] = np.empty(0)
        self._value = math.nan
        self.interrupted = ""

    def take(self, outputs: NDArray[Any]) -> float:
        """What the loop calls the score of a validation: larger is better."""
        finite = bool(np.isfinite(outputs).all())  # a label can be read from NaN, too
        self._outputs = outputs
        self._value = self._criterion(self._truth, outputs) if finite else math.nan
        return -self._value

    def on_progress(self, run: Run, progress: Progress) -> None:
        """Between two regions."""
        try:
            self._observer.check()
        except Interrupted as end:
            self.interrupted = str(end)
            raise

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """After the validation of an epoch."""
        trainee = self._trainee
        trainee.take(self._value, self._outputs, run, record.epoch)
        pause = self._observer.after_epoch(trainee, record)
        if trainee.ended or pause or record.epoch >= self._until:
            run.stop(trainee.ended or "paused")

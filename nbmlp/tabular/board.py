"""What callbacks see of many nets in training: one course of epochs, numbered as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nbmlp.errors import SpecError
from nbmlp.tabular.criteria import Criterion
from nbmlp.tabular.trainee import Trainee
from nbmlp.train.callbacks import Callback, CallbackList
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.hosts.fence import NO_FENCE
from nbmlp.train.statistics import NetStatistics

__all__ = ["STRETCH", "Board"]

#: Seconds of :attr:`Board.stretch`, if nobody wants others.
STRETCH = 10.0


class Board:
    """The :class:`~nbmlp.train.callbacks.Run` of a whole ensemble.

    Parameters
    ----------
    trainees : sequence of Trainee
    criterion : Criterion
        In whose sign the score of an epoch is told.
    n_samples : int
        Rows of an epoch.
    callbacks : Callback, callable or iterable of them, or None
    save : callable
        Writes a checkpoint of all.

    Attributes
    ----------
    history : History
        Epochs of all nets in the order in which they ended; those of a checkpoint, of which that
        is not known, by their numbers.
    trainee : Trainee or None
        Whose epoch the last one was.
    stop_reason : str
        Why a callback has asked for the end, or empty.
    pausing : bool
        A callback has asked for a pause: each net rests at the end of its epoch.
    model : object
        The estimator, if there is one.
    stretch : float
        Seconds after which a net rests for a moment, so that a checkpoint knows it as it is: a
        callback may shorten them.
    before : int
        Epochs that a checkpoint held, from which this training goes on.
    fence : Fence
        Who may write what belongs to this training.
    """

    def __init__(
        self,
        trainees: Sequence[Trainee],
        criterion: Criterion,
        n_samples: int,
        callbacks: object,
        save: Callable[[Path], None],
        model: Any = None,
    ) -> None:
        self._trainees, self._criterion, self._save = trainees, criterion, save
        self.n_samples, self.model = n_samples, model
        self.fence = NO_FENCE
        self.callbacks = CallbackList(_listed(callbacks))
        if any(c.of_one_net for c in self.callbacks.callbacks):
            raise _of_one_net()
        self.history = History(score_name=criterion.name)
        self.trainee: Trainee | None = None
        self.phase, self.rows_done, self.stop_reason = "training", 0, ""
        self.pausing, self.before, self.stretch = False, 0, STRETCH
        self._place = {id(trainee): net for net, trainee in enumerate(trainees)}

    @property
    def epochs(self) -> int:
        """Epochs of all nets, as far as it is known how long each is trained."""
        return sum(t.epoch if t.ended else t.train.epochs for t in self._trainees)

    def after_epoch(self, trainee: Trainee, record: EpochRecord) -> None:
        """Tell the callbacks; to be called by one thread at a time."""
        self.trainee = trainee
        self.callbacks.on_epoch_end(self, self._add(trainee, record))

    def _add(self, trainee: Trainee, record: EpochRecord) -> EpochRecord:
        """An epoch of a net as one of all of them."""
        value = None if record.val_score is None else -record.val_score * self._criterion.sign
        own = replace(
            record, epoch=len(self.history) + 1, net=self._place[id(trainee)],
            net_epoch=record.epoch, val_score=value,
        )  # fmt: skip
        self.history.append(own)
        return own

    def resume(self) -> None:
        """Take over the epochs that a checkpoint held."""
        done = [(record, trainee) for trainee in self._trainees for record in trainee.history]
        for record, trainee in sorted(done, key=lambda pair: pair[0].epoch):
            self._add(trainee, record)
        self.before = len(self.history)

    @property
    def lagged(self) -> list[int]:
        """Nets that were among the worst at a rung: they end, and never count."""
        return [net for net, trainee in enumerate(self._trainees) if trainee.lagged]

    @property
    def at_rest(self) -> int:
        """Epochs of all nets that a checkpoint written now would hold."""
        return sum(t.epoch if t.rest is None else t.rest.epoch for t in self._trainees)

    def stop(self, reason: str) -> None:
        """End the training of all nets."""
        self.stop_reason, self.pausing = reason, False

    def pause(self) -> None:
        """Let each net rest at the end of its epoch; a checkpoint holds all from then on."""
        self.pausing = True

    def save_checkpoint(self, path: Path) -> None:
        """Write all that resuming needs, whole or not at all."""
        self._save(path)

    def get_weights(self) -> NDArray[Any]:
        """Not of many nets."""
        raise _of_one_net()

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Not of many nets."""
        raise _of_one_net()

    def look(self) -> NetStatistics:
        """Not of many nets."""
        raise _of_one_net()


def _of_one_net() -> SpecError:
    return SpecError(
        "this callback is for one net: many are trained here, which stop by themselves."
    )


def _listed(callbacks: object) -> Any:
    """One callback may be given without a list around it."""
    if callbacks is None:
        return ()
    single = isinstance(callbacks, Callback) or callable(callbacks)
    return (callbacks,) if single else callbacks

"""What may happen at the borders of epochs: the interface, and the list that the loop calls.

Callbacks see the run's model and history, never the loop. Those that come with nbmlp are in
standard.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from nbmlp.errors import SpecError
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.statistics import NetStatistics

__all__ = [
    "Callback",
    "CallbackList",
    "FunctionCallback",
    "Progress",
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
        Mean loss on the data of the epoch's updates so far, without penalty.
    between_batches : bool
        Within the epoch, and no batch is half done: the run can be saved.
    """

    epoch: int
    rows_done: int
    rows_total: int
    samples_per_second: float
    loss_so_far: float
    between_batches: bool = False


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
    def rows_done(self) -> int:
        """Rows of the epoch at hand trained on; at the start not 0 if resumed within an epoch."""

    @property
    def phase(self) -> str:
        """``"compiling"`` until the kernels are ready, then ``"training"``."""

    def stop(self, reason: str) -> None:
        """End training after this epoch; the reason goes into the history."""

    def get_weights(self) -> NDArray[Any]:
        """A flat copy of all parameters."""

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Put such a copy back."""

    def look(self) -> NetStatistics:
        """What the net does with some of the training rows, layer by layer."""

    def save_checkpoint(self, path: Path) -> None:
        """Write all that resuming needs, whole or not at all; not while a batch is half done."""


class Callback:
    """Base of the callbacks: does nothing at every occasion; override what you need.

    Attributes
    ----------
    of_one_net : bool
        It makes no sense where many nets are trained at once, and is refused there.
    everywhere : bool
        Of several processes that train together, this one calls it even if it is not the first:
        what it does to the training must be the same then.
    """

    of_one_net = False
    everywhere = False

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

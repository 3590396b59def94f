"""A fit of an estimator as callbacks see it: nbmlp's own, and plain functions of the estimator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from nbmlp.errors import SpecError
from nbmlp.estimators.updates import Updates
from nbmlp.train.callbacks import Callback, CallbackList, Run
from nbmlp.train.epochs import Epochs
from nbmlp.train.history import EpochRecord, History

__all__ = ["as_callbacks", "epochs_of"]


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


def epochs_of(model: Any, updates: Updates, epochs: int) -> Epochs:
    """The epochs of one call of `fit` or `partial_fit`, counted from 1.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
    updates : Updates
        Of its weights.
    epochs : int
        Planned at most.
    """
    state, history = updates.weights.state, History()
    state.epoch, history.score_name = 0, "accuracy" if is_classifier(model) else "R2"
    run = Epochs(
        model, state, history, epochs, updates.n_rows, as_callbacks(model.callbacks),
        lambda: updates.engine, _refuse_checkpoint, lambda _: updates.loss_so_far,
    )  # fmt: skip
    run.bind()
    return run


def _refuse_checkpoint(run: Epochs, path: Path) -> None:
    """What resuming an estimator needs is not in the native model's files."""
    raise SpecError(
        f"{path}: checkpoints are for nbmlp.MLP; keep an estimator with joblib.dump, from a"
        " function given as a callback."
    )

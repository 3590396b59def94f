"""Limited-memory BFGS: scipy's, over the engine's loss and gradient of all rows."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nbmlp.optimizers import LBFGS
from nbmlp.train.callbacks import CallbackList
from nbmlp.train.engine import Engine
from nbmlp.train.interrupt import Interrupt

__all__ = ["Epochs", "minimise"]


class Epochs(Protocol):
    """What counts and records iterations: the loop."""

    epochs: int
    first_weights: NDArray[Any] | None

    @property
    def stop_reason(self) -> str:
        """Why somebody has asked for the end; empty as long as nobody has."""

    def stop(self, reason: str) -> None:
        """Ask for the end."""

    def record(
        self,
        callbacks: CallbackList,
        interrupt: Interrupt,
        data_loss: float,
        rate: float,
        trained: float,
        start: float,
    ) -> None:
        """Count an epoch and tell the callbacks."""


def minimise(loop: Epochs, engine: Engine, callbacks: CallbackList, interrupt: Interrupt) -> None:
    """Iterate until the planned epoch; each iteration is recorded as an epoch.

    scipy does not hand out its memory of past steps. So that a resumed run has the same bits as
    an undisturbed one, it repeats the iterations of the checkpoint from the first weights.

    Raises
    ------
    NonFiniteError
        The loss is not finite; the state holds the best weights so far.
    """
    from scipy.optimize import minimize

    settings, state = engine.train.optimizer, engine.state
    assert isinstance(settings, LBFGS)
    if state.epoch >= loop.epochs or loop.stop_reason:
        return
    accepted, start = state.get_flat(), time.perf_counter()
    to_repeat = 0 if loop.first_weights is None else state.epoch
    if loop.first_weights is None:
        loop.first_weights = accepted

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        state.set_flat(flat)
        loss, gradient = engine.loss_and_gradient(interrupt.check)
        return loss, state.get_flat(gradient).astype(np.float64)

    def after_iteration(intermediate_result: Any) -> None:
        nonlocal accepted, start, to_repeat
        if to_repeat:
            to_repeat -= 1
            return
        state.set_flat(intermediate_result.x)
        accepted = state.get_flat()
        state.step += 1
        data_loss = float(intermediate_result.fun) - engine.penalty()
        loop.record(callbacks, interrupt, data_loss, 1.0, time.perf_counter() - start, start)
        start = time.perf_counter()
        if loop.stop_reason:
            raise StopIteration

    options = {
        "maxiter": loop.epochs - state.epoch + to_repeat, "maxcor": int(settings.history),
        "gtol": settings.tolerance, "ftol": 64 * np.finfo(float).eps, "maxfun": 100 * loop.epochs,
    }  # fmt: skip
    try:
        minimize(
            value, loop.first_weights.astype(np.float64), method="L-BFGS-B", jac=True,
            callback=after_iteration, options=options,
        )  # fmt: skip
    finally:
        state.set_flat(accepted)  # not the line search's last trial
    if not loop.stop_reason:
        done = state.epoch >= loop.epochs
        loop.stop("epochs done" if done else f"converged after {state.epoch} iterations")

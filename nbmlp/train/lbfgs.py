"""Limited-memory BFGS: scipy's, over the engine's loss and gradient of all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.optimizers import LBFGS
from nbmlp.train.epochs import Epochs
from nbmlp.train.resume import Resume

__all__ = ["minimise"]


def minimise(run: Epochs, resume: Resume, record: Callable[[float], None]) -> None:
    """Iterate until the planned epoch; each iteration is recorded as an epoch, with its data loss.

    scipy does not hand out its memory of past steps. So that a resumed run has the same bits as
    an undisturbed one, it repeats the iterations of the checkpoint from the first weights.

    Raises
    ------
    NonFiniteError
        The loss is not finite; the state holds the best weights so far.
    """
    from scipy.optimize import minimize

    engine = run.bind()
    settings, state = engine.train.optimizer, engine.state
    assert isinstance(settings, LBFGS)
    if state.epoch >= run.epochs or run.stop_reason:
        return
    accepted, rates = state.get_flat(), np.ones(1)  # it has no learning rate
    first, to_repeat = resume.first_weights, state.epoch
    if first is None:
        first, to_repeat = accepted, 0
    resume.first_weights = first
    run.begin(rates)

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        state.set_flat(flat)
        loss, gradient = engine.loss_and_gradient(run.check)
        return loss, state.get_flat(gradient).astype(np.float64)

    def after_iteration(intermediate_result: Any) -> None:
        nonlocal accepted, to_repeat
        if to_repeat:
            to_repeat -= 1
            return
        state.set_flat(intermediate_result.x)
        accepted = state.get_flat()
        state.step += 1
        run.trained = run.seconds
        record(float(intermediate_result.fun) - engine.penalty())
        run.begin(rates)
        if run.stop_reason:
            raise StopIteration

    options = {
        "maxiter": run.epochs - state.epoch + to_repeat, "maxcor": int(settings.history),
        "gtol": settings.tolerance, "ftol": 64 * np.finfo(float).eps, "maxfun": 100 * run.epochs,
    }  # fmt: skip
    try:
        minimize(
            value, first.astype(np.float64), method="L-BFGS-B", jac=True,
            callback=after_iteration, options=options,
        )  # fmt: skip
    finally:
        state.set_flat(accepted)  # not the line search's last trial
    if not run.stop_reason:
        done = state.epoch >= run.epochs
        run.stop("epochs done" if done else f"converged after {state.epoch} iterations")

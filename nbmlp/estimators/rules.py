"""Which update rule an estimator's parameters stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from nbmlp.errors import SpecError
from nbmlp.optimizers import LBFGS, LEAST_EPSILON, SGD, Adam, Optimizer, as_optimizer

__all__ = ["own_optimizer", "rule_of", "shown_optimizer"]


def own_optimizer(value: object, solver: str) -> Optimizer | None:
    """The parameter `optimizer`; None leaves `solver` to decide.

    Raises
    ------
    SpecError
        An unknown name or setting, or one that does not go with the solver.
    """
    if value is None:
        return None
    optimizer = as_optimizer(value)
    if solver == "lbfgs" or isinstance(optimizer, LBFGS):
        raise SpecError(
            f"optimizer={optimizer.name!r} does not go with solver={solver!r}: leave optimizer"
            " out for solver='lbfgs', and the solver at 'adam' for another optimizer."
        )
    return optimizer


def rule_of(model: Any) -> Optimizer:
    """The engine's optimizer; its learning rate is set epoch by epoch.

    Of what `solver` names, the settings are those with which training has begun: scikit-learn's
    ``partial_fit`` goes on with them too.
    """
    own = own_optimizer(model.optimizer, model.solver)
    if own is not None:
        return own
    shown = model.__dict__.get("_optimizer") or shown_optimizer(model)
    if isinstance(shown, AdamOptimizer):
        epsilon = max(shown.epsilon, LEAST_EPSILON)
        return Adam(1.0, shown.beta_1, shown.beta_2, epsilon, epsilon_hat=True)
    momentum = min(shown.momentum, np.nextafter(1.0, 0.0))  # the engine's is below 1
    return SGD(1.0, momentum, bool(shown.nesterov and momentum))


def shown_optimizer(model: Any) -> SGDOptimizer | AdamOptimizer:
    """scikit-learn's own, of no parameters: it keeps the learning rate and lets it follow.

    Its attribute `given` is the estimator's parameter `optimizer`.
    """
    own = own_optimizer(model.optimizer, model.solver)
    rate = model.learning_rate_init if own is None else own.learning_rate
    shown: SGDOptimizer | AdamOptimizer
    if model.solver == "adam" and own is None:
        shown = AdamOptimizer([], rate, model.beta_1, model.beta_2, model.epsilon)
    else:
        shown = SGDOptimizer(
            [], rate, model.learning_rate, model.momentum, model.nesterovs_momentum, model.power_t
        )
    shown.given = model.optimizer
    return shown

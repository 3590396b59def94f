"""What the estimators offer beyond scikit-learn's: its parameters, checked; off by default."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight

from nbmlp.errors import SpecError
from nbmlp.optimizers import LBFGS, Optimizer, as_optimizer
from nbmlp.tuning import granted_threads

__all__ = [
    "CONSTRAINTS",
    "SHARE",
    "class_weights",
    "own_optimizer",
    "score_by",
    "tell",
    "threads_of",
]

Array = NDArray[Any]
SHARE = Interval(Real, 0, 1, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")

#: Of the parameters that both estimators have, as scikit-learn validates them.
CONSTRAINTS: dict[str, list[Any]] = {
    "activation": [str, "array-like"],
    "dropout": [SHARE, "array-like"],
    "input_dropout": [SHARE],
    "optimizer": [None, str, dict, Optimizer],
    "clip_norm": [None, _POSITIVE],
    "metric": [None, str, callable],
    "callbacks": [None, "array-like", callable],
    "on_nonfinite": [StrOptions({"raise", "warn"})],
    "n_jobs": [None, Integral],
}


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


def class_weights(
    class_weight: object, classes: Array, y: Array, sample_weight: Array | None
) -> Array | None:
    """Weights of rows (n,) that also count their class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray (k,)
    y : ndarray of bool (n, k), or (n, 1) for two classes
    sample_weight : ndarray (n,) or None
    """
    if class_weight is None:
        return sample_weight
    number = y[:, 0].astype(np.intp) if y.shape[1] == 1 else np.argmax(y, axis=1)
    if y.shape[1] == len(classes) and not np.all(y.sum(axis=1) == 1):
        raise ValueError("class_weight is for one label a row: y has several; use sample_weight.")
    each = compute_class_weight(class_weight, classes=classes, y=classes[number])
    return each[number] if sample_weight is None else sample_weight * each[number]


def score_by(metric: object, model: Any, X: Any, y: Array, sample_weight: Array | None) -> float:
    """A score, the larger the better, by scikit-learn's name of it or by a function."""
    scorer = check_scoring(model, scoring=metric)
    extra = {} if sample_weight is None else {"sample_weight": sample_weight}
    return float(scorer(model, X, y, **extra))


def tell(callbacks: object, model: Any) -> bool:
    """Call each function with the model after an epoch; whether one of them asks for the end."""
    if callbacks is None:
        return False
    answers = [function(model) for function in np.ravel(np.array(callbacks, dtype=object))]
    return any(answer is True for answer in answers)


def threads_of(n_jobs: int | None, available: int) -> int:
    """Most threads of one estimator.

    Parameters
    ----------
    n_jobs : int or None
        As joblib means it: -1 is all cores. None: all, but inside a worker of joblib's only as
        many as joblib grants it, else one, so that workers do not fight for cores.
    available : int
        Threads that this process may use.
    """
    if n_jobs is not None:
        return max(1, min(effective_n_jobs(n_jobs), available))
    if get_active_backend()[0].nesting_level:
        return 1 if granted_threads() is None else available
    return available

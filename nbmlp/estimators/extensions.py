"""What the estimators offer beyond scikit-learn's: its parameters, checked; off by default."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.utils._param_validation import Interval, StrOptions

from nbmlp.data import Given, Mended, as_table, class_weights
from nbmlp.errors import TrainingWarning
from nbmlp.estimators.places import names_of
from nbmlp.optimizers import Optimizer
from nbmlp.spec import FLAGS, ON_NONFINITE, SETTINGS
from nbmlp.train.callbacks import Callback
from nbmlp.tuning import granted_threads

__all__ = [
    "CONSTRAINTS",
    "NOT_TAKEN",
    "OF_EMBEDDINGS",
    "OF_NET",
    "OF_TRAINING",
    "SHARE",
    "further",
    "mended",
    "score_by",
    "threads_of",
    "weights_by_class",
]

Array = NDArray[Any]
SHARE = Interval(Real, 0, 1, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")

#: Settings of the net, of embeddings alone, and of training that the estimators have by the same
#: names.
OF_EMBEDDINGS = ("number_embedding", "n_numbers", "code_counts", "code_width")
OF_NET = (*FLAGS, "input_dropout", *OF_EMBEDDINGS)
OF_TRAINING = (
    "clip_norm", "ema", "rate_factors", "decay_factors", "dropout_schedule", "decay_schedule",
)  # fmt: skip
#: Settings of MLP that they lack, or have otherwise, and why.
NOT_TAKEN = {
    **dict.fromkeys(("hidden", "learning_rate", "epochs", "seed", "threads", "batch_size", "l2"),
                    "scikit-learn's: hidden_layer_sizes, learning_rate_init, max_iter, alpha, ..."),
    **dict.fromkeys(("schedule", "warmup", "base_batch", "weight_decay"),
                    "of the rule and its rate: learning_rate, optimizer"),
    **dict.fromkeys(("output", "loss", "dtype", "task"), "the estimator or the data say it"),
    **dict.fromkeys(("standardise", "scaling", "bins", "category_embedding", "column_kinds"),
                    "columns are prepared by a pipeline, or by TabularClassifier"),
    **dict.fromkeys(("eval_metric", "tune_threshold"), "metric; TunedThresholdClassifierCV"),
    **dict.fromkeys(("bias", "init", "dropout_scale_at", "l1", "max_norm", "clip_value",
                     "reduction", "gradient_norms", "sync", "sync_every"), "of MLP alone"),
    "shards": "rows come in scikit-learn's order, that of one part: MLP(shards=...) has more",
}  # fmt: skip
#: Of the parameters that both estimators have, as scikit-learn validates them; others are checked
#: by the specs.
CONSTRAINTS: dict[str, Any] = {
    **dict.fromkeys((*OF_NET, *OF_TRAINING), "no_validation"),
    "activation": [str, list, tuple],
    "dropout": [SHARE, "array-like"],
    "input_dropout": [SHARE],
    **{name: ["boolean"] for name in FLAGS},
    "shuffle": ["boolean", StrOptions({"blocks"})],
    "optimizer": [None, str, dict, Optimizer],
    "clip_norm": [None, _POSITIVE],
    "metric": [None, str, callable],
    "callbacks": [None, "array-like", callable, Callback],
    "on_nonfinite": [StrOptions(set(ON_NONFINITE))],
    "n_jobs": [None, Integral],
}


def further(model: Any, names: Iterable[str]) -> dict[str, Any]:
    """Some of these settings, those that are not as they are by default."""
    given = {name: getattr(model, name) for name in names}
    return {name: value for name, value in given.items() if not _usual(name, value)}


def _usual(name: str, value: object) -> bool:
    default = SETTINGS[name].default
    return value is default or bool(np.array_equal(np.asarray(value), np.asarray(default)))


def weights_by_class(
    class_weight: Any, classes: Array, y: Array, sample_weight: Array | None
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
    each = class_weights(class_weight, classes.tolist(), number)
    return each[number] if sample_weight is None else sample_weight * each[number]


def mended(policy: str, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, ...]:
    """Data without NaN and infinities, if the policy is to drop or to impute them.

    Parameters
    ----------
    policy : str
        The parameter `on_nonfinite`.
    X, y, sample_weight
        As the user gave them; a data frame stays one.

    Returns
    -------
    X, y, sample_weight
    names : Names
        What their rows and columns are called.
    """
    names = names_of(X)
    dtype = "float32" if getattr(X, "dtype", None) == np.float32 else "float64"
    found, done = Given(X, y, sample_weight, names).mended(policy, dtype)
    if done == Mended():
        return X, y, sample_weight, names
    warnings.warn(done.describe(), TrainingWarning, stacklevel=2)
    frame = as_table(X) is not None
    made = type(X)(dict(found.X.columns)) if frame else found.X
    return made, found.y, found.weights, found.names


def score_by(metric: object, model: Any, X: Any, y: Array, sample_weight: Array | None) -> float:
    """A score, the larger the better, by scikit-learn's name of it or by a function."""
    scorer = check_scoring(model, scoring=metric)
    extra = {} if sample_weight is None else {"sample_weight": sample_weight}
    return float(scorer(model, X, y, **extra))


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

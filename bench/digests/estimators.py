"""Trainings of the estimators: ``MLPClassifier`` and ``MLPRegressor``, solver by solver."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.digests.data import make

__all__ = ["ESTIMATORS", "fit_estimator"]

#: Settings of the data, and how it is called: "fits" times, by partial_fit if "parts".
_OWN = (
    "regressor", "rows", "columns", "kind", "targets", "width", "density", "weighted", "fits",
    "parts",
)  # fmt: skip
_NUMBERS = {"regressor": True, "targets": "numbers", "width": 1}
_SOLVERS = ("sgd", "adam", "lbfgs")

#: Name -> settings of the estimator, and of the above.
ESTIMATORS: dict[str, dict[str, Any]] = {
    **{f"classifier, {s}": {"solver": s} for s in _SOLVERS},
    **{f"classifier, {s}, two classes": {"solver": s, "width": 2} for s in _SOLVERS},
    **{f"classifier, {s}, flags": {"solver": s, "targets": "flags"} for s in _SOLVERS},
    **{f"regressor, {s}": {"solver": s, **_NUMBERS} for s in _SOLVERS},
    **{f"regressor, {s}, three": {"solver": s, **_NUMBERS, "width": 3} for s in _SOLVERS},
    **{
        f"classifier, early stopping, {s}": {"solver": s, "early_stopping": True, "max_iter": 9}
        for s in ("sgd", "adam")
    },
    "regressor, early stopping": {**_NUMBERS, "early_stopping": True, "max_iter": 9},
    "classifier, invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "classifier, adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1,
        "max_iter": 8,
    },
    "classifier, plain momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "classifier, no momentum": {"solver": "sgd", "momentum": 0.0},
    "classifier, words": {"targets": "words"},
    "classifier, float32": {"kind": "float32"},
    "classifier, bytes": {"kind": "uint8"},
    "classifier, thin rows": {"columns": 300, "density": 0.02},
    "classifier, thin rows, lbfgs": {"columns": 300, "density": 0.02, "solver": "lbfgs"},
    "classifier, long rows": {"columns": 150},
    "classifier, tanh, no shuffling": {"activation": "tanh", "shuffle": False},
    "classifier, logistic": {"activation": "logistic", "alpha": 0.0},
    "classifier, warm start": {"warm_start": True, "fits": 3},
    "classifier, warm start, lbfgs": {"warm_start": True, "fits": 2, "solver": "lbfgs"},
    "classifier, fitted twice": {"fits": 2},
    "classifier, parts": {"fits": 3, "parts": True},
    "classifier, parts, sgd": {"fits": 3, "parts": True, "solver": "sgd"},
    "classifier, weights": {"weighted": True},
    "classifier, balanced": {"class_weight": "balanced"},
    "classifier, class weights": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}, "weighted": True},
    "classifier, batches of 600": {"rows": 1300, "batch_size": 600},
    "classifier, all beyond scikit-learn's": {
        "dropout": 0.2, "input_dropout": 0.1, "clip_norm": 0.5, "label_smoothing": 0.1,
        "activation": ("gelu", "silu"), "optimizer": "adamw(0.01)",
    },
    "regressor, parts": {**_NUMBERS, "fits": 3, "parts": True},
    "regressor, poisson": {**_NUMBERS, "targets": "counts", "loss": "poisson"},
    "regressor, huber": {**_NUMBERS, "loss": "huber(0.5)", "optimizer": "rmsprop"},
    "regressor, weights": {**_NUMBERS, "weighted": True},
    "regressor, long rows": {**_NUMBERS, "columns": 150},
}  # fmt: skip


def fit_estimator(name: str, threads: int) -> dict[str, list[NDArray[Any]]]:
    """Weights, predictions and losses of one of them."""
    given = ESTIMATORS[name]
    own = {k: v for k, v in given.items() if k in _OWN}
    settings = {k: v for k, v in given.items() if k not in _OWN}
    regressor, fits = own.pop("regressor", False), own.pop("fits", 1)
    weighted, parts = own.pop("weighted", False), own.pop("parts", False)
    X, y = make(**{"kind": "float64", **own})
    y = y.astype(int) if own.get("targets") == "flags" else y
    extra = {"sample_weight": np.random.default_rng(1).integers(0, 4, len(y)) / 2.0}
    model = _made(regressor, settings, threads)
    for i in range(fits):
        first = {"classes": np.unique(y)} if parts and not i and not regressor else {}
        call = model.partial_fit if parts else model.fit
        call(X, y, **first, **(extra if weighted else {}))
    return _told(model, X)


def _made(regressor: bool, settings: dict[str, Any], threads: int) -> Any:
    from nbmlp import MLPClassifier, MLPRegressor

    common = {"hidden_layer_sizes": (30, 24), "batch_size": 50, "max_iter": 3, "random_state": 4}
    if settings.get("solver") == "lbfgs":
        del common["batch_size"]
    kind = MLPRegressor if regressor else MLPClassifier
    return kind(n_jobs=threads, **{**common, **settings})


def _told(model: Any, X: Any) -> dict[str, list[NDArray[Any]]]:
    predictions = [model.predict(X)]
    if hasattr(model, "predict_proba"):
        predictions.append(model.predict_proba(X))
    losses = [[model.loss_, model.n_iter_, model.t_]]
    losses += [getattr(model, n, None) or [] for n in ("loss_curve_", "validation_scores_")]
    return {
        "weights": [*model.coefs_, *model.intercepts_],
        "predictions": predictions,
        "losses": [np.array(values, np.float64) for values in losses],
    }

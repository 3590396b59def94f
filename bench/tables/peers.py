"""The contestants: each is fitted as its documentation says, and told nothing about the tables.

A contestant takes a `Problem` and returns a function from rows to predictions. All see the same
rows: to train on, and to validate on for early stopping; scikit-learn's MLP and ours get both as
one, and divide them themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.tables import tuned
from bench.tables.problem import Predict, Problem, align

__all__ = ["CONTESTANTS", "OURS", "PEERS", "TIMED", "Contestant", "why_missing"]

OURS = "nbmlp"
#: Trees at most, and after how many without a better validation loss they stop.
TREES, PATIENCE = 1000, 50


def predictor(model: Any, problem: Problem, prepare: Callable[[Any], Any]) -> Predict:
    """What a fitted model predicts for rows that `prepare` makes ready for it."""
    if problem.labels is None:
        return lambda X: np.asarray(model.predict(prepare(X)), float).ravel()
    return lambda X: align(model, problem, prepare(X))


def as_given(X: Any) -> Any:
    return X


# -- scikit-learn


def common_rows(problem: Problem) -> tuple[Any, np.ndarray]:
    """Training and validation rows without classes of one row: it splits by class itself."""
    X, y = problem.all_rows
    if problem.labels is None:
        return X, y
    kept = np.bincount(y, minlength=len(problem.labels))[y] > 1
    return X[kept], y[kept]


def sklearn_mlp(problem: Problem) -> Predict:
    """Standardised columns, one column a category, targets standardised; else the defaults.

    It sets a fifth aside itself: the share that the others' validation rows have.
    """
    from sklearn.compose import (
        TransformedTargetRegressor,
        make_column_selector,
        make_column_transformer,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        (OneHotEncoder(handle_unknown="ignore"), problem.categories),
    )
    settings = {"early_stopping": True, "validation_fraction": 0.2, "random_state": problem.seed}
    model: Any
    if problem.labels is None:
        net = make_pipeline(columns, MLPRegressor(**settings))
        model = TransformedTargetRegressor(net, transformer=StandardScaler())
    else:
        model = make_pipeline(columns, MLPClassifier(**settings))
    return predictor(model.fit(*common_rows(problem)), problem, as_given)


def hist_gradient_boosting(problem: Problem) -> Predict:
    """Gaps and categories by itself; it refuses columns without any value, as `sick` has one."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    regression = problem.labels is None
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    coded, filled = tuned.with_categories(problem), problem.X.columns[problem.X.notna().any()]

    def prepare(X: Any) -> Any:
        return coded(X)[filled]

    model = kind(
        max_iter=TREES, early_stopping=True, n_iter_no_change=PATIENCE, random_state=problem.seed,
        categorical_features="from_dtype",
    )  # fmt: skip
    model.fit(prepare(problem.X), problem.y, X_val=prepare(problem.X_val), y_val=problem.y_val)
    return predictor(model, problem, prepare)


# -- trees


def lightgbm(problem: Problem) -> Predict:
    """Gaps and categories by itself."""
    return predictor(*tuned.fit_lightgbm(problem, {}, TREES, PATIENCE))


def catboost(problem: Problem) -> Predict:
    """Gaps and categories by itself; a missing category is one more category."""
    return predictor(*tuned.fit_catboost(problem, {}, TREES, PATIENCE))


def lightgbm_tuned(problem: Problem) -> Predict:
    """Settings searched by Optuna for as long as it is given."""
    return predictor(*tuned.search(problem, "lightgbm"))


def catboost_tuned(problem: Problem) -> Predict:
    """Settings searched by Optuna for as long as it is given."""
    return predictor(*tuned.search(problem, "catboost"))


# -- nets


def realmlp(problem: Problem) -> Predict:
    """RealMLP-TD of pytabkit, its published defaults; gaps in numbers, which it refuses, filled."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    kind = RealMLP_TD_Regressor if problem.labels is None else RealMLP_TD_Classifier
    model = kind(device="cpu", random_state=problem.seed, n_threads=problem.cores)
    medians = problem.X.median(numeric_only=True).fillna(0.0)
    coded = tuned.with_categories(problem)

    def prepare(X: Any) -> Any:
        return coded(X.fillna(medians))

    model.fit(prepare(problem.X), problem.y, prepare(problem.X_val), problem.y_val)
    return predictor(model, problem, prepare)


def nbmlp_preset(preset: str, problem: Problem) -> Predict:
    """Ours: the frame as it is. Of all rows it sets aside what it wants, as a user has it."""
    import nbmlp

    kind = "TabularRegressor" if problem.labels is None else "TabularClassifier"
    limit = {"time_limit": problem.seconds} if preset == "best" else {}
    model = getattr(nbmlp, kind)(preset=preset, random_state=problem.seed, **limit)
    X, y = problem.all_rows
    model.fit(X, problem.text(y))
    return predictor(model, problem, as_given)


class Contestant(NamedTuple):
    """One of them.

    Attributes
    ----------
    fit : function
        Of a `Problem`.
    packages : tuple of str
        What it needs, by the names that are imported.
    timed : bool
        It takes as long as it is given.
    warm : bool
        It compiles at first use, which is not timed.
    """

    fit: Callable[[Problem], Predict]
    packages: tuple[str, ...]
    timed: bool = False
    warm: bool = False


PEERS = {
    "sklearn-mlp": Contestant(sklearn_mlp, ("sklearn",)),
    "histgb": Contestant(hist_gradient_boosting, ("sklearn",)),
    "lightgbm": Contestant(lightgbm, ("lightgbm",)),
    "catboost": Contestant(catboost, ("catboost",)),
    "realmlp": Contestant(realmlp, ("pytabkit",)),
    "lightgbm-tuned": Contestant(lightgbm_tuned, ("lightgbm", "optuna"), timed=True),
    "catboost-tuned": Contestant(catboost_tuned, ("catboost", "optuna"), timed=True),
}
CONTESTANTS = {
    f"{OURS}-fast": Contestant(partial(nbmlp_preset, "fast"), (OURS,), warm=True),
    f"{OURS}-default": Contestant(partial(nbmlp_preset, "default"), (OURS,), warm=True),
    f"{OURS}-best": Contestant(partial(nbmlp_preset, "best"), (OURS,), timed=True),
    **PEERS,
}
#: Those that take as long as they are given.
TIMED = [name for name, contestant in CONTESTANTS.items() if contestant.timed]


def why_missing(name: str) -> str | None:
    """Why a contestant cannot take part; None where it can."""
    for package in ("pandas", *CONTESTANTS[name].packages):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    if name.startswith(OURS):
        import nbmlp

        if not hasattr(nbmlp, "TabularClassifier"):
            return "this nbmlp has no TabularClassifier"
    return None

"""LightGBM and CatBoost: one fit, and the best of what Optuna finds in a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.tables.problem import Problem

__all__ = ["fit_catboost", "fit_lightgbm", "search", "with_categories"]

#: A model, its problem, and what makes rows ready for it.
Fitted = tuple[Any, Problem, Callable[[Any], Any]]
#: Trees at most in a trial: low rates need more than the usual 1,000.
TREES, PATIENCE = 4000, 50


def with_categories(problem: Problem) -> Callable[[Any], Any]:
    """Columns of text become pandas categories, those of the training and validation rows."""
    import pandas as pd

    known = problem.all_rows[0]
    kinds = {
        name: pd.CategoricalDtype(sorted(known[name].dropna().unique()))
        for name in problem.categories
    }
    return lambda X: X.assign(**{name: known_only(X[name], kind) for name, kind in kinds.items()})


def known_only(column: Any, kind: Any) -> Any:
    """Categories; what was never seen is a gap."""
    return column.where(column.isin(kind.categories)).astype(kind)


def fit_lightgbm(
    problem: Problem,
    settings: dict[str, Any],
    trees: int,
    patience: int,
    deadline: float = math.inf,
) -> Fitted:
    """One model; it stops when the validation loss does, or at a time of `perf_counter`."""
    import lightgbm

    kind = lightgbm.LGBMRegressor if problem.labels is None else lightgbm.LGBMClassifier
    coded = with_categories(problem)

    def prepare(X: Any) -> Any:
        # It refuses brackets and the like in names, as `spambase` has them.
        return coded(X).set_axis(range(X.shape[1]), axis=1)

    def out_of_time(state: Any) -> None:
        if time.perf_counter() > deadline:
            found = state.evaluation_result_list
            raise lightgbm.callback.EarlyStopException(state.iteration, found)

    model = kind(
        n_estimators=trees, random_state=problem.seed, n_jobs=problem.cores, verbose=-1, **settings
    )
    model.fit(
        prepare(problem.X), problem.y, eval_set=[(prepare(problem.X_val), problem.y_val)],
        callbacks=[lightgbm.early_stopping(patience, verbose=False), out_of_time],
    )  # fmt: skip
    return model, problem, prepare


def fit_catboost(
    problem: Problem,
    settings: dict[str, Any],
    trees: int,
    patience: int,
    deadline: float = math.inf,
) -> Fitted:
    """One model; it stops when the validation loss does, or at a time of `perf_counter`."""
    import catboost

    kind = catboost.CatBoostRegressor if problem.labels is None else catboost.CatBoostClassifier
    model = kind(
        iterations=trees, early_stopping_rounds=patience, random_seed=problem.seed,
        thread_count=problem.cores, cat_features=problem.categories, verbose=False,
        allow_writing_files=False, **settings,
    )  # fmt: skip

    def prepare(X: Any) -> Any:
        return X.assign(**{name: X[name].fillna("") for name in problem.categories})

    model.fit(
        prepare(problem.X), problem.y, eval_set=(prepare(problem.X_val), problem.y_val),
        callbacks=None if deadline == math.inf else [OnTime(deadline)],
    )  # fmt: skip
    return model, problem, prepare


class OnTime:
    """CatBoost's callback: no further tree when the time is over."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def after_iteration(self, info: Any) -> bool:
        return time.perf_counter() < self.deadline


# -- the search


def lightgbm_settings(trial: Any) -> dict[str, Any]:
    """Ranges as in published comparisons (Gorishniy and others 2021)."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 8, 256, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 2, 100, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "subsample_freq": 1,
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 30.0, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 1e-4, 10.0, log=True),
    }


def catboost_settings(trial: Any) -> dict[str, Any]:
    """Ranges as in published comparisons (Gorishniy and others 2021)."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "depth": trial.suggest_int("depth", 3, 10),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.5, 30.0, log=True),
        "bagging_temperature": trial.suggest_float("bagging_temperature", 0.0, 1.0),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
        "leaf_estimation_iterations": trial.suggest_int("leaf_estimation_iterations", 1, 10),
    }


SEARCHES = {
    "lightgbm": (fit_lightgbm, lightgbm_settings),
    "catboost": (fit_catboost, catboost_settings),
}


def validation_error(fitted: Fitted) -> float:
    """What the tables are scored by: share of wrong classes, or mean squared error."""
    model, problem, prepare = fitted
    predicted = np.asarray(model.predict(prepare(problem.X_val))).ravel()
    if problem.labels is None:
        return float(np.mean((predicted - problem.y_val) ** 2))
    return float(np.mean(predicted.astype(int) != problem.y_val))


def search(problem: Problem, name: str) -> Fitted:
    """The model with the least validation error; the first has the library's own settings.

    When the time is over, no trial begins and the one that runs adds no tree.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    deadline = time.perf_counter() + problem.seconds
    fit, settings = SEARCHES[name]
    best = fit(problem, {}, 1000, PATIENCE, deadline)
    least = validation_error(best)

    def objective(trial: Any) -> float:
        nonlocal best, least
        fitted = fit(problem, settings(trial), TREES, PATIENCE, deadline)
        error = validation_error(fitted)
        if error < least:
            best, least = fitted, error
        return error

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=problem.seed))
    study.optimize(objective, timeout=max(0.0, deadline - time.perf_counter()))
    return best

"""TabularClassifier and TabularRegressor among scikit-learn's tools."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from nbmlp import DataError, TabularClassifier, TabularRegressor

SMALL: dict[str, Any] = {"n_members": 2, "epochs": 40, "random_state": 0, "n_jobs": 1}
RNG = np.random.default_rng(2)
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(size=120),
        "kind": pd.Categorical(RNG.choice(["a", "b", "c"], 120)),
        "rest": RNG.normal(size=120),
    }
)
Y = FRAME["size"].to_numpy() + (FRAME["kind"] == "b").to_numpy()


def _known(estimator: Any) -> dict[str, str]:
    reason = "which rows are held out depends on their number"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(
    [TabularClassifier(**SMALL), TabularRegressor(**SMALL)], expected_failed_checks=_known
)
def test_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_clones_pipelines_and_searches() -> None:
    model = TabularRegressor(**{**SMALL, "epochs": 3})
    assert clone(model).get_params() == model.get_params()
    pipeline = make_pipeline(FunctionTransformer(), model)
    search = GridSearchCV(pipeline, {"tabularregressor__epochs": [1, 3]}, cv=2).fit(FRAME, Y)
    assert search.best_estimator_.predict(FRAME).shape == (120,)
    model.fit(FRAME, Y)
    importance = permutation_importance(model, FRAME, Y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (3,)
    found = partial_dependence(model, FRAME, ["size"], grid_resolution=5)
    assert found["average"].shape == (1, 5)


def test_frames_of_all_kinds_give_the_same() -> None:
    model = TabularRegressor(**{**SMALL, "epochs": 3})
    text = FRAME.assign(kind=FRAME["kind"].astype(str))
    mapping = {n: text[n].to_numpy() for n in text}
    given = [FRAME, pl.DataFrame({n: v.tolist() for n, v in mapping.items()}), mapping]
    first, *others = [clone(model).fit(X, Y).predict(X) for X in given]
    for other in others:
        np.testing.assert_array_equal(first, other)
    cells = [list(row) for row in text.itertuples(index=False)]
    np.testing.assert_array_equal(clone(model).fit(cells, Y).predict(cells), first)


def test_another_column_is_named() -> None:
    model = TabularRegressor(**{**SMALL, "epochs": 1}).fit(FRAME, Y)
    with pytest.raises(ValueError, match="extra"):
        model.predict(FRAME.assign(extra=1.0))
    mapping = {name: FRAME[name].astype(str).to_numpy() for name in ("size", "kind")}
    with pytest.raises((ValueError, DataError), match=r"lacks \['rest'\]"):
        model.predict(mapping)


def test_what_became_of_columns_is_told_and_can_be_chosen() -> None:
    codes = FRAME.assign(code=np.arange(120) % 7, name=[f"person {i}" for i in range(120)])
    model = TabularRegressor(**{**SMALL, "epochs": 1})
    kinds = {"rest": "drop", "code": "category"}
    model.set_params(column_kinds=kinds).fit(codes, Y)
    told = {one.column: one.kind for one in model.columns}
    assert told["kind"] == told["code"] == "category"
    assert told["rest"] == "left out"
    assert model.predict(codes.assign(name="nobody", rest=np.nan)).shape == (120,)
    model.set_params(column_kinds=None, categorical_features=["code"]).fit(codes, Y)
    assert {one.column: one.kind for one in model.columns}["code"] == "category"


def test_cells_of_every_kind() -> None:
    """Text, categories, booleans, dates, gaps, codes, nothing at all, always the same, many."""
    n = 60
    days = np.datetime64("2024-01-01") + np.arange(n)
    columns: dict[str, Any] = {
        "text": ["a", "b", None] * (n // 3),
        "flag": [True, False] * (n // 2),
        "day": days,
        "gaps": np.where(np.arange(n) % 5 == 0, np.nan, np.arange(n)),
        "codes": np.arange(n) % 4,
        "nothing": [None] * n,
        "same": np.ones(n),
        "many": [f"c{i}" for i in range(n)],
    }
    y = np.arange(n, dtype=np.float64)
    model = TabularRegressor(n_members=1, epochs=1, random_state=0, n_jobs=1)
    as_array = np.empty((n, len(columns)), dtype=object)
    for j, values in enumerate(columns.values()):
        as_array[:, j] = values.tolist() if isinstance(values, np.ndarray) else values
    pandas = pd.DataFrame({**columns, "kind": pd.Categorical(["x", "y"] * (n // 2))})
    for given in (pandas, pl.DataFrame(columns), columns, as_array):
        assert np.isfinite(clone(model).fit(given, y).predict(given)).all()
    twice = pd.concat([pandas, pandas[["flag"]]], axis=1)
    with pytest.raises(DataError, match="two columns are called 'flag'"):
        clone(model).fit(twice, y)

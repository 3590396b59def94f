"""TabularClassifier and TabularRegressor: from raw tables to predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nbmlp import TabularClassifier, TabularRegressor, TrainingWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 4))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=240)
LABELS = np.where(Y > 0.5, "high", np.where(Y > -0.5, "middle", "low"))
SMALL: dict[str, Any] = {"n_members": 3, "epochs": 6, "random_state": 0}


def flat(model: Any) -> np.ndarray:
    return np.concatenate([k.state.get_flat() for k in model.model_.kept])


def test_numbers_are_learned_and_stay_in_the_range_of_training() -> None:
    model = TabularRegressor(**SMALL).fit(X, Y)
    assert model.score(X, Y) > 0.5
    far = model.predict(100 * X)
    assert Y.min() <= far.min()
    assert far.max() <= Y.max()
    assert np.isclose(sum(m["weight"] for m in model.members_), 1.0)


def test_classes_are_learned() -> None:
    model = TabularClassifier(**SMALL).fit(X, LABELS)
    assert model.score(X, LABELS) > 0.7
    shares = model.predict_proba(X)
    assert shares.shape == (240, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(model.classes_[shares.argmax(axis=1)], model.predict(X))


def test_the_number_of_cores_changes_nothing() -> None:
    alone, beside = (TabularClassifier(**SMALL, n_jobs=n).fit(X, LABELS) for n in (1, 3))
    np.testing.assert_array_equal(flat(alone), flat(beside))
    np.testing.assert_array_equal(alone.predict_proba(X), beside.predict_proba(X))


def test_several_labels_and_several_targets() -> None:
    several = np.column_stack([Y > 0, X[:, 2] > 0]).astype(int)
    found = TabularClassifier(**SMALL).fit(X, several)
    assert found.predict(X).shape == found.predict_proba(X).shape == (240, 2)
    assert (found.predict(X) == several).mean() > 0.7
    numbers = np.column_stack([Y, 5 * X[:, 2]])
    assert TabularRegressor(**SMALL).fit(X, numbers).score(X, numbers) > 0.4


def test_folds_hold_out_every_row_once() -> None:
    model = TabularRegressor(**SMALL, n_folds=3).fit(X, Y)
    folds = {(m["member"], m["fold"]) for m in model.members_}
    assert folds == {(m, f) for m in range(3) for f in range(3)}
    assert len(model.model_.kept) % 3 == 0


def test_time_limit_is_told() -> None:
    limited = TabularRegressor(n_members=50, epochs=10**6, time_limit=0.5, random_state=0)
    with pytest.warns(TrainingWarning, match=r"time_limit=0\.5 ended training: of 50 members"):
        limited.fit(X, Y)
    assert limited.stopped_by_ == "time limit"
    assert np.isfinite(limited.predict(X)).all()

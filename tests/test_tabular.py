"""TabularClassifier and TabularRegressor: from raw tables to predictions."""

from __future__ import annotations

import io
import signal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray

from nbmlp import (
    DataError,
    EarlyStopping,
    ProgressBar,
    SpecError,
    TabularClassifier,
    TabularRegressor,
    TrainingWarning,
)
from nbmlp.tabular import fitting
from nbmlp.tabular import model as tabular_model
from nbmlp.tabular import select as select_module
from nbmlp.tabular.criteria import Truth, criterion_of
from nbmlp.tabular.options import Options
from nbmlp.tabular.select import select
from nbmlp.tabular.targets import Targets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 4))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=240)
LABELS = np.where(Y > 0.5, "high", np.where(Y > -0.5, "middle", "low"))
SMALL: dict[str, Any] = {"n_members": 3, "epochs": 6, "random_state": 0}


def flat(model: Any) -> NDArray[Any]:
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


def test_few_rows_are_held_out_once_each() -> None:
    short = {"epochs": 1, "random_state": 0}
    model = TabularRegressor(**short).fit(X, Y)
    assert {m["fold"] for m in model.members_} == set(range(5))
    assert len(model.members_) == 50
    for said in ({"n_folds": 1, "n_members": 1}, {"n_members": 2}, {"preset": "fast"}):
        once = TabularRegressor(**short | said).fit(X, Y)
        assert {m["fold"] for m in once.members_} == {0}
    together = TabularRegressor(**short).fit(X, Y, groups=np.arange(len(X)) // 20)
    assert {m["fold"] for m in together.members_} == {0}
    apart = TabularRegressor(**short).fit(X[:200], Y[:200], X_val=X[200:], y_val=Y[200:])
    assert len(apart.members_) == 32


@pytest.mark.parametrize(
    ("rows", "said", "folds"),
    [
        (49, {}, 1), (50, {}, 5), (5000, {}, 5), (5001, {}, 1), (9000, {"n_folds": 3}, 3),
        (300, {"time_ordered": True}, 1), (300, {"validation_fraction": 0.3}, 1),
    ],
)  # fmt: skip
def test_how_often_nets_are_trained(rows: int, said: dict[str, Any], folds: int) -> None:
    assert Options(**said).recipe(rows, "regression").folds == folds


def test_time_limit_is_told() -> None:
    limited = TabularRegressor(n_members=50, epochs=10**6, time_limit=0.5, random_state=0)
    with pytest.warns(TrainingWarning, match=r"time_limit=0\.5 ended training: of 50 members"):
        limited.fit(X, Y)
    assert limited.stopped_by_ == "time limit"
    assert np.isfinite(limited.predict(X)).all()


def test_all_nets_are_one_course_of_epochs() -> None:
    told: list[tuple[int, int]] = []
    stream = io.StringIO()

    def tell(run: Any, record: Any) -> None:
        told.append((record.epoch, run.epochs))

    model = TabularRegressor(**SMALL, n_jobs=2, callbacks=[tell, ProgressBar(stream)]).fit(X, Y)
    done = sum(m["epochs"] for m in model.members_)
    assert [epoch for epoch, _ in told] == list(range(1, done + 1))
    assert told[-1][1] == done
    assert f"epoch {done}/{done}" in stream.getvalue()
    assert "rmse" in stream.getvalue()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c_ends_with_the_best_so_far(n_jobs: int) -> None:
    def press(run: Any, record: Any) -> None:
        if record.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    settings = {**SMALL, "epochs": 10**6}
    model = TabularRegressor(**settings, n_jobs=n_jobs, callbacks=press).fit(X, Y)
    assert model.stopped_by_ == "interrupted"
    assert np.isfinite(model.predict(X)).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_callback_ends_all() -> None:
    def stop(run: Any, record: Any) -> None:
        run.stop("enough")

    model = TabularRegressor(**{**SMALL, "epochs": 10**6}, callbacks=stop).fit(X, Y)
    assert model.stopped_by_ == "enough"
    with pytest.raises(SpecError, match="this callback is for one net"):
        TabularRegressor(**SMALL, callbacks=EarlyStopping()).fit(X, Y)


def test_a_class_of_validation_alone_is_told_and_counts_as_missed() -> None:
    strange = np.append(LABELS[:39], "strange")
    model = TabularClassifier(**SMALL, eval_metric="error")
    with pytest.warns(TrainingWarning, match="class 'strange' occurs in the validation rows only"):
        model.fit(X, LABELS, X_val=X[:40], y_val=strange)
    missed = (model.predict(X[:40]) != strange).mean()
    assert model.validation_score_ == pytest.approx(missed)


def test_a_rare_class_is_never_held_out_as_a_whole() -> None:
    rare = LABELS.copy()
    rare[7] = "rare"
    for seed in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = TabularClassifier(n_members=1, epochs=1, random_state=seed, n_jobs=1).fit(
                X, rare
            )
        assert list(model.classes_) == ["high", "low", "middle", "rare"]


@pytest.mark.parametrize(
    ("X", "y", "weights", "sentence"),
    [
        (X, np.full(240, "a"), None, "y has the one class 'a'"),
        (X, LABELS, np.zeros(240), "sample_weight is zero in every row"),
        (X, LABELS, -np.ones(240), "weights must be 0 or more"),
        (X[:1], LABELS[:1], None, "class|n_samples=1"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(X: Any, y: Any, weights: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        TabularClassifier(**SMALL).fit(X, y, weights)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"preset": "deflt"}, "unknown preset 'deflt': did you mean 'default'"),
        ({"eval_metric": "rmse"}, "eval_metric='rmse' does not go with classes"),
        ({"n_members": 0}, "n_members=0 must be a whole number, 1 or more"),
        ({"time_limit": -1}, "time_limit=-1 must be a number"),
        ({"n_folds": 1.5}, "n_folds=1.5 must be a whole number"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0 must be a number"),
        ({"time_ordered": 3}, "time_ordered=3 must be True or False"),
        ({"class_weight": {"nobody": 2.0}}, "class_weight names 'nobody'"),
    ],
)
def test_wrong_settings_are_named(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        TabularClassifier(**{**SMALL, **setting}).fit(X, LABELS)


def test_intervals_cover_as_many_rows_as_they_say() -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(-2, 2, size=(3000, 2))
    y = x[:, 0] ** 2 + (0.1 + 0.3 * (x[:, 1] > 0)) * rng.normal(size=3000)
    model = TabularRegressor(n_members=3, epochs=8, random_state=0, validation_fraction=0.3)
    model.fit(x[:1500], y[:1500])
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(x[1500:], coverage)
        inside = ((low <= y[1500:]) & (y[1500:] <= high)).mean()
        assert abs(inside - coverage) < 0.05
    with pytest.raises(SpecError, match=r"coverage=0\.9999 needs 9999 held-out rows"):
        model.predict_interval(x, 0.9999)


def test_memory_of_many_nets_stays_within_what_is_estimated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimates, most = [], 0
    estimate = fitting.needed_bytes

    def noted(*given: Any) -> int:
        estimates.append(estimate(*given))
        return estimates[-1]

    def weigh(run: Any, record: Any) -> None:
        nonlocal most
        most = max(most, sum(_bytes_of(t) for t in run._trainees))

    monkeypatch.setattr(fitting, "needed_bytes", noted)
    monkeypatch.setattr(fitting, "_LARGE", 1000)
    with pytest.warns(TrainingWarning, match=r"12 nets take up to \d+\.\d GB beside the data"):
        TabularRegressor(**{**SMALL, "n_members": 12}, callbacks=weigh).fit(X, Y)
    assert 0.3 * estimates[0] < most <= estimates[0]


def _bytes_of(trainee: Any) -> int:
    held = [trainee.weights, trainee.outputs]
    if trainee.state is not None:
        held += [trainee.state.theta, trainee.state.slots]
    return sum(array.nbytes for array in held if array is not None)


def test_half_of_the_weight_is_shared_by_the_better_half() -> None:
    targets = Targets.fit(Y, "regression")
    truth = Truth(targets, targets.encode(Y, len(Y)))
    above, below, bad = (truth.codes + shift for shift in (0.3, -0.35, 5.0))
    weights, value = select([bad, above, below, bad], truth, criterion_of(None, targets), 2)
    np.testing.assert_allclose(weights, [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(value, 0.025 * targets.scale, rtol=1e-6)
    weights, _ = select([above, bad], truth, criterion_of(None, targets), 9)
    np.testing.assert_allclose(weights, [1, 0])


def test_nets_of_equal_worth_share_what_chance_would_give_to_one() -> None:
    """Each is right about rows of its own: one choice on so few rows takes some of them only."""
    labels = np.arange(60) % 2
    targets = Targets.fit(labels, "classes")
    truth = Truth(targets, targets.encode(labels, 60))
    rng = np.random.default_rng(3)
    nets = [np.abs(labels - rng.beta(1, 6, 60))[:, None] for _ in range(8)]
    criterion = criterion_of(None, targets)
    weights, _ = select(nets, truth, criterion, 50)
    [often] = select_module._views(truth)[:1]
    once = select_module._chosen([criterion.terms(truth, n) for n in nets], often, criterion, 50)
    assert np.count_nonzero(once) < np.count_nonzero(weights) == 8
    np.testing.assert_allclose(weights.sum(), 1.0)
    many = Truth(targets, np.zeros(30_001, np.int32))
    assert select_module._views(many) == [many]


def test_predictions_of_many_rows_come_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TabularRegressor(**{**SMALL, "epochs": 1}).fit(X, Y)
    rows = np.tile(X, (10, 1))
    whole = model.predict(rows)
    monkeypatch.setattr(tabular_model, "_PORTION", 1)
    np.testing.assert_array_equal(model.predict(rows), whole)
    assert len(list(model.model_.each(rows))) == 3


def test_rows_are_held_out_as_wished() -> None:
    groups = np.arange(240) // 20
    settings = {**SMALL, "epochs": 1, "n_members": 1, "n_jobs": 1}
    held: list[Any] = []
    divided = fitting.divide

    def noted(*given: Any) -> Any:
        held.append(divided(*given))
        return held[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "divide", noted)
        TabularRegressor(**settings, validation_fraction=0.25).fit(X, Y, groups=groups)
        TabularRegressor(**settings, time_ordered=True, n_folds=3).fit(X, Y)
        TabularRegressor(**settings).fit(X, Y, X_val=X[:9], y_val=Y[:9])
    (by_group,), in_time = held
    assert not np.intersect1d(groups[by_group.train], groups[by_group.held]).size
    assert len(by_group.held) == 60
    assert [division.held[-1] for division in in_time] == [119, 179, 239]


def test_targets_of_other_kinds() -> None:
    settings = {**SMALL, "epochs": 1, "n_members": 1, "n_jobs": 1}
    for y in (pl.Series(LABELS.tolist()), Y > 0, pd.Series(LABELS, dtype="category")):
        model = TabularClassifier(**settings).fit(X, y)
        assert set(model.predict(X)) <= set(y)
    assert TabularRegressor(**settings).fit(X, pl.Series(Y)).predict(X).shape == (240,)


@pytest.mark.parametrize("metric", ["roc_auc", "f1_macro", "mcc", "accuracy", "log_loss"])
def test_any_score_of_classes_compares_nets(metric: str) -> None:
    settings = {**SMALL, "n_members": 2, "epochs": 3, "n_jobs": 1}
    for y in (LABELS, Y > 0):
        model = TabularClassifier(**settings, eval_metric=metric)
        model.fit(X[:180], y[:180], X_val=X[180:], y_val=y[180:])
        measured = model.model_.evaluate(X[180:], y[180:], metrics=metric)[metric]
        assert model.validation_score_ == pytest.approx(measured, rel=1e-4)
        assert model.members_[0]["epochs"] == 3


@pytest.mark.parametrize("metric", ["r2", "mae", "rmse", "pinball(0.8)"])
def test_any_score_of_numbers_compares_nets(metric: str) -> None:
    settings = {**SMALL, "n_members": 2, "epochs": 3, "n_jobs": 1}
    for y in (Y, np.column_stack([Y, 9 * X[:, 1]])):
        model = TabularRegressor(**settings, eval_metric=metric)
        model.fit(X[:180], y[:180], X_val=X[180:], y_val=y[180:])
        measured = model.model_.evaluate(X[180:], y[180:], metrics=metric)[metric]
        assert model.validation_score_ == pytest.approx(measured, rel=0.02)
    several = np.column_stack([Y > 0, Y > 1]).astype(int)
    with pytest.raises(SpecError, match="eval_metric='f1' does not go with"):
        TabularClassifier(**settings, eval_metric="f1").fit(X, several)


def test_columns_are_worth_something() -> None:
    model = TabularRegressor(**SMALL).fit(X, Y)
    assert set(model.importance(X, Y).order[:2]) == {0, 1}


def test_whole_numbers_are_the_same_labels_with_and_without_a_point() -> None:
    labels = (Y > 0).astype(int)
    model = TabularClassifier(**SMALL).fit(X, labels, X_val=X[:50], y_val=labels[:50].astype(float))
    assert model.model_.targets.known(labels[:5].astype(float)).all()
    assert not model.model_.targets.known([2.0]).any()

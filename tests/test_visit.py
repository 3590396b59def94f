"""Targets that an epoch looks through itself: a bad one is named as ever, and the epoch undone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP, predict
from nbmlp.data import Given
from nbmlp.errors import DataError, NonFiniteError
from nbmlp.names import LOSSES

ROWS, OUTPUTS, BAD, COLUMN = 1100, 64, 777, 5
SETTINGS: dict[str, Any] = {
    "hidden": (4,), "task": "regression", "batch_size": 100, "schedule": "constant", "seed": 5,
    "optimizer": "adam(0.001)",
}  # fmt: skip
#: A class of losses each, and one whose value is bounded: it would not tell.
BOUNDED = [f"{name}(5)" for name, row in LOSSES.items() if row.classes]
NUMERIC = [name for name, row in LOSSES.items() if not row.classes]


def data(kind: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS, 3)).astype(np.float32)
    y = rng.random((ROWS, OUTPUTS))
    return X, (y / y.sum(axis=1, keepdims=True)).astype(kind)


def trained(loss: str = "squared_error", **settings: Any) -> MLP:
    """A model that has seen data."""
    output = LOSSES[loss.partition("(")[0]].canonical or "identity"
    X, y = data()
    return MLP(**{**SETTINGS, "loss": loss, "output": output, **settings}).partial_fit(X, y)


def values(model: MLP) -> list[np.ndarray]:
    """All that the next epoch starts from."""
    state = model.net.state
    return [state.theta, state.slots, np.array([state.step, state.epoch, len(model.history)])]


def in_small_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what one goes back to is not the epoch's start."""
    monkeypatch.setattr(predict, "_FIRST_REGION", 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("loss", NUMERIC + BOUNDED)
def test_a_bad_target_is_named_and_nothing_has_changed(monkeypatch, loss, kind, dtype, value):
    in_small_regions(monkeypatch)
    model, (X, y) = trained(loss, dtype=dtype), data(kind)
    y[BAD, COLUMN] = value
    with pytest.raises(DataError) as looked_for:
        MLP(**SETTINGS, dtype=dtype).fit(X, y)
    before = copy.deepcopy(values(model))
    with pytest.raises(DataError) as met:
        model.partial_fit(X, y)
    assert str(met.value) == str(looked_for.value)
    assert f"row {BAD}, column {COLUMN}" in str(met.value)
    for now, then in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("optimizer", ["adam(0.001)", "sgd(0.01)", "lbfgs"])
def test_training_goes_on_as_if_it_had_not_been_tried(monkeypatch, optimizer):
    in_small_regions(monkeypatch)
    model, twin = (trained(optimizer=optimizer) for _ in range(2))
    X, y = data()
    bad = y.copy()
    bad[BAD, COLUMN] = np.nan
    with pytest.raises(DataError):
        model.partial_fit(X, bad)
    for one in (model, twin):
        one.partial_fit(X, y)
    np.testing.assert_array_equal(model.get_flat(), twin.get_flat())
    np.testing.assert_array_equal(model.net.state.slots, twin.net.state.slots)


def test_a_target_beyond_the_net_s_type():
    model, (X, y) = trained(), data("float64")
    y[BAD, COLUMN] = 1e39
    before = model.get_flat()
    with pytest.raises(DataError, match=rf"y has 1e\+39 at row {BAD}, .* too large for float32"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.get_flat(), before)


def test_a_row_without_weight_counts_too():
    model, (X, y), weights = trained(), data(), np.ones(ROWS)
    y[BAD, COLUMN], weights[BAD] = np.nan, 0.0
    with pytest.raises(DataError, match=f"y has NaN at row {BAD}, column {COLUMN}"):
        model.partial_fit(X, y, sample_weight=weights)


def test_rows_are_called_what_the_user_calls_them():
    model, (X, y) = trained(), data()
    y[BAD, COLUMN] = np.nan
    with pytest.raises(DataError, match=f"y has NaN at row {BAD + 5000}, column {COLUMN}"):
        model.partial_fit(X, y, row_numbers=np.arange(ROWS) + 5000)


def test_other_failures_stay_what_they_are():
    """Their updates up to the failed one are kept, as in fit."""
    model, (X, y) = trained(shuffle=False), data()
    X[BAD, 1] = np.nan
    with pytest.raises(NonFiniteError, match=f"X has nan at row {BAD}, column 1"):
        model.partial_fit(X, y)
    assert model.net.state.step == 2 * (ROWS // 100) - 4
    y[3, 0] = np.nan  # of both, targets are told, as they are where they are looked for
    before = model.get_flat()
    with pytest.raises(DataError, match="y has NaN at row 3, column 0"):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.get_flat(), before)


@pytest.mark.parametrize("policy", ["warn", "ignore"])
def test_where_training_would_not_tell_they_are_looked_for(policy):
    model, (X, y) = trained(on_nonfinite=policy), data()
    y[BAD, COLUMN] = np.nan
    with pytest.raises(DataError, match=f"y has NaN at row {BAD}, column {COLUMN}"):
        model.partial_fit(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_targets_are_read_where_they_lie_with_the_same_bits(kind, dtype):
    model, (X, y) = trained(dtype=dtype), data(kind)
    twin = copy.deepcopy(model)
    assert np.shares_memory(model.net.visit(Given(X, y), tells=True).rows.y, y)
    model.partial_fit(X, y)
    twin.partial_fit(X, y.astype(dtype).tolist())
    np.testing.assert_array_equal(model.get_flat(), twin.get_flat())


def test_few_targets_and_those_of_classes_are_looked_for():
    X, y = data()
    few = trained().net.visit(Given(X[:100], y[:100].astype("float64")), tells=True)
    assert few.rows.y.dtype == np.float32
    wide = trained(hidden=(300,)).net.visit(Given(X, y.astype("float64")), tells=True)
    assert wide.rows.y.dtype == np.float32
    bounded = trained(BOUNDED[0]).net.visit(Given(X, y.astype("float64")), tells=True)
    assert bounded.rows.y.dtype == np.float32

"""A learning rate that goes along when the batch size is changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbmlp import MLP, SpecError
from nbmlp.spec import TrainSpec


def problem(rows=96):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 5))
    return X, X @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(rows, 2))


def trained(**settings):
    base = {"hidden": 7, "dtype": "float64", "task": "regression", "epochs": 3}
    return MLP(**base | settings).fit(*problem())


@pytest.mark.parametrize(
    ("optimizer", "factor"),
    [
        ("sgd(0.1)", 9.0), ("sgd(0.1, momentum=0.9)", 9.0), ("rmsprop(0.1)", 3.0),
        ("rmsprop_gains(0.1)", 3.0), ("adagrad(0.1)", 3.0), ("adam(0.1)", 3.0),
        ("adamw(0.1)", 3.0), ("lamb(0.1)", 3.0), ("rprop(0.1)", 1.0),
    ],
)  # fmt: skip
def test_the_rate_follows_the_stated_rule(optimizer, factor):
    train = TrainSpec(optimizer=optimizer, base_batch=50)
    assert train.learning_rate_for(450) == pytest.approx(0.1 * factor, rel=1e-15)
    assert train.learning_rate_for(50) == 0.1
    assert train.with_(base_batch=None).learning_rate_for(450) == 0.1


def test_a_sum_of_gradients_grows_with_the_batch_by_itself():
    train = TrainSpec(optimizer="sgd(0.1)", base_batch=50, reduction="sum")
    assert train.learning_rate_for(450) == 0.1
    adam = train.with_(optimizer="adam(0.1)")
    assert adam.learning_rate_for(450) == pytest.approx(0.3, rel=1e-15)


@pytest.mark.parametrize("batch_size", [32, None])
def test_training_takes_the_transferred_rate(batch_size):
    rows = batch_size or 96
    transferred = trained(optimizer="adam(0.01)", batch_size=batch_size, base_batch=8)
    by_hand = trained(optimizer="adam", learning_rate=0.01 * math.sqrt(rows / 8),
                      batch_size=batch_size)  # fmt: skip
    np.testing.assert_array_equal(transferred.get_flat(), by_hand.get_flat())
    np.testing.assert_array_equal(transferred.history.learning_rate, by_hand.history.learning_rate)


def test_mean_and_sum_make_the_same_steps_when_the_base_does():
    for batch in (8, 48):
        settings = {"batch_size": batch, "base_batch": 8, "schedule": "constant"}
        mean = trained(optimizer="sgd(0.04)", **settings)
        total = trained(optimizer="sgd(0.005)", reduction="sum", **settings)
        np.testing.assert_allclose(mean.get_flat(), total.get_flat(), rtol=1e-9)


def test_the_setting_is_saved_and_files_without_it_are_read(tmp_path):
    trained(base_batch=16).save(tmp_path / "m.safetensors")
    assert MLP.load(tmp_path / "m.safetensors").train_spec.base_batch == 16
    before = {k: v for k, v in TrainSpec().to_dict().items() if k != "base_batch"}
    assert TrainSpec.from_dict(before) == TrainSpec()


@pytest.mark.parametrize("value", [0, 2.5, "all"])
def test_a_wrong_base_is_refused(value):
    with pytest.raises(SpecError, match=f"base_batch={value!r} must be a whole number, 1 or more"):
        MLP(base_batch=value)

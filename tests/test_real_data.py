"""Whole trainings on real data: what a user of each kind would run, with the error they get."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import nbmlp
from nbmlp.plan import make_plan

GAINS = {
    "hidden": 300, "activation": "logistic", "output": "logistic", "loss": "squared_error",
    "optimizer": nbmlp.RMSpropGains(0.001, increase=1.3, decrease=0.5), "schedule": "constant",
    "batch_size": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> nbmlp.Dataset:
    """The table of digits, which takes long to read; printed for the record (pytest -s)."""
    start = time.perf_counter()
    data = nbmlp.read(data_dir / "digit-recognizer" / "train.csv.gz", target="label")
    print(f"\n42,000 x 785 from .csv.gz: {time.perf_counter() - start:.2f} s")
    return data


def test_gains_optimizer_on_mnist(data_dir: Path) -> None:
    """Per-weight gains, sigmoids and squared error on a third; tests/soak has all, 30 epochs."""
    data = nbmlp.read(data_dir / "mnist")
    model = nbmlp.MLP(**GAINS, epochs=3, l2=2e-6).fit(data.X[:20_000], data.y[:20_000])
    assert model.evaluate(data.test.X, data.test.y)["error"] <= 0.1
    assert model.check_gradients(data.X[:100], data.y[:100], entries=20).passed


def test_digit_table_in_one_full_batch(digits: nbmlp.Dataset) -> None:
    """42,000 rows as one update within 8 MB of workspace; mini-batches as classes."""
    assert digits.X.shape == (42000, 784)
    assert digits.X.dtype == np.uint8
    model = nbmlp.MLP(
        250, bias=False, init="uniform(-0.1, 0.1)", activation="logistic", output="logistic",
        loss="squared_error", batch_size=None, epochs=3, optimizer="sgd(0.5)",
        schedule="constant",
    )  # fmt: skip
    model.fit(digits.X, digits.y / 10.0)
    assert model.history[0].epoch == 1
    assert model.history.train_loss[-1] < model.history.train_loss[0]
    assert make_plan(model.model_spec, len(digits)).workspace_bytes <= 8 * 2**20


def test_adult_from_raw_rows(data_dir: Path) -> None:
    data = nbmlp.read(data_dir / "adult" / "adult.csv.gz", target=-1).split(0.2, seed=1)
    model = nbmlp.MLP(32, epochs=5, batch_size=100).fit(data.X, data.y)
    assert model.evaluate(data.test.X, data.test.y)["error"] < 0.16
    assert set(np.unique(model.predict(data.test.X))) == {"<=50K", ">50K"}


def test_housing_from_raw_rows(data_dir: Path) -> None:
    source = data_dir / "california-housing" / "housing.csv"
    data = nbmlp.read(source, target="median_house_value").split(0.2, seed=1)
    model = nbmlp.MLP((64, 64), epochs=20, batch_size=64, task="regression").fit(data.X, data.y)
    measures = model.evaluate(data.test.X, data.test.y)
    assert measures["r2"] > 0.75
    assert measures["mean_absolute_error"] < 50_000  # dollars


def test_tables_are_read_in_seconds(digits: nbmlp.Dataset) -> None:
    """Printed for the record: python -m pytest -s -k tables_are_read tests/test_real_data.py"""
    assert np.bincount(digits.y.astype(int)).tolist() == [
        4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188,
    ]  # fmt: skip

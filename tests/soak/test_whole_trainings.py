"""The errors that people get who train on real data for as long as it takes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import nbmlp
from nbmlp.cli import run
from tests.test_real_data import GAINS

pytestmark = pytest.mark.soak


@pytest.mark.parametrize(("l2", "bound"), [(2e-6, 0.057), (1e-3, 0.12)])
def test_gains_optimizer(data_dir: Path, l2: float, bound: float) -> None:
    data = nbmlp.read(data_dir / "mnist")
    model = nbmlp.MLP(**GAINS, epochs=30, l2=l2).fit(data.X, data.y)
    assert model.evaluate(data.test.X, data.test.y)["error"] <= bound


def test_defaults_reach_two_percent(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(data_dir / "mnist"), "--hidden", "300", "--batch-size",
                 "100", "--epochs", "30", "--json", "--quiet"]  # fmt: skip
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["test_error"] <= 0.020


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


def test_a_large_table_is_read_in_seconds(data_dir: Path) -> None:
    """Printed for the record: python -m pytest -s -m soak -k large_table tests/soak"""
    start = time.perf_counter()
    digits = nbmlp.read(data_dir / "digit-recognizer" / "train.csv.gz", target="label")
    print(f"\n42,000 x 785 from .csv.gz: {time.perf_counter() - start:.2f} s")
    assert (digits.X.shape, digits.X.dtype) == ((42000, 784), np.uint8)
    assert np.bincount(digits.y.astype(int)).tolist() == [
        4132, 4684, 4177, 4351, 4072, 3795, 4137, 4401, 4063, 4188,
    ]  # fmt: skip

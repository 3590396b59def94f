"""The errors that people get who train on all of MNIST for as long as it takes."""

from __future__ import annotations

import json
from pathlib import Path

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

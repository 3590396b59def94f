"""Whole trainings on real images, with the error they get; tests/soak reads and trains more."""

from __future__ import annotations

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
def mnist(data_dir: Path) -> nbmlp.Dataset:
    return nbmlp.read(data_dir / "mnist")


def test_gains_optimizer_on_mnist(mnist: nbmlp.Dataset) -> None:
    """Per-weight gains, sigmoids and squared error on a third; tests/soak has all, 30 epochs."""
    model = nbmlp.MLP(**GAINS, epochs=3, l2=2e-6).fit(mnist.X[:20_000], mnist.y[:20_000])
    assert model.evaluate(mnist.test.X, mnist.test.y)["error"] <= 0.1
    assert model.check_gradients(mnist.X[:100], mnist.y[:100], entries=20).passed


def test_many_images_in_one_full_batch(mnist: nbmlp.Dataset) -> None:
    """42,000 rows as one update within 8 MB of workspace."""
    X, y = mnist.X[:42_000], mnist.y[:42_000]
    assert X.dtype == np.uint8
    model = nbmlp.MLP(
        250, bias=False, init="uniform(-0.1, 0.1)", activation="logistic", output="logistic",
        loss="squared_error", batch_size=None, epochs=3, optimizer="sgd(0.5)",
        schedule="constant",
    )  # fmt: skip
    model.fit(X, y / 10.0)
    assert model.history[0].epoch == 1
    assert model.history.train_loss[-1] < model.history.train_loss[0]
    assert make_plan(model.model_spec, len(X)).workspace_bytes <= 8 * 2**20

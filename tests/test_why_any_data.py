"""why() on data and settings of all kinds: a report that holds together, or a sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON
from why_nets import agrees

from nbmlp import MLP, DataError, SpecError

SETTINGS: tuple[dict[str, Any], ...] = (
    {}, {"optimizer": "lbfgs"}, {"optimizer": "rprop", "batch_size": None}, {"hidden": ()},
    {"hidden": (4, 4), "activation": ("tanh", "relu")}, {"loss": "poisson"}, {"loss": "huber"},
    {"dropout": 0.5, "input_dropout": 0.2}, {"bias": False, "init": "zeros"},
    {"optimizer": "sgd(1e30)"}, {"l1": 10.0}, {"standardise": True}, {"base_batch": 10},
    {"label_smoothing": 0.1, "loss": "cross_entropy", "output": "softmax"},
    {"hidden": (6, 6), **FEATURES_ON},
)  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_any_data_get_a_report_or_a_sentence(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    inputs = (X, rng.integers(0, 255, (80, 4)).astype(np.uint8), np.zeros((80, 4)), X * 1e30)
    targets = (rng.choice(list("abc"), 80), X[:, 0] > 0, X[:, 0], X[:, :2], np.ones(80))
    pairs, reports = [(x, y) for x in inputs for y in targets], 0
    # All with the default settings, and every other with others.
    for x, y in pairs[SETTINGS.index(settings) % 2 :: 2 if settings else 1]:
        model = MLP(**{"hidden": 6, "epochs": 3, "threads": 1} | settings)
        try:
            # With the default settings there is time for most cures, with others for a few.
            report = model.why(x, y, seconds=0.1 if settings else 0.5)
        except (DataError, SpecError):
            continue
        assert str(agrees(report))
        assert json.loads(report.to_json())["healthy"] == report.healthy
        assert (report.cured() is None) == report.healthy
        reports += 1
    assert reports >= (2 if settings else 4)

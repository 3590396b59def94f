"""Settings of nets in words."""

from __future__ import annotations

import re

import pytest

from nbmlp.tabular.recipe import PRESETS, draw
from nbmlp.tabular.words import in_words


def test_as_people_say_them() -> None:
    settings = {
        "plan": 0, "number_embedding": "none", "hidden": [160, 160, 160], "activation": "relu",
        "parametric_activation": True, "input_scale": True,
        "optimizer": {"name": "adam", "learning_rate": 0.002469185597, "beta2": 0.95},
        "weight_decay": 0.1082776622, "dropout": 0.0, "batch_size": 64, "schedule": "coslog",
    }  # fmt: skip
    assert in_words(settings, {"numbers": "robust", "bins": 128}) == (
        "128 bins, 3 layers of 160, relu with a learned factor, learned factors of inputs,"
        " adam 0.00247, weight decay 0.108, no dropout, batches of 64, coslog"
    )
    waves = {"number_embedding": "pbld(16, 4, 0.183, 4.5)", "hidden": [64, 32]}
    said = "no bins, learned codes of categories, 16 waves of each number, 2 layers of 64, 32"
    assert in_words(waves, {"embed": True}) == said
    assert in_words({"hidden": [], "new_one": 0.123456}) == "no hidden layer, new one 0.123"


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_drawn_is_told_raw(preset: str) -> None:
    for member in range(12):
        for task in ("classes", "regression"):
            drawn = draw(preset, 1, member, task, 2000)
            told = in_words(drawn, PRESETS[preset].for_task(task).plans[drawn["plan"]])
            assert not re.search(r"True|False|None|[{}()=_]|\d\.\d{6}|plan", told)

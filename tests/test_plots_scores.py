"""Pictures of how good predictions are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.errors import DataError
from nbmlp.metrics import calibration, confusion_matrix
from nbmlp.plots import (
    calibration_curve,
    of_classes,
    predicted_values,
)
from nbmlp.plots import confusion_matrix as draw_confusion
from tests import children

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

X, Y = children.rows(150)
HOSTILE = ["$\\frac{a}{", "<script>alert(1)</script>", "x" * 500, "a\nb\t\x00c", "*/ ]]> &", "é"]


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_counts_stand_in_their_cells_and_are_read_on_any_shade() -> None:
    figure = draw_confusion([[40, 2], [0, 7]], ["no", "yes"])
    (ax,) = figure.axes
    assert texts(ax) == ["40", "2", "7"]
    assert [text.get_color() for text in ax.texts] == ["white", "#333333", "white"]
    assert ax.texts[1].get_position() == (1, 0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no", "yes"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("k", [1, 2, 26, 31, 150])
def test_all_of_many_classes_fit(k: int) -> None:
    true = np.arange(k).repeat(3)
    figure = draw_confusion(confusion_matrix(true, true), [f"class {i}" for i in range(k)])
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert len(ax.texts) == (k if k <= 30 else 0)
    width, height = figure.get_size_inches()
    assert max(width, height) <= 15
    whole = figure.bbox
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        box = label.get_window_extent()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_hostile_names_are_text(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"c.{ending}"
    points = calibration([0, 1], [0.2, 0.9])
    of_classes(np.eye(6), HOSTILE, points, HOSTILE[0], title=HOSTILE[1], path=path)
    predicted_values([1.0, 2.0], [1.0, 2.5], names=HOSTILE[:1], title=HOSTILE[0])
    if ending == "svg":
        tree = ET.parse(path)
        assert not [e for e in tree.iter() if e.tag.endswith("script")]


def test_dots_of_the_calibration_grow_with_their_rows() -> None:
    figure = calibration_curve([[0.1, 0.0, 90], [0.9, 1.0, 10]], name="yes")
    (ax,) = figure.axes
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), [[0.1, 0.0], [0.9, 1.0]])
    assert dots.get_sizes()[0] > 3 * dots.get_sizes()[1]
    assert ax.get_xlabel() == "probability of yes"


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: draw_confusion(np.eye(2), ["a"]), "does not go with 1 labels"),
        (lambda: calibration_curve(np.empty((0, 3))), "no probability to draw"),
        (lambda: predicted_values([1.0], [1.0, 2.0]), "do not go with targets"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        draw()


def test_a_model_draws_itself(tmp_path: Path) -> None:
    fast: dict[str, Any] = {"hidden": (9,), "epochs": 1, "batch_size": 25}
    first, second = MLP(**fast).fit(X, Y).plot_evaluation(X, Y, title="rows").axes
    assert sum(map(int, texts(first))) == 150
    assert second.get_xlabel() == "probability of the predicted class"
    two = MLP(**fast, output="identity", loss="squared_error").fit(X, Y == 2)
    assert len(two.plot_evaluation(X, Y == 2).axes) == 1  # there are no probabilities
    numbers = MLP(**fast).fit(X, X[:, :2]).plot_evaluation(X, X[:, :2], names=["one", "two"])
    assert [ax.get_title(loc="left") for ax in numbers.axes] == ["one", "two"]

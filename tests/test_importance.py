"""What each raw column is worth to a model's predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.inspection import permutation_importance as peer
from sklearn.linear_model import LinearRegression, LogisticRegression

from nbmlp import MLP, DataError, Importance, SpecError, permutation_importance
from nbmlp.cli import run
from nbmlp.data import Table
from nbmlp.importance import by_shuffling
from tests import children

LEARN = (
    "train --data t.csv --target price --hidden 9 --learning-rate 0.02 --epochs 30 --out m --quiet"
)
X, Y = children.rows(150)
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(200, 3))
TARGET = NUMBERS @ [3.0, 0.0, -1.0]
COLOURS = RNG.choice(["red", "green", "blue"], 200)


def test_it_is_that_of_sklearn_but_for_the_draw() -> None:
    linear = LinearRegression().fit(NUMBERS, TARGET)
    found = permutation_importance(linear, NUMBERS, TARGET, repeats=30)
    expected = peer(linear, NUMBERS, TARGET, n_repeats=30, random_state=0)
    np.testing.assert_allclose(found.mean, expected.importances_mean, rtol=0.1, atol=1e-9)
    assert found.score == "R2"
    assert found.value == pytest.approx(1.0)
    assert found.order == [0, 2, 1]
    assert found.mean[1] == 0.0
    assert found.deviation[0] > 0


def test_of_a_loss_it_is_what_is_added() -> None:
    linear = LinearRegression().fit(NUMBERS, TARGET)
    found = permutation_importance(linear, NUMBERS, TARGET, "rmse", sample_weight=np.ones(200))
    assert found.order == [0, 2, 1]
    assert found.mean[0] > 2


def test_gains_and_losses_that_cancel_are_nothing() -> None:
    right, less, more = 100 / 225, 99 / 225, 101 / 225
    scores = iter([right, less, more])
    found = by_shuffling(lambda rows: next(scores), NUMBERS[:, :1], "accuracy", repeats=2)
    assert (right - less) + (right - more) != 0.0
    assert found.mean[0] == 0.0


def test_scores_of_probabilities_ask_for_them() -> None:
    y = np.where(TARGET > 0, "b", "a")
    model = LogisticRegression().fit(NUMBERS, y)
    found = permutation_importance(model, NUMBERS, y, "auc", names=["x", "y", "z"])
    assert found.score == "ROC AUC"
    assert [found.names[j] for j in found.order] == ["x", "z", "y"]
    with pytest.raises(SpecError, match="root_mean_squared_error is a score of numbers"):
        permutation_importance(model, NUMBERS, y, "rmse")


def test_all_that_comes_of_a_column_moves_together() -> None:
    """A column of text is several inputs; the net sees whole rows of one colour or another."""
    table = Table({"colour": COLOURS, "noise": NUMBERS[:, 1]}, {"colour": "category"})
    y = COLOURS == "red"
    model = MLP(hidden=(9,), epochs=30, batch_size=25, learning_rate=0.02).fit(table, y)
    before = {name: table[name].copy() for name in table}
    seen: list[tuple[float, str]] = []
    found = model.importance(table, y, progress=lambda *told: seen.append(told))
    assert found.names == ("colour", "noise")
    assert table.reordered("noise", np.arange(200)[::-1]).kinds == {"colour": "category"}
    share = np.bincount(y).max() / len(y)
    assert found.mean[0] == pytest.approx(1 - share**2 - (1 - share) ** 2, abs=0.1)
    assert abs(found.mean[1]) < 0.05
    assert seen == [(0.0, "colour"), (0.5, "noise")]
    assert all((table[name] == before[name]).all() for name in table)
    again = model.importance(table, y)
    np.testing.assert_array_equal(again.mean, found.mean)
    assert model.importance(table, y, seed=1).deviation[0] != found.deviation[0]
    assert "colour" in str(found).splitlines()[1]


def test_the_array_stays_as_it_is_and_columns_are_shuffled_one_at_a_time() -> None:
    given, seen = NUMBERS.copy(), []

    class Looks:
        def predict(self, rows: Any) -> Any:
            seen.append([j for j in range(3) if (rows[:, j] != NUMBERS[:, j]).any()])
            return rows[:, 0]

    permutation_importance(Looks(), given, TARGET, repeats=2)
    np.testing.assert_array_equal(given, NUMBERS)
    assert seen == [[], [0], [0], [1], [1], [2], [2]]


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (TARGET, {}, "X has no columns to shuffle: give a dense array or a table"),
        (NUMBERS, {"names": ["one"]}, "X has 3 columns: 1 names do not go with them"),
        (NUMBERS, {"repeats": 0}, "repeats=0 must be a whole number, 1 or more"),
    ],
)
def test_what_is_wrong_is_said(data: Any, options: Any, said: str) -> None:
    linear = LinearRegression().fit(NUMBERS, TARGET)
    with pytest.raises((DataError, SpecError), match=said):
        permutation_importance(linear, data, TARGET, **options)


def test_hostile_names_are_on_one_line_and_the_picture_takes_them(tmp_path: Path) -> None:
    names = ("$\\frac{", "a\nb\x1b[31m", "<script>" * 20)
    found = Importance(names, np.array([0.3, 0.2, -0.1]), np.zeros(3), "accuracy", 0.9, 5)
    lines = str(found).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) < 100
    assert "\x1b" not in str(found)
    found.plot(tmp_path / "i.svg")
    assert "<script>" not in (tmp_path / "i.svg").read_text()
    assert found.to_dict()["columns"][0] == {"name": names[0], "mean": 0.3, "deviation": 0.0}


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{a},{c},{y:.3f}" for (a, *_), c, y in zip(NUMBERS, COLOURS, TARGET, strict=True)]
    Path("t.csv").write_text("\n".join(["width,colour,price", *lines]))
    learn = LEARN.split()
    assert run(learn) == 0
    capsys.readouterr()
    look = ["importance", "m", "--data", "t.csv", "--repeats", "2", "--quiet"]
    assert run([*look, "--json", "--metric", "mae"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["score"], told["repeats"]) == (200, "MAE", 2)
    assert [column["name"] for column in told["columns"]] == ["width", "colour"]
    assert run([*look, "--plot", "i.png"]) == 0
    assert Path("i.png").read_bytes().startswith(b"\x89PNG")
    assert run(["evaluate", "m", "--data", "t.csv", "--plot", "e.pdf"]) == 0
    assert Path("e.pdf").read_bytes().startswith(b"%PDF")

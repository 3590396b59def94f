"""What is said of the nets of an ensemble, and the diagnosis of one of them by itself."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nbmlp
from nbmlp import MLP, NonFiniteError, SpecError, TabularClassifier, TabularRegressor
from nbmlp.cli import run
from nbmlp.metrics.classes import unanswered
from nbmlp.tabular import fitting
from nbmlp.tabular.alone import alone
from nbmlp.tabular.criteria import Truth, criterion_of
from nbmlp.tabular.model import TabularModel
from nbmlp.tabular.options import Options
from nbmlp.tabular.recipe import PRESETS, draw
from nbmlp.tabular.rows import inputs_of
from nbmlp.tabular.targets import Targets
from nbmlp.tabular.trainee import _Watch

RNG = np.random.default_rng(2)
ROWS = 120
TABLE: dict[str, Any] = {
    "size": np.where(np.arange(ROWS) % 9 == 0, np.nan, RNG.normal(size=ROWS)),
    "kind": RNG.choice(["a", "b", "c"], ROWS),
    "code": RNG.integers(0, 12, ROWS),
    "town": [f"t{j}" for j in RNG.integers(0, 20, ROWS)],
}
PRICE = np.nan_to_num(TABLE["size"]) + (TABLE["kind"] == "b") + 0.1 * RNG.normal(size=ROWS)
NOISE = RNG.permutation(np.where(np.arange(ROWS) < 12, "rare", "usual"))
SMALL: dict[str, Any] = {"n_members": 3, "epochs": 4, "random_state": 0, "n_jobs": 1}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", ["classes", "regression"])
def test_a_net_by_itself_is_as_in_the_ensemble(preset: str, task: str) -> None:
    y = NOISE if task == "classes" else PRICE
    options = Options(
        preset=preset, n_members=6, epochs=1, seed=5, categorical_features=["code"],
        column_kinds={"town": "drop"}, jobs=1,
    )  # fmt: skip
    model, found = TabularModel.fit(TABLE, y, task, options)
    for trainee in found.trainees:
        net = alone(inputs_of(TABLE), task, options, trainee.member).build(TABLE, y)
        assert net.model_spec == trainee.spec
        assert net.train_spec.with_(threads=None) == trainee.train
        assert net.column_plan is not None
        np.testing.assert_array_equal(
            net.column_plan.transform(TABLE), model.plans[trainee.plan].transform(TABLE)
        )


def test_one_of_the_nets_is_asked() -> None:
    model = TabularRegressor(**SMALL)
    before = dict(vars(model))
    assert model.why(TABLE, PRICE, seconds=0.5).summary["rows"] == ROWS
    assert vars(model) == before
    model.fit(TABLE, PRICE)
    before = dict(vars(model))
    held = ({name: np.asarray(values)[:30] for name, values in TABLE.items()}, PRICE[:30])
    found = model.why(TABLE, PRICE, member=2, validation=held, seconds=0.5)
    assert found.summary["rows"] == ROWS
    assert vars(model) == before
    with pytest.raises(SpecError, match="member=3: there are 3 nets, counted from 0"):
        model.why(TABLE, PRICE, member=3)
    mixed = np.column_stack([TABLE["kind"], TABLE["code"]]).astype(object)
    several = np.column_stack([PRICE > 0, PRICE > 1]).astype(int)
    with pytest.raises(SpecError, match="no diagnosis of several labels a row"):
        TabularClassifier(**SMALL).why(mixed, several)
    assert TabularClassifier(**SMALL).why(mixed, NOISE, seconds=0.5).findings is not None


def test_how_nets_ended_and_what_they_never_answer_is_said(tmp_path: Path) -> None:
    model = TabularClassifier(**SMALL).fit(TABLE, NOISE)
    ends, rare = model.remarks_
    assert re.fullmatch(r"3 nets: \d lagged behind, \d [a-z ]+(, \d [a-z ]+)?\.", ends)
    assert re.match(r"class 'rare' has \d+ of 24 held-out rows and is never predicted: ", rare)
    assert "class_weight='balanced' lets" in rare
    assert "tune_threshold='f1' moves" in rare
    model.save(tmp_path / "m")
    assert nbmlp.load(tmp_path / "m").remarks_ == [ends, rare]
    weighed = TabularClassifier(**SMALL, class_weight={"rare": 1.01}).fit(TABLE, NOISE)
    assert "class_weight" not in weighed.remarks_[-1]
    assert len(TabularRegressor(**SMALL).fit(TABLE, PRICE).remarks_) == 1


def test_the_rarest_class_without_an_answer_comes_first() -> None:
    matrix = np.array([[50, 0, 0, 0], [9, 0, 0, 0], [4, 0, 0, 0], [1, 0, 0, 30]])
    assert unanswered(matrix, matrix.sum(1)).tolist() == [2, 1]
    assert not len(unanswered(np.array([[5, 1], [4, 2]]), np.array([6, 6])))


OFF = {"optimizer": {"name": "sgd", "learning_rate": 1e38}, "schedule": "constant"}


@pytest.fixture
def spared(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Members that learn as drawn; the rate of all others throws them off."""
    spared: set[int] = set()
    drawn = fitting.draw

    def draw(preset: str, seed: int, member: int, *rest: Any) -> dict[str, Any]:
        own = drawn(preset, seed, member, *rest)
        return own if member in spared else {**own, **OFF}

    monkeypatch.setattr(fitting, "draw", draw)
    return spared


def test_nets_that_fail_are_named_with_the_reason(spared: set[int]) -> None:
    spared.add(1)
    latest = {"time_ordered": True, "validation_fraction": 0.5}
    weights = np.where(np.arange(ROWS) < 40, 0.0, 1.0)
    model = TabularRegressor(**SMALL, **latest).fit(TABLE, PRICE, weights)
    ends, failed = model.remarks_
    assert ends.startswith("3 nets: 2 left the finite numbers")
    said = r"net 0 failed, and 1 more \(after 0 epochs\): the .* of layer \d became NaN in "
    assert re.match(said, failed)
    assert "lower the learning rate" in failed
    rows = [int(n) for n in re.findall(r"\d+", failed.split("rows (")[1].split(")")[0])]
    assert 40 <= min(rows) <= max(rows) < 80  # as they are numbered in X
    assert [bool(net["failure"]) for net in model.members_] == [True, False, True]
    spared.clear()
    with pytest.raises(NonFiniteError, match=r"no net has a finite score .* Net 0: the .* became"):
        model.fit(TABLE, PRICE)


def test_an_epoch_whose_outputs_are_not_finite_is_never_the_best() -> None:
    targets = Targets.fit(NOISE, "classes")
    truth = Truth(targets, targets.encode(NOISE, ROWS, "float64"))
    watch = _Watch(None, criterion_of("error", targets), truth, 1, None)  # type: ignore[arg-type]
    assert watch.take(np.zeros((ROWS, 1))) == pytest.approx(-(NOISE == "usual").mean())
    assert math.isnan(watch.take(np.full((ROWS, 1), np.nan)))


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{s:.3f},{k},{n}" for s, k, n in zip(PRICE, TABLE["kind"], NOISE, strict=True)]
    Path("t.csv").write_text("\n".join(["price,kind,label", *lines]))
    data = ["--data", "t.csv", "--target", "label", "--preset", "default", "--epochs", "3"]
    assert run(["train", *data, "--members", "2", "--threads", "1", "--json", "--quiet"]) == 0
    assert any("'rare' has" in said for said in json.loads(capsys.readouterr().out)["remarks"])
    assert run(["train", *data, "--members", "2", "--threads", "1"]) == 0
    assert "is never predicted" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    ask = ["why", *data, "--seconds", "1", "--quiet"]
    asked: list[MLP] = []
    why = MLP.why

    def noted(net: MLP, *given: Any, **options: Any) -> Any:
        asked.append(net)
        return why(net, *given, **options)

    monkeypatch.setattr(MLP, "why", noted)
    run([*ask, "--member", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["summary"]["rows"] == 96
    expected = draw("default", 0, 1, "classes", 96)
    assert asked[0].get_params()["hidden"] == expected["hidden"]
    assert asked[0].train_spec.weight_decay == expected["weight_decay"]
    assert asked[0].train_spec.epochs == 3
    for wrong, sentence in (
        (["--hidden", "9"], "--hidden is said of one net"),
        (["--member", "10"], "member=10: there are 10 nets"),
        (["--preset", "defalt"], "unknown preset 'defalt': did you mean 'default'?"),
    ):
        assert run([*ask, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert run(["why", "--data", "t.csv", "--member", "1"]) == 2
    assert "--member goes with --preset" in capsys.readouterr().err

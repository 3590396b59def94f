"""``nbmlp train --preset`` and the commands that take its models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp.cli.app import run

RNG = np.random.default_rng(3)
SMALL = ["--preset", "default", "--members", "2", "--epochs", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "t.csv"
    size = RNG.normal(size=90)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["size", "kind", "label", "price"])
        for s in size:
            kind = str(RNG.choice(["a", "b"]))
            rows.writerow([f"{s:.4f}", kind, "yes" if s > 0 else "no", f"{2 * s + (kind == 'a')}"])
    return path


def told(capsys: Any, *arguments: str) -> Any:
    assert run(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("target", "measure"), [("label", "log_loss"), ("price", "rmse")])
def test_from_a_file_to_predictions(
    table: Path, tmp_path: Path, capsys: Any, target: str, measure: str
) -> None:
    out = str(tmp_path / "m")
    data = ["--data", str(table), "--target", target]
    found = told(capsys, "train", *data, *SMALL, "--out", out, "--quiet", "--json")
    assert list(found["validation"]) == [measure]
    assert found["test_rows"] == 18
    assert {m["member"] for m in found["members"]} == {0, 1}
    info = told(capsys, "info", out, "--json")
    assert [one["column"] for one in info["inputs"]][:2] == ["size", "kind"]
    assert np.isclose(sum(net["weight"] for net in info["nets"]), 1.0)
    measured = told(capsys, "evaluate", out, "--data", str(table), "--json")
    assert measured["rows"] == 90
    metric = "f1" if target == "label" else "pinball(0.9)"
    picture = str(tmp_path / "e.png")
    asked = ["--data", str(table), "--metric", metric, "--plot", picture]
    assert set(told(capsys, "evaluate", out, *asked, "--json")) == {"rows", "loss", metric}
    assert (tmp_path / "e.png").is_file()
    worth = told(capsys, "importance", out, "--data", str(table), "--quiet", "--json")
    assert worth["columns"][0]["name"] in ("size", "price")  # one tells of the other
    assert run(["predict", out, "--data", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == target
    assert len(lines) == 91
    row = told(capsys, "predict", out, "--data", str(table), "--row", "3", "--json")
    assert str(row["prediction"])[:6] == lines[4][:6]


def test_words_for_people(table: Path, tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "m")
    data = ["--data", str(table), "--target", "label"]
    log, plot = tmp_path / "log.csv", tmp_path / "curve.svg"
    written = ["--out", out, "--log", str(log), "--plot", str(plot)]
    assert run(["train", *data, *SMALL, *written]) == 0
    epochs = list(csv.DictReader(log.read_text().splitlines()))
    places = {(row["net"], row["net_epoch"]) for row in epochs}
    assert places == {(net, epoch) for net in "01" for epoch in "123"}
    assert "learning curve" in (captured := capsys.readouterr()).out
    assert plot.is_file()
    assert "held-out log_loss" in captured.out
    assert "2 members" in captured.out
    assert "epoch" in captured.err
    assert run(["info", out]) == 0
    assert "kind" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "best", "--hidden", "9"], "--hidden is said of one net, and --preset trains"),
        (["--preset", "bst"], "unknown preset 'bst': did you mean 'best'?"),
        (["--members", "3"], "--members goes with --preset."),
        (["--preset", "fast", "--members", "0"], "n_members=0 must be a whole number"),
        (["--preset", "fast", "--resume"], "--resume needs --checkpoint"),
    ],
)
def test_what_does_not_go_together(
    table: Path, capsys: Any, arguments: list[str], sentence: str
) -> None:
    assert run(["train", "--data", str(table), "--target", "label", *arguments]) == 2
    assert sentence in capsys.readouterr().err

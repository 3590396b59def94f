"""Parquet files on the command line: trained on, measured and predicted by batches; their cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from nbmlp import MLP
from nbmlp.cli import run

ROWS = 900
QUICK = ("--epochs", 2, "--hidden", 5, "--shuffle", "blocks")
Call = Callable[..., tuple[int, str, str]]


def frame(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, 3))
    return pl.DataFrame(
        {
            **{f"x{j}": X[:, j] for j in range(3)},
            "town": rng.choice(["Ulm", "Bonn"], rows).tolist(),
            "y": np.where(X[:, 0] > 0, "yes", "no").tolist(),
        }
    )


@pytest.fixture
def nbmlp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Runs a command where data/ has two files, and val.parquet and test.parquet lie beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBMLP_ROWS_DIR", str(tmp_path / "ready"))
    Path("data").mkdir()
    for k, part in enumerate(frame(ROWS, 0).iter_slices(500)):
        part.write_parquet(f"data/{k}.parquet")
    frame(200, 1).write_parquet("val.parquet")
    frame(150, 2).write_parquet("test.parquet")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


def trained(nbmlp: Call, *more: object) -> dict[str, Any]:
    code, out, err = nbmlp(
        "train", "--data", "data/*.parquet", "--target", "y", *QUICK, "--quiet", "--json",
        "--out", "model", *more,
    )  # fmt: skip
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_train_on_files_as_on_their_rows(nbmlp: Call) -> None:
    found = trained(nbmlp, "--validation", "val.parquet", "--test", "test.parquet")
    assert (found["train_rows"], found["test_rows"]) == (ROWS, 150)
    data, held, test = (frame(n, seed) for n, seed in ((ROWS, 0), (200, 1), (150, 2)))
    model = MLP(5, epochs=2, shuffle="blocks")
    pair = held.drop("y"), held["y"].to_numpy()
    model.fit(data.drop("y"), data["y"].to_numpy(), validation=pair)
    np.testing.assert_array_equal(MLP.load("model").get_flat(), model.get_flat())
    measured = model.evaluate(test.drop("y"), test["y"].to_numpy())
    assert found["test_loss"] == measured["loss"]
    code, out, _ = nbmlp("evaluate", "model", "--data", "test.parquet", "--stream", "--json")
    assert code == 0
    assert json.loads(out)["loss"] == measured["loss"]


def test_rows_weigh_what_a_column_says_and_how_far_it_is_is_told(nbmlp: Call) -> None:
    for path in Path("data").iterdir():
        pl.read_parquet(path).with_row_index("w").write_parquet(path)
    command = ["train", *FILES, *QUICK, "--sample-weight", "w", "--out", "model"]
    code, _, err = nbmlp(*command)
    assert code == 0, err
    assert "planning the columns of data/*.parquet" in err
    assert "making the rows of data/*.parquet ready" in err
    model = MLP(5, epochs=2, shuffle="blocks")
    weights = [*range(500), *range(400)]
    data = frame(ROWS, 0)
    model.fit(data.drop("y"), data["y"].to_numpy(), sample_weight=weights)
    np.testing.assert_array_equal(MLP.load("model").get_flat(), model.get_flat())
    assert "making" not in nbmlp(*command)[2]


def test_predictions_go_to_parquet_and_rows_of_a_table_are_read_as_ever(nbmlp: Call) -> None:
    trained(nbmlp, "--validation", 0.2)
    code, _, err = nbmlp("predict", "model", "--data", "data", "--out", "out.parquet", "--proba")
    assert code == 0, err
    found, data = pl.read_parquet("out.parquet"), frame(ROWS, 0)
    assert found.columns == ["y", "probability of no", "probability of yes"]
    assert found["y"].to_list() == MLP.load("model").predict(data.drop("y")).tolist()
    data.write_csv("rows.csv")
    code, out, err = nbmlp("predict", "model", "--data", "rows.csv")
    assert code == 0, err
    assert out.split()[1:] == found["y"].to_list()


def test_cache_lists_and_removes_ready_rows(nbmlp: Call, tmp_path: Path) -> None:
    trained(nbmlp)
    code, out, _ = nbmlp("cache", "--json")
    listed = json.loads(out)
    (entry,) = listed["entries"]
    assert (code, entry["rows"], entry["written"]) == (0, ROWS, ROWS)
    assert listed["folder"] == str(tmp_path / "ready")
    code, out, _ = nbmlp("cache")
    assert code == 0
    assert entry["key"] in out
    assert "900 rows of" in out.replace("\n", " ")
    assert nbmlp("cache", entry["key"])[0] == 2
    code, out, _ = nbmlp("cache", "--remove", entry["key"])
    assert out.startswith("removed 1 of ")
    code, out, _ = nbmlp("cache", "--json")
    assert json.loads(out)["entries"] == []
    assert nbmlp("cache", "--remove", "nothing")[2].startswith("nbmlp: there are no ready rows")


FILES = ("--data", "data/*.parquet", "--target", "y")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("train", *FILES, "--no-standardise"), 2, "--no-standardise does not go with files"),
        (("train", *FILES, "--header"), 2, "--header does not go with data/*.parquet: files are"),
        (
            ("train", "--data", "test.parquet", "--target", "y", "--sample-weight", "x0"),
            2, "--sample-weight names a column of Parquet files that are read by batches: add",
        ),
        (("train", "--data", "data/*.parquet"), 2, "target= is missing: name the column of data"),
        (("train", *FILES, "--validation", "none*"), 1, "no file matches none*."),
        (("train", *FILES, "--preset", "fast"), 2, "train, predict and evaluate of one net do"),
        (("why", *FILES), 2, "train, predict and evaluate of one net do: name one file here"),
        (
            ("train", "--data", "test.parquet", "--target", "y", "--validation", "val.parquet"),
            2, "validation='val.parquet' must be a number in (0, 1)",
        ),
        (("predict", "model", "--data", "data/*.parquet"), 2, "that ends in .parquet"),
        (("info", "data/*.parquet"), 1, "data/*.parquet: no such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(
    nbmlp: Call, arguments: tuple[object, ...], code: int, sentence: str
) -> None:
    frame(60, 3).write_parquet("few.parquet")
    few = frame(60, 3)
    MLP(2, epochs=1).fit(few.drop("y"), few["y"].to_numpy()).save("model")
    done = nbmlp(*arguments)
    assert done[0] == code, done
    assert sentence in done[2]
    assert "Traceback" not in done[2]

"""The command line as its users meet it: what it prints, writes and returns."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nbmlp.cli import run
from nbmlp.cli.options import TRAIN, pick
from nbmlp.diagnostics.gradients import BlockError, GradientReport
from nbmlp.io import atomic
from nbmlp.mlp import MLP
from nbmlp.spec import ModelSpec, TrainSpec
from tests.waiting import PATIENCE, until

QUICK = ("--epochs", "2", "--hidden", "16", "--quiet")


class Done(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def nbmlp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return Done(code, *capsys.readouterr())

    return call


def write_table(path: Path, rows: int = 120, seed: int = 0) -> Path:
    """Three numbers, a colour, a price that follows from them, and whether it is high."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(50.0, 10.0, (rows, 3))
    colour = rng.choice(["red", "green", "blue"], rows)
    price = 1000.0 * (numbers @ [1.0, -0.5, 0.2]) + 5000.0 * (colour == "red")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["width", "height", "depth", "colour", "price", "class"])
        for row, c, p in zip(numbers, colour, price, strict=True):
            writer.writerow([*row.round(3), c, round(p, 2), "high" if p > 35000 else "low"])
    return path


def columns_of(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


# ------------------------------------------------------------------------------ options


def test_every_setting_is_an_option_with_help() -> None:
    offered = {option.name: option for option in TRAIN}
    settings = {f.name for cls in (ModelSpec, TrainSpec) for f in fields(cls)}
    assert settings - set(offered) == {"n_inputs", "n_outputs"}
    assert all(option.help for option in TRAIN)
    assert len(offered) == len(TRAIN)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hidden", "300", 300),
        ("hidden", "300,100", (300, 100)),
        ("hidden", "none", ()),
        ("activation", "relu", "relu"),
        ("activation", "leaky_relu(0.2),tanh", ("leaky_relu(0.2)", "tanh")),
        ("dropout", "0.5,0", (0.5, 0)),
        ("batch_size", "all", None),
        ("learning_rate", "1e-2", 0.01),
        ("optimizer", "adam(0.01, beta2=0.9)", "adam(0.01, beta2=0.9)"),
        ("columns", "0-3,7,age", [0, 1, 2, 3, "7", "age"]),
        ("target", "education-num", "education-num"),
        ("bias", False, False),
    ],
)
def test_text_becomes_a_value(name: str, text: object, value: object) -> None:
    assert pick(TRAIN, {}, {name: text}) == {name: value}


def test_help_names_every_command_and_option(
    nbmlp: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # in narrow terminals long names are cut off
    done = nbmlp()
    assert done.code == 0
    for command in ("train", "predict", "evaluate", "info", "check-gradients"):
        assert command in done.out
        assert nbmlp(command, "--help").code == 0
    text = nbmlp("train", "--help").out
    for option in TRAIN:
        assert option.flag in text


def test_version(nbmlp: Call) -> None:
    assert re.fullmatch(r"nbmlp \d+\.\d+\.\d+\n", nbmlp("--version").out)


def test_settings_come_from_a_file_and_options_override_them(nbmlp: Call) -> None:
    Path("net.toml").write_text(
        'data = "digits"\nhidden = [8, 4]\nactivation = "relu,tanh"\nepochs = 1\n'
        'batch-size = 64\nbias = false\n[optimizer]\nname = "sgd"\nmomentum = 0.5\n'
    )
    done = nbmlp("train", "--config", "net.toml", "--json", "--quiet", "--batch-size", "50")
    assert done.code == 0, done.err
    spec = json.loads(done.out)["spec"]
    assert spec["model"]["hidden"] == [8, 4]
    assert spec["model"]["activation"] == ["relu", "tanh"]
    assert spec["model"]["bias"] is False
    assert spec["training"]["optimizer"]["momentum"] == 0.5
    assert spec["training"]["batch_size"] == 50


def test_other_commands_take_the_file_of_a_training(nbmlp: Call) -> None:
    Path("net.toml").write_text(
        'data = "digits"\nhidden = [8]\nvalidation = 0.1\nout = "m.safetensors"\n'
    )
    done = nbmlp("check-gradients", "--config", "net.toml", "--json")
    assert done.code == 0, done.err
    assert [block["name"] for block in json.loads(done.out)["blocks"]] == ["W1", "b1", "W2", "b2"]
    Path("net.toml").write_text('data = "digits"\nhiden = [8]\n')
    assert "did you mean 'hidden'?" in nbmlp("check-gradients", "--config", "net.toml").err


# ------------------------------------------------------------------------------ training


def test_train_prints_one_object_and_writes_its_files(nbmlp: Call) -> None:
    done = nbmlp(
        "train", "--data", "digits", *QUICK, "--json", "--validation", 0.1,
        "--out", "m.safetensors", "--plot", "curve.png", "--log", "log.csv",
    )  # fmt: skip
    assert done.code == 0
    assert done.err == ""
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert 0 <= found["train_error"] < 0.9
    assert 0 <= found["test_error"] < 0.9
    assert found["train_rows"] + found["test_rows"] == 1797
    assert found["epochs"] == 2
    assert found["threads"] >= 1
    assert found["seconds"] > 0
    assert found["samples_per_second"] > 0
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(Path("log.csv").read_text().splitlines()) == 3
    model = MLP.load("m.safetensors")
    assert model.train_spec.to_dict() == found["spec"]["training"]
    assert sorted(os.listdir()) == ["curve.png", "log.csv", "m.safetensors"]


def test_train_shows_progress_and_a_summary(nbmlp: Call) -> None:
    done = nbmlp("train", "--data", "digits", "--epochs", 2, "--out", "m.safetensors")
    assert done.code == 0
    assert "epoch 2/2" in done.err
    for words in ("train error", "test error", "359 rows set aside", "samples/s", "m.safetensors"):
        assert words in done.out


def test_quiet_says_nothing(nbmlp: Call) -> None:
    assert nbmlp("train", "--data", "digits", *QUICK) == (0, "", "")


def test_regression_reports_its_measures(nbmlp: Call) -> None:
    table = write_table(Path("t.csv"), 300)
    done = nbmlp(
        "train", "--data", table, "--target", "price", "--columns", "width,height,depth,colour",
        "--json", "--quiet", "--epochs", 60, "--learning-rate", 0.01,
    )  # fmt: skip
    found = json.loads(done.out)
    assert found["test_r2"] > 0.9
    assert found["test_mae"] < 5000
    assert found["test_mse"] >= found["test_mae"] ** 2
    assert "test_error" not in found


def test_test_file_counts_its_columns_by_name(nbmlp: Call) -> None:
    write_table(Path("train.csv"))
    write_table(Path("test.csv"), 40, seed=1)
    lines = columns_of(Path("test.csv").read_text())
    with Path("test.csv").open("w", newline="") as file:  # the columns in another order
        csv.writer(file).writerows([row[::-1] for row in lines])
    done = nbmlp(
        "train", "--data", "train.csv", "--test", "test.csv", "--target", "class",
        "--columns", "width,colour,height,depth", "--json", *QUICK, "--out", "m.safetensors",
    )  # fmt: skip
    found = json.loads(done.out)
    assert found["train_rows"] == 120
    assert found["test_rows"] == 40
    again = json.loads(nbmlp("evaluate", "m.safetensors", "--data", "test.csv", "--json").out)
    assert again["error"] == found["test_error"]


def test_without_test_rows_all_are_trained_on(nbmlp: Call) -> None:
    done = nbmlp("train", "--data", "digits", *QUICK, "--json", "--test-fraction", 0)
    assert json.loads(done.out)["train_rows"] == 1797
    assert "test_error" not in json.loads(done.out)


def test_resume_goes_on_as_if_never_stopped(nbmlp: Call) -> None:
    common = ("train", "--data", "digits", "--hidden", 16, "--schedule", "constant", "--quiet")
    kept = (*common, "--checkpoint", "ck.safetensors")
    assert nbmlp(*kept, "--epochs", 2).code == 0
    assert nbmlp(*kept, "--epochs", 4, "--resume", "--out", "a.safetensors").code == 0
    assert nbmlp(*common, "--epochs", 4, "--out", "b.safetensors").code == 0
    a, b = MLP.load("a.safetensors"), MLP.load("b.safetensors")
    np.testing.assert_array_equal(a.get_flat(), b.get_flat())
    assert len(a.history) == 4


def test_early_stopping(nbmlp: Call) -> None:
    done = nbmlp(
        "train", "--data", "digits", "--json", "--quiet", "--epochs", 200, "--hidden", 16,
        "--validation", 0.2, "--early-stopping", 2, "--learning-rate", 0.01, "--ties", "last",
    )  # fmt: skip
    found = json.loads(done.out)
    assert found["epochs"] < 200
    assert found["stop_reason"].startswith("early stopping")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "nbmlp", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
def test_interrupt_saves_the_model_so_far(tmp_path: Path) -> None:
    process = start(
        tmp_path, "train", "--data", "digits", "--epochs", "1000000", "--json",
        "--out", "m.safetensors", "--log", "log.csv",
    )  # fmt: skip
    log = tmp_path / "log.csv"

    def logged() -> bool:
        assert process.poll() is None, process.communicate()
        return log.exists() and log.read_text().count("\n") > 3

    until(logged)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "the model so far is in m.safetensors" in err.splitlines()[-1]
    assert json.loads(out)["stop_reason"] == "interrupted"
    model = MLP.load(tmp_path / "m.safetensors")
    assert len(model.history) >= 3
    assert np.isfinite(model.get_flat()).all()


# ------------------------------------------------------------------------------ using a model


@pytest.fixture
def table(nbmlp: Call) -> Path:
    """t.csv, and a model of its classes in m.safetensors."""
    path = write_table(Path("t.csv").absolute())
    done = nbmlp(
        "train", "--data", path, "--target", "class", "--columns", "width,height,depth,colour",
        *QUICK, "--out", "m.safetensors",
    )  # fmt: skip
    assert done.code == 0, done.err
    return path


def test_rows_are_predicted_with_or_without_target_in_any_order(nbmlp: Call, table: Path) -> None:
    whole = nbmlp("predict", "m.safetensors", "--data", table)
    assert whole.code == 0
    rows = columns_of(whole.out)
    assert rows[0] == ["class"]
    assert len(rows) == 121
    assert {row[0] for row in rows[1:]} <= {"high", "low"}
    with Path("raw.csv").open("w", newline="") as file:
        csv.writer(file).writerows(row[:4][::-1] for row in columns_of(table.read_text()))
    assert nbmlp("predict", "m.safetensors", "--data", "raw.csv").out == whole.out


def test_predictions_with_probabilities_go_into_a_file(nbmlp: Call, table: Path) -> None:
    done = nbmlp("predict", "m.safetensors", "--data", table, "--proba", "--out", "p.csv")
    assert done == (0, "", "")
    head, *rows = columns_of(Path("p.csv").read_text())
    assert head == ["class", "probability of high", "probability of low"]
    shares = np.array([row[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)
    likely = np.array(["high", "low"])[shares.argmax(axis=1)]
    assert [row[0] for row in rows] == likely.tolist()


def test_one_row_in_words_and_as_an_object(nbmlp: Call, table: Path) -> None:
    done = nbmlp("predict", "m.safetensors", "--data", table, "--row", 7)
    truth = columns_of(table.read_text())[8][-1]
    assert re.search(rf"row 7 .* predicted (high|low) .*; the data say {truth}\n", done.out)
    found = json.loads(nbmlp("predict", "m.safetensors", "--data", table, "--row", 7, "--json").out)
    assert found["target"] == truth
    assert sum(found["probabilities"].values()) == pytest.approx(1.0)


def test_nameless_columns_are_taken_by_place(nbmlp: Call) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3)).round(3)
    y = (X[:, 0] > 0).astype(int)
    np.savetxt("train.csv", np.column_stack([y, X]), delimiter=",", fmt="%g")
    np.savetxt("rows.csv", X, delimiter=",", fmt="%g")
    model = "m.safetensors"
    assert nbmlp("train", "--data", "train.csv", "--target", 0, *QUICK, "--out", model).code == 0
    with_target = nbmlp("predict", model, "--data", "train.csv")
    assert with_target.code == 0
    assert nbmlp("predict", model, "--data", "rows.csv") == with_target


def test_digits_of_any_source_are_pixels_to_the_model(nbmlp: Call) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (60, 5))
    y = (X[:, 0] > 127).astype(int)
    np.savez("bytes.npz", X=X.astype(np.uint8), y=y)
    np.savez("floats.npz", X=X.astype(float))
    assert nbmlp("train", "--data", "bytes.npz", *QUICK, "--out", "m.safetensors").code == 0
    a = nbmlp("predict", "m.safetensors", "--data", "bytes.npz", "--proba")
    b = nbmlp("predict", "m.safetensors", "--data", "floats.npz", "--proba")
    assert a.code == 0
    first, second = columns_of(a.out)[1:], columns_of(b.out)[1:]
    np.testing.assert_allclose(np.array(first, float), np.array(second, float), rtol=1e-5)


def test_info(nbmlp: Call, table: Path) -> None:
    found = json.loads(nbmlp("info", "m.safetensors", "--json").out)
    assert found["labels"] == ["high", "low"]
    assert found["columns"] == ["width", "height", "depth", "colour"]
    assert found["target"] == ["class"]
    assert found["spec"]["model"]["hidden"] == [16]
    assert len(found["history"]["records"]) == 2
    text = nbmlp("info", "m.safetensors").out
    for words in ("high, low", "width, height, depth, colour", "2 epochs", "adam(", "cosine"):
        assert words in text


def test_info_shows_how_a_step_is_computed(nbmlp: Call, table: Path) -> None:
    found = json.loads(nbmlp("info", "m.safetensors", "--plan", "--threads", "1", "--json").out)
    assert found["net"].split("-")[1] == "16"
    assert found["threads"] == 1
    done = nbmlp("info", "m.safetensors", "--plan", "--batch", "5000")
    assert done.code == 0
    assert "updates of 5000 rows, 512 at once" in done.out
    assert f"{found['net'].split('-')[0]} x 16" in done.out
    for wrong in (("--batch", "5"), ("--plan", "--batch", "0"), ("--plan", "--threads", "-1")):
        refused = nbmlp("info", "m.safetensors", *wrong)
        assert refused.code == 2
        assert refused.err


def test_a_model_saved_by_code_is_used_too(nbmlp: Call) -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    MLP(hidden=4, epochs=1).fit(X, X[:, 0]).save("m.safetensors")
    np.save("rows.npy", X)
    done = nbmlp("predict", "m.safetensors", "--data", "rows.npy")
    assert columns_of(done.out)[0] == ["prediction"]
    assert len(columns_of(done.out)) == 51


def test_check_gradients(nbmlp: Call) -> None:
    arguments = ("check-gradients", "--data", "digits", "--hidden", "7,5", "--activation", "tanh")
    done = nbmlp(*arguments, "--json")
    assert done.code == 0
    assert json.loads(done.out)["passed"] is True
    assert "passed" in nbmlp(*arguments).out


def test_wrong_gradients_give_exit_code_1(nbmlp: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = GradientReport((BlockError("W1", 0.5, 10, 0),))
    monkeypatch.setattr("nbmlp.diagnostics.function_check.check", lambda *args, **options: wrong)
    done = nbmlp("check-gradients", "--data", "digits", "--hidden", 4)
    assert done.code == 1
    assert "FAILED" in done.out


CODE = """
import numpy as np

def right(theta, X, y):
    W, b = theta[:640].reshape(64, 10), theta[640:]
    e = np.exp(X @ W + b)
    p = e / e.sum(axis=1, keepdims=True)
    delta = (p - y) / len(X)
    gradient = np.concatenate([(X.T @ delta).ravel(), delta.sum(axis=0)])
    return -np.log(p[y == 1]).mean(), gradient

def summed(theta, X, y):
    loss, gradient = right(theta, X, y)
    return loss, len(X) * gradient

def broken(theta, X, y):
    return 1 / 0
"""


def test_check_gradients_of_a_function(nbmlp: Call, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE)
    arguments = ("check-gradients", "--data", "digits", "--hidden", "", "--function")
    assert nbmlp(*arguments, "code.py:right").code == 0
    done = nbmlp(*arguments, "code.py:summed")
    assert done.code == 1
    assert "W1, b1: the data part of the gradient is the sum over the 256 rows" in done.out
    found = json.loads(nbmlp(*arguments, "code.py:summed", "--json").out)
    assert found["passed"] is False
    assert [f["kind"] for f in found["findings"]] == ["missing_mean"]
    for place, says in {
        "code.py": "write FILE.py:NAME",
        "cod.py:right": "did you mean code.py",
        "code.py:rihgt": "did you mean 'right'",
        "code.py:broken": "code.py, line 17 raised ZeroDivisionError: division by zero.",
    }.items():
        done = nbmlp(*arguments, place)
        assert done.code in (1, 2)
        assert says in done.err


def test_reader_that_goes_away_leaves_no_traceback(nbmlp: Call, tmp_path: Path) -> None:
    assert nbmlp("train", "--data", "digits", *QUICK, "--out", "m.safetensors").code == 0
    process = start(tmp_path, "predict", "m.safetensors", "--data", "digits", "--proba")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=PATIENCE)


# ------------------------------------------------------------------------------ what goes wrong

TRAIN_DIGITS = ("train", "--data", "digits", *QUICK)
#: command, exit code, words of its sentence
WRONG: list[tuple[tuple[object, ...], int, str]] = [
    (("trian",), 2, "train"),
    (("train", "--hiden", "3"), 2, "--hidden"),
    (("train",), 2, "--data is missing"),
    (("train", "--data", "digits", "--epochs"), 2, "--epochs"),
    ((*TRAIN_DIGITS, "--epochs", "many"), 2, "epochs='many' must be a whole number"),
    ((*TRAIN_DIGITS, "--activation", "relo"), 2, "did you mean 'relu'?"),
    ((*TRAIN_DIGITS, "--optimizer", "adan"), 2, "did you mean 'adam'?"),
    ((*TRAIN_DIGITS, "--schedule", "cosin"), 2, "did you mean 'cosine'?"),
    ((*TRAIN_DIGITS, "--loss", "hubber"), 2, "did you mean 'huber'?"),
    ((*TRAIN_DIGITS, "--task", "clases"), 2, "did you mean 'classes'?"),
    ((*TRAIN_DIGITS, "--batch-size", "0"), 2, "batch_size=0"),
    ((*TRAIN_DIGITS, "--batch-size", "5000"), 2, "larger than the 1438 rows"),
    ((*TRAIN_DIGITS, "--validation", "3"), 2, "validation=3"),
    ((*TRAIN_DIGITS, "--test-fraction", "x"), 2, "test_fraction='x' must be a number"),
    ((*TRAIN_DIGITS, "--early-stopping", "0"), 2, "early_stopping=0"),
    ((*TRAIN_DIGITS, "--early-stopping", "3", "--ties", "lats"), 2, "did you mean 'last'?"),
    ((*TRAIN_DIGITS, "--ties", "last"), 2, "--ties needs --early-stopping"),
    ((*TRAIN_DIGITS, "--resume"), 2, "--checkpoint"),
    ((*TRAIN_DIGITS, "--resume", "--checkpoint", "no.safetensors"), 1, "no.safetensors"),
    ((*TRAIN_DIGITS, "--out", "no/m.safetensors"), 1, "there is no folder no"),
    ((*TRAIN_DIGITS, "--out", "."), 1, "is a folder"),
    ((*TRAIN_DIGITS, "--plot", "c.bmp"), 2, ".png"),
    ((*TRAIN_DIGITS, "--out", "x", "--plot", "x"), 2, "also the file of --out"),
    ((*TRAIN_DIGITS, "--config", "no.toml"), 1, "no such file"),
    ((*TRAIN_DIGITS, "--config", "t.csv"), 2, "not a TOML file"),
    ((*TRAIN_DIGITS, "--config", "unknown.toml"), 2, "did you mean 'epochs'?"),
    ((*TRAIN_DIGITS, "--config", "type.toml"), 2, "target=2.5 must be a column"),
    ((*TRAIN_DIGITS, "--target", "shape"), 1, "leave target"),
    (("train", "--data", "digit"), 1, "did you mean the data set 'digits'?"),
    (("train", "--data", "no.csv"), 1, "no.csv: no such file"),
    (("train", "--data", "text.npy"), 1, "ends in .npy but holds text"),
    (("train", "--data", "short.npz"), 1, "truncated or damaged"),
    (("train", "--data", "t.csv"), 1, "--target"),
    (("train", "--data", "t.csv", "--target", "prise"), 1, "did you mean 'price'?"),
    (("train", "--data", "t.csv", "--target", "price", "--out", "t.csv"), 2, "file of --data"),
    (("train", "--data", "nan.csv", "--target", "y", "--no-standardise"), 1, "row 1, column 'b'"),
    (("train", "--data", "inf.csv", "--target", "y"), 1, "infinite value at row 2, column 'b'"),
    (("train", "--data", "no_target.csv", "--target", "y"), 1, "has NaN at row 1, column 'y'"),
    (("train", "--data", "t.csv", "--target", "class", "--test", "no.csv"), 1, "no such file"),
    (("train", "--data", "t.csv", "--target", "class", "--test", "nan.csv"), 1, "no column"),
    (("train", "--data", "t.csv", "--target", "class", "--test", "new.csv"), 1, "'huge' at row 0"),
    (
        (*TRAIN_DIGITS, "--optimizer", "sgd(1e30)", "--out", "diverged.safetensors"),
        1,
        "lower the learning rate",
    ),
    (("predict", "m.safetensors"), 2, "--data is missing"),
    (("predict", "no.safetensors", "--data", "t.csv"), 1, "no.safetensors"),
    (("predict", "t.csv", "--data", "t.csv"), 1, "t.csv: it is not a safetensors file"),
    (("predict", "cut.safetensors", "--data", "t.csv"), 1, "cut.safetensors"),
    (("predict", "m.safetensors", "--data", "nan.csv"), 1, "no column 'width'"),
    (("predict", "m.safetensors", "--data", "t.csv", "--columns", "0-1"), 1, "learned from 4"),
    (("predict", "m.safetensors", "--data", "text.csv"), 1, "holds the text 'wide' at row 0"),
    (("predict", "m.safetensors", "--data", "t.csv", "--row", "120"), 1, "rows are 0 to 119"),
    (("predict", "m.safetensors", "--data", "t.csv", "--row", "1", "--out", "p"), 2, "--row"),
    (("predict", "m.safetensors", "--data", "t.csv", "--json"), 2, "--row"),
    (("predict", "m.safetensors", "--data", "t.csv", "--part", "test"), 1, "no test part"),
    (("predict", "m.safetensors", "--data", "t.csv", "--out", "m.safetensors"), 2, "file of"),
    (("evaluate", "m.safetensors", "--data", "raw.csv"), 1, "no target column"),
    (("evaluate", "m.safetensors", "--data", "new.csv"), 1, "'huge'"),
    (("info", "no.safetensors"), 1, "no.safetensors"),
]


@pytest.fixture
def mistakes(table: Path) -> Path:
    """A folder full of files that are wrong in one way each."""
    lines = table.read_text().splitlines()
    files = {
        "text.npy": "1,2\n3,4\n",
        "unknown.toml": "epoch = 3\n",
        "type.toml": "target = 2.5\n",
        "nan.csv": "a,b,y\n1,2,3.5\n2,,1.5\n3,4,1.25\n",
        "inf.csv": "a,b,y\n1,2,3.5\n2,3,1.5\n3,inf,1.25\n",
        "no_target.csv": "a,b,y\n1,2,3.5\n2,3,\n3,4,1.25\n",
        "new.csv": "\n".join([lines[0], lines[1].rpartition(",")[0] + ",huge"]) + "\n",
        "text.csv": "\n".join([lines[0], "wide" + lines[1][lines[1].index(",") :]]) + "\n",
        "raw.csv": "\n".join(",".join(line.split(",")[:4]) for line in lines) + "\n",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    np.savez("short.npz", X=np.zeros((9, 9)), y=np.zeros(9))
    for name, source in (("short.npz", "short.npz"), ("cut.safetensors", "m.safetensors")):
        Path(name).write_bytes(Path(source).read_bytes()[:-200])
    return table


def contents() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path().iterdir()}


@pytest.mark.parametrize(("command", "code", "words"), WRONG, ids=lambda v: None)
def test_mistake_gives_one_sentence_and_leaves_no_file(
    nbmlp: Call, mistakes: Path, command: tuple[object, ...], code: int, words: str
) -> None:
    before = contents()
    done = nbmlp(*command)
    assert done.code == code, done
    assert words in done.err
    assert [line for line in done.err.splitlines() if line.startswith("nbmlp: ")] == [
        done.err.splitlines()[-1]
    ]
    assert "Traceback" not in done.err
    assert done.out == ""
    assert contents() == before


@pytest.mark.parametrize(
    "command",
    [
        (*TRAIN_DIGITS, "--out", "old"),
        (*TRAIN_DIGITS, "--plot", "old.png"),
        (*TRAIN_DIGITS, "--checkpoint", "old"),
        ("predict", "m.safetensors", "--data", "t.csv", "--out", "old"),
    ],
)
def test_full_disk_leaves_the_old_file(
    nbmlp: Call, table: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for name in ("old", "old.png"):
        Path(name).write_text("precious")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents()
    monkeypatch.setattr(atomic.os, "fsync", full)
    done = nbmlp(*command)
    assert done.code == 1
    assert "free some space" in done.err
    assert done.err.count("\n") == 1
    assert contents() == before


def test_a_mistake_of_ours_is_not_hidden(nbmlp: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("nbmlp.cli.training.read_training", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        nbmlp(*TRAIN_DIGITS)


def test_interrupt_while_reading(nbmlp: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nbmlp.cli.training.read_training", interrupted)
    assert nbmlp(*TRAIN_DIGITS) == (1, "", "nbmlp: interrupted.\n")


def test_process_returns_the_code(tmp_path: Path) -> None:
    process = start(tmp_path, "train", "--data", "nowhere.csv")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)


# ------------------------------------------------------------------------------ real data


def test_mnist_with_defaults(nbmlp: Call, data_dir: Path) -> None:
    """One epoch; tests/soak trains for thirty, to two percent."""
    done = nbmlp(
        "train", "--data", data_dir / "mnist", "--hidden", 300, "--batch-size", 100,
        "--epochs", 1, "--json", "--quiet",
    )  # fmt: skip
    assert json.loads(done.out)["test_error"] <= 0.06


def test_adult_from_raw_rows(nbmlp: Call, data_dir: Path) -> None:
    source = data_dir / "adult" / "adult.csv.gz"
    done = nbmlp(
        "train", "--data", source, "--target", "income-per-year", "--epochs", 3, "--json",
        "--quiet", "--out", "m.safetensors",
    )  # fmt: skip
    assert json.loads(done.out)["test_error"] < 0.17
    done = nbmlp("predict", "m.safetensors", "--data", source, "--row", 0)
    assert re.search(r"predicted (<=50K|>50K) .* the data say <=50K", done.out)


def test_california_housing_from_raw_rows(nbmlp: Call, data_dir: Path) -> None:
    source = data_dir / "california-housing" / "housing.csv"
    done = nbmlp(
        "train", "--data", source, "--target", "median_house_value", "--epochs", 5, "--json",
        "--quiet", "--out", "m.safetensors",
    )  # fmt: skip
    assert json.loads(done.out)["test_r2"] > 0.65
    found = json.loads(
        nbmlp("predict", "m.safetensors", "--data", source, "--row", 3, "--json").out
    )
    assert found["target"] == 341300
    assert 150_000 < found["prediction"] < 500_001


def test_digit_recognizer_as_classes(nbmlp: Call, data_dir: Path, tmp_path: Path) -> None:
    """A fifth of the rows; tests/soak reads them all."""
    source = tmp_path / "train.csv.gz"
    with gzip.open(data_dir / "digit-recognizer" / "train.csv.gz", "rb") as file:
        source.write_bytes(gzip.compress(b"".join(islice(file, 8_001)), 1))
    done = nbmlp(
        "train", "--data", source, "--target", "label", "--hidden", 250, "--epochs", 5,
        "--batch-size", 100, "--json", "--quiet", "--out", "m.safetensors",
    )  # fmt: skip
    found = json.loads(done.out)
    assert found["test_error"] < 0.1
    assert found["spec"]["model"]["n_outputs"] == 10
    assert "row 129" in nbmlp("predict", "m.safetensors", "--data", source, "--row", 129).out

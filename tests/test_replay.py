"""A failed update repeated from its file: the same bits, whatever the net, data and threads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import nbmlp
from nbmlp import MLP, ModelFileError, NonFiniteError
from nbmlp.cli import run
from nbmlp.failures.update import Update
from nbmlp.rows import Names
from tests import children

REGRESSION: dict[str, Any] = {"hidden": (30, 20), "task": "regression", "seed": 3}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "sgd(1e5)"},
    "update": {"optimizer": "adam(1e37)", "dropout": 0.3, "input_dropout": 0.1},
    "sub-batches": {"optimizer": "sgd(1e6)", "batch_size": 1500, "epochs": 60},
    "columns": {"optimizer": "sgd(1e6)", "hidden": (300, 280), "batch_size": 6},
    "float64": {"optimizer": "sgd(1e60)", "dtype": "float64", "activation": "gelu"},
    "narrow, norms": {"optimizer": "sgd(1e9)", "gradient_norms": True, "l2": 1e-3, "l1": 1e-4},
    "left over": {"optimizer": "rmsprop(1e37)", "batch_size": 128},
    "sparse": {"optimizer": "sgd(1e9)"},
    "bytes": {"optimizer": "sgd(1e9)"},
    "weights": {"optimizer": "sgd(1e9)"},
}


def data(name: str) -> tuple[Any, np.ndarray, np.ndarray | None]:
    X, y = children.rows(2000, kind="uint8" if name == "bytes" else "float32")
    weights = np.random.default_rng(0).random(2000) + 0.5 if name == "weights" else None
    return sp.csr_array(X) if name == "sparse" else X, np.sin(y + 1.0) * 3, weights


@pytest.mark.parametrize("name", CASES)
def test_the_update_is_repeated_bit_for_bit(name: str, tmp_path: Path) -> None:
    path, (X, y, weights) = tmp_path / "step.safetensors", data(name)
    model = MLP(**{**REGRESSION, **CASES[name]}, threads=2)
    with pytest.raises(NonFiniteError) as caught:
        model.fit(X, y, sample_weight=weights, replay=path)
    error, report = caught.value, nbmlp.replay(path)
    assert report.same, report.differs
    assert (report.first, report.step, report.message) == (error.operation, error.step, str(error))
    np.testing.assert_array_equal(Update.load(path).state.get_flat(), model.get_flat())
    numbers = Update.load(path).rows.names.rows
    assert numbers is not None
    np.testing.assert_array_equal(np.sort(numbers), error.batch_rows)


def test_sizes_are_those_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(700, 4)), rng.normal(size=700)
    model = MLP((6,), task="regression", batch_size=None, dtype="float64")
    model.build(X, y)
    (W1, W2), (b1, b2) = model.weights, model.biases
    W2 *= 1e160  # the square of the error is infinite
    z1 = X @ W1 + b1
    a1 = np.maximum(z1, 0)
    z2 = a1 @ W2 + b2
    with pytest.raises(NonFiniteError) as caught:
        model.partial_fit(X, y)
    caught.value.bundle.save(path)
    report = nbmlp.replay(path)
    assert report.first == "loss"
    for (kind, layer), values in {("z", 1): z1, ("activation", 1): a1, ("z", 2): z2}.items():
        assert report.largest(kind, layer) == pytest.approx(np.abs(values).max(), rel=1e-12)
    assert report.largest("delta", 1) is None


def test_deltas_and_gradients_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    X, y = children.rows(200)
    model = MLP((8,), optimizer="adam(1e38)", batch_size=50)
    with pytest.raises(NonFiniteError):
        model.fit(X, y, replay=path)
    report = nbmlp.replay(path)
    engine = Update.load(path).engine(updates=False)
    engine.region()
    for k, gradient in enumerate(engine.state.matrices(engine.work.gradient), start=1):
        assert report.largest("gradient", k) == np.abs(gradient).max() > 0
    assert "every value has the bits" in str(report)
    assert f"first value that is not finite: {report.first}" in str(report)


def test_an_input_that_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    X, y = children.rows(200)
    X[40, 3] = np.nan
    with pytest.raises(NonFiniteError):
        MLP((8,)).fit(X, y, replay=path)
    report = nbmlp.replay(path)
    assert (report.first, report.same) == ("input", True)
    assert report.largest("z", 1) is None


def test_without_a_failure_no_file(tmp_path: Path) -> None:
    X, y = children.rows(100)
    MLP((8,), epochs=1).fit(X, y, replay=tmp_path / "step")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("policy", ["warn", "ignore"])
def test_also_when_no_error_is_raised(policy: str, tmp_path: Path) -> None:
    X, y = children.rows(200)
    X[40, 3] = np.nan
    with pytest.warns(nbmlp.TrainingWarning):
        MLP((8,), epochs=2, on_nonfinite=policy).fit(X, y, replay=tmp_path / "step")
    assert nbmlp.replay(tmp_path / "step").first == "input"


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    path = tmp_path / "step.safetensors"
    X, y = children.rows(200)
    with pytest.raises(NonFiniteError) as caught:
        MLP((8,), optimizer="sgd(1e38)").fit(X, y)
    caught.value.bundle.save(path)
    return path


def test_damage_is_noticed(failed: Path) -> None:
    raw = bytearray(failed.read_bytes())
    raw[-3] ^= 1
    failed.write_bytes(raw)
    with pytest.raises(ModelFileError, match="damaged or cut short"):
        nbmlp.replay(failed)
    failed.write_bytes(raw[:200])
    with pytest.raises(ModelFileError):
        nbmlp.replay(failed)
    with pytest.raises(ModelFileError, match="No such file"):
        nbmlp.replay(failed.parent / "none")


def test_other_files_are_refused(failed: Path) -> None:
    with pytest.raises(ModelFileError, match="it is a replay, not a model"):
        MLP.load(failed)
    X, y = children.rows(50)
    MLP(3, epochs=1).fit(X, y).save(failed)
    with pytest.raises(ModelFileError, match="it is a model, not a replay"):
        nbmlp.replay(failed)


def test_other_bits_are_told(failed: Path) -> None:
    update = Update.load(failed)
    update.state.theta[0] = 0.125
    update.save(failed)
    report = nbmlp.replay(failed)
    assert not report.same
    assert report.differs[0] == "product z of layer 1"
    assert "other bits than in the training: product z of layer 1" in str(report)


@pytest.mark.parametrize("spoil", ["labels", "rows", "numbers", "columns"])
def test_arrays_that_do_not_fit_are_refused(failed: Path, spoil: str) -> None:
    update = Update.load(failed)
    rows = update.rows
    assert rows.y is not None
    if spoil == "labels":
        rows.y[0] = 1000
    elif spoil == "rows":
        rows.y = rows.y[:-1]
    elif spoil == "numbers":
        rows.names = Names(np.arange(len(rows) - 1))
    else:
        rows.x = rows.x[:, :3]
    update.save(failed)
    with pytest.raises(ModelFileError, match="is no update that fits together"):
        nbmlp.replay(failed)


# -- the command line


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, table = tmp_path / "step", tmp_path / "t.npy"
    np.save(table, np.random.default_rng(0).normal(size=(300, 4)) / 10)
    train = ["train", "--data", str(table), "--target", "3", "--quiet", "--no-standardise"]
    train += ["--replay", str(path), "--optimizer", "sgd(1e20)", "--epochs", "3"]
    assert run(train) == 1
    assert "became" in capsys.readouterr().err
    assert run(["replay", str(path)]) == 0
    assert "every value has the bits" in capsys.readouterr().out
    assert run(["replay", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same"]
    assert found["operations"][0]["operation"] == "input"
    assert run(["replay", str(table)]) == 1
    assert "not a safetensors file" in capsys.readouterr().err
    assert run([*train[:-4], str(table)]) == 2


def test_the_command_names_rows_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 4)).astype(np.float32) / 10
    bad = np.arange(100, 110)
    table[bad, 3] = bad * 1e28
    np.save(tmp_path / "t.npy", table)
    train = ["train", "--data", str(tmp_path / "t.npy"), "--target", "3", "--quiet"]
    train += ["--no-standardise", "--validation", "0.2", "--test-fraction", "0.2"]
    assert run(train) == 1
    said = re.search(r"y has (\S+) at row (\d+), column 'x3'", capsys.readouterr().err)
    assert said is not None
    assert float(said[1]) == pytest.approx(int(said[2]) * 1e28)


@pytest.mark.filterwarnings("always::nbmlp.TrainingWarning")
@pytest.mark.parametrize("policy", ["drop_rows", "impute", "ignore"])
def test_the_command_mends(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 4)) / 10).astype(np.float32)
    X[[7, 99], 1] = np.nan
    X[250, 2] = np.inf
    np.save(tmp_path / "t.npy", X)
    train = ["train", "--data", str(tmp_path / "t.npy"), "--target", "3", "--quiet", "--json"]
    train += ["--epochs", "2", "--batch-size", "20", "--no-standardise"]
    assert run(train) == 1
    assert "has NaN at row 7, column 'x1'" in capsys.readouterr().err
    assert run([*train, "--on-nonfinite", policy]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    counts = [found[n] for n in ("rows_dropped", "values_imputed", "batches_skipped")]
    if policy == "ignore":
        assert counts[2] > 0
    else:
        assert counts == ([3, 0, 0] if policy == "drop_rows" else [0, 3, 0])
        assert "NaN or infinite values in column 'x1', 'x2'" in said.err

"""The cases: each fails as written, and learns when cured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nbmlp import DataError, SpecError, cases
from nbmlp.cases.common import data_place, figures, output_folder, table
from nbmlp.cli import run
from nbmlp.datasets import glyphs
from nbmlp.train.history import EpochRecord, History

pytest.importorskip("matplotlib", reason="the extra plot is not installed")


def test_tables_have_columns() -> None:
    text = table(["net", "error"], [["a", "1.5 %"], ["long", 3]])
    assert text == "net   error\n-----------\na     1.5 %\nlong      3"


def test_figures_of_a_history() -> None:
    records = [
        EpochRecord(
            epoch=i + 1, data_loss=1.0, penalty=0.5, val_loss=1.0, val_score=score, seconds=2.0,
            learning_rate=0.1, samples_per_second=1.0, threads=1, gradient_norms=(4.0 - i, 1.0),
        )
        for i, score in enumerate((0.25, 0.75, 0.5))
    ]  # fmt: skip
    assert figures(History(records)) == {
        "first": 0.25, "best": 0.75, "last": 0.5, "best_epoch": 2, "train_loss": 1.5, "epochs": 3,
        "seconds": 6.0, "first_norms": [4.0, 1.0], "last_norms": [2.0, 1.0],
    }  # fmt: skip


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBMLP_DATA", raising=False)
    assert data_place(None, False) is None
    monkeypatch.setenv("NBMLP_DATA", str(tmp_path))
    assert data_place(None, False) == tmp_path
    with pytest.raises(DataError, match=r"no folder .*missing"):
        data_place(tmp_path / "missing", True)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        output_folder(tmp_path / "file" / "below")
    assert output_folder(tmp_path / "a" / "b").is_dir()


def test_unknown_case(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown case 'z'"):
        cases.run("z", tmp_path)


def test_case_a(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL", reason="the extra glyphs is not installed")
    from nbmlp.cases import case_a

    monkeypatch.setattr(
        case_a, "glyphs", lambda n, validation: glyphs(n // 2, validation=validation // 2)
    )
    monkeypatch.delenv("NBMLP_DATA", raising=False)
    assert run(["case", "a", "--quick", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["glyphs"]
    for batch in ("20", "2000"):
        written, cured = found["as_written"][batch], found["cured"][batch]
        assert cured["last"] > written["best"] + 0.25
        causes = {finding["cause"] for finding in found["diagnosis"][batch]["findings"]}
        assert "summed_gradient" in causes
    stuck = found["as_written"]["2000"]
    assert stuck["best"] < 0.1  # one in sixteen is chance
    assert max(stuck["last_norms"]) < 1e-3 * min(stuck["first_norms"])
    assert found["points"]["20"] > 4
    steps = [step["2000"] for step in found["steps"].values()]
    assert steps[0] < 0.1
    assert steps[-1] == max(steps) > 0.4
    for name in ("glyphs.png", "images.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_case_a_learns_the_symbols(data_dir: Path) -> None:
    from nbmlp.cases import case_a

    symbols = case_a._symbols(data_dir / case_a._REAL)
    assert symbols.test is not None
    assert symbols.X.shape[1] == symbols.test.X.shape[1] == 784
    assert len(symbols) + len(symbols.test) == 9548
    assert len(np.unique(symbols.y)) == 19
    parts = case_a._Parts(symbols.X, symbols.y, (symbols.test.X, symbols.test.y))
    settings = case_a._WRITTEN | case_a._all(case_a._CURES)
    cured = case_a._fitted(settings, 20, parts)
    assert cured[20].history[-1].val_score > 0.88
    assert cured[2000].train_spec.learning_rate_for(2000) == pytest.approx(0.01)
    assert case_a._told(cured).count("\n") == 3


def test_case_b(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NBMLP_DATA", raising=False)
    assert run(["case", "b", "--quick", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "digits"
    assert found["check"]["passed"] is False
    wrong = [(f["kind"], f["blocks"]) for f in found["check"]["findings"]]
    assert sorted(wrong) == [
        ("l2_factor", ["W1", "W2"]),
        ("missing_slope", ["W1", "b1"]),
        ("missing_slope", ["b1"]),
        ("missing_slope", ["b2"]),
    ]
    assert found["gradient_error"] < 1e-7
    causes = {finding["cause"] for finding in found["diagnosis"]["findings"]}
    assert causes & {"loss_mismatch", "l2_too_strong"}
    errors = {(t["reduction"], t["loss"], t["l2"]): t["train"] for t in found["trainings"]}
    assert errors["sum", "cross_entropy", 0.001] < errors["mean", "squared_error", 0.001] - 0.03
    assert found["below"] is None  # the author's figures are MNIST's
    assert (tmp_path / "case-b.png").stat().st_size > 10_000


def test_case_b_takes_mnist_where_it_is(data_dir: Path) -> None:
    from nbmlp.cases import case_b

    told: list[str] = []
    for folder in (data_dir, data_dir / "mnist"):
        images = case_b._images(folder, True, told.append)
        assert images.X.shape == (6000, 784)
        assert images.test is not None
        assert len(images.test) == 10_000
    assert told == []


def test_case_b_compares_with_all_four_figures() -> None:
    from nbmlp.cases import case_b

    def results(train: float) -> dict[tuple[str, str, float], case_b._Result]:
        good = case_b._Result(0.02, 0.03, [], 1.0)
        found = {(*cost, l2): good for cost in case_b._COSTS for l2 in case_b._REPORTED}
        found["mean", "squared_error", 2e-6] = case_b._Result(train, 0.03, [], 1.0)
        return found

    assert len(case_b._below(results(0.045), print)) == 5
    assert "mean of squared_error" not in case_b._below(results(0.046), print)


@pytest.mark.parametrize("letter", ["c", "d"])
def test_cases_c_and_d(
    letter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NBMLP_DATA", raising=False)
    assert run(["case", letter, "--quick", "--json", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    causes = [finding["cause"] for finding in found["diagnosis"]["findings"]]
    if letter == "c":
        assert found["stopped"]["256"] is None
        assert (found["stopped"]["10000"]["row"], found["stopped"]["10000"]["column"]) == (77777, 4)
        assert len(found["cured"]["10000"]["validation"]) == 12
        assert causes[0] == "nonfinite_inputs"
    else:
        assert {"summed_gradient", "initial_weights_large"} <= set(causes[:3])
        assert found["cured"]["batches of 100"] < 1.5
        assert abs(found["row_129"]["cured"] - found["row_129"]["label"]) < 2
    assert (tmp_path / f"case-{letter}.png").stat().st_size > 10_000


def test_cases_c_and_d_take_files_of_ones_own(tmp_path: Path) -> None:
    from scipy.io import savemat
    from sklearn.datasets import load_digits

    from nbmlp.cases import run as run_case

    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    table = np.column_stack([X, X[:, 0] * X[:, 1]])
    table[7, 1] = np.inf
    savemat(tmp_path / "own.mat", {"measured": table})
    told: list[str] = []
    found = run_case("c", tmp_path / "c", tmp_path / "own.mat", quick=True, say=told.append)
    assert found["stopped"][320]["column"] == 1
    assert found["cured"][320]["stopped"] is None
    pixels, labels = load_digits(return_X_y=True)
    np.savetxt(
        tmp_path / "own.csv", np.column_stack([labels, pixels])[:600], fmt="%d", delimiter=",",
        header=",".join(["label", *(f"p{j}" for j in range(64))]), comments="",
    )  # fmt: skip
    found = run_case("d", tmp_path / "d", tmp_path / "own.csv", quick=True, say=told.append)
    assert found["row_129"]["class"] == found["row_129"]["label"]
    np.savetxt(tmp_path / "other.csv", X, delimiter=",")
    with pytest.raises(DataError, match="digits, 0 to 9"):
        run_case("d", tmp_path / "e", tmp_path / "other.csv", quick=True, say=told.append)

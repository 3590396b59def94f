"""The probability from which on the second of two classes is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

import nbmlp
from nbmlp import MLP, DataError, SpecError, TabularClassifier
from nbmlp.cli import run
from nbmlp.metrics import best_threshold
from nbmlp.names import SCORES
from tests import children

FAST: dict[str, Any] = {"hidden": (9,), "epochs": 2, "batch_size": 25, "seed": 1}
LEARN = "train --data t.csv --target -1 --hidden 9 --epochs 2 --out m --quiet --no-standardise"
ENSEMBLE = (
    "train --data t.csv --target -1 --preset default --members 2 --epochs 3 --threads 1 --out e"
    " --quiet"
)
X, Y = children.rows(150)
RARE = np.where((Y == 2) & (np.arange(150) % 3 == 0), "yes", "no")
HELD: Any = (X[75:], RARE[75:])


def fitted(**changes: Any) -> MLP:
    return MLP(**{**FAST, **changes}).fit(X[:75], RARE[:75], validation=HELD)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from(["f1", "mcc", "balanced_accuracy", "error"]))
def test_no_other_threshold_is_better(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(40), 2)
    truth = np.append(rng.random(38) < p[:38], [True, False])
    score = SCORES[name]
    found = best_threshold(truth, p, score.of_matrices, score.larger)
    values = [score.value(truth, p > t, [False, True]) for t in (*np.unique(p)[:-1], 0.5)]
    best = max(values) if score.larger else min(values)
    assert score.value(truth, p > found, [False, True]) == pytest.approx(best, abs=1e-12)


def test_of_equally_good_ones_it_is_the_nearest_to_a_half() -> None:
    f1 = SCORES["f1"].of_matrices
    assert best_threshold(np.array([0, 1]), np.array([0.1, 0.9]), f1) == 0.5
    assert best_threshold(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.9]), f1) == pytest.approx(0.15)


def test_rows_that_weigh_nothing_do_not_choose() -> None:
    f1, p = SCORES["f1"].of_matrices, np.array([0.1, 0.2, 0.6, 0.9])
    found = best_threshold(np.array([0, 1, 0, 1]), p, f1, sample_weight=[1, 0, 1, 1])
    assert found == pytest.approx(0.75)
    with pytest.raises(DataError, match="rows of both classes: these are all of one"):
        best_threshold(np.array([0, 1]), np.array([0.1, 0.9]), f1, sample_weight=[1, 0])


@pytest.mark.parametrize("output", ["logistic", "softmax"])
def test_answers_go_by_it_and_files_keep_it(tmp_path: Path, output: str) -> None:
    made = fitted(output=output)
    before = made.evaluate(*HELD)["f1"]
    found = made.tune_threshold(*HELD, "f1")
    assert 0 < found < 1
    assert found != 0.5
    p = made.predict_proba(HELD[0])[:, 1].astype(np.float64)
    np.testing.assert_array_equal(made.predict(HELD[0]) == "yes", p > found)
    assert made.evaluate(*HELD)["f1"] > before
    expected = peer.f1_score(HELD[1], made.predict(HELD[0]), pos_label="yes")
    assert made.evaluate(*HELD)["f1"] == pytest.approx(expected)
    made.save(tmp_path / "m")
    loaded = MLP.load(tmp_path / "m")
    assert loaded.threshold == found
    np.testing.assert_array_equal(loaded.predict(X), made.predict(X))


def test_as_a_setting_it_is_tuned_on_the_validation_rows() -> None:
    made, by_hand = fitted(tune_threshold="f1"), fitted()
    assert by_hand.threshold == 0.5
    assert made.threshold == by_hand.tune_threshold(*HELD, "f1") != 0.5
    np.testing.assert_array_equal(made.history.val_score, by_hand.history.val_score)
    assert made.set_params(tune_threshold=None).fit(X, RARE).threshold == 0.5


@pytest.mark.parametrize(
    ("change", "y", "said"),
    [
        ({"tune_threshold": "f1"}, Y, "tuned for two classes with probabilities; not here"),
        ({"tune_threshold": "f1"}, X[:, 0], "tuned for two classes with probabilities; not here"),
        ({"tune_threshold": "auc"}, RARE, "roc_auc reads probabilities, which no threshold chan"),
        ({"tune_threshold": "f1"}, RARE, "tune_threshold needs validation data"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_training(change: Any, y: Any, said: str) -> None:
    made = MLP(**FAST, **change)
    with pytest.raises(SpecError, match=said):
        made.fit(X, y)
    assert not made.__sklearn_is_fitted__()
    with pytest.raises(SpecError, match="root_mean_squared_error is a score of numbers"):
        MLP(tune_threshold="rmse")


MANY: dict[str, Any] = {"n_members": 2, "epochs": 3, "random_state": 0, "n_jobs": 1}


def many(**changes: Any) -> TabularClassifier:
    return TabularClassifier(**{**MANY, **changes}).fit(X[:75], RARE[:75], None, *HELD)


def test_an_ensemble_has_it_tuned_on_its_held_out_rows(tmp_path: Path) -> None:
    made, plain = many(tune_threshold="f1"), many()
    assert plain.threshold_ == 0.5
    np.testing.assert_array_equal(made.predict_proba(X), plain.predict_proba(X))
    p = plain.predict_proba(HELD[0])[:, 1]
    f1 = SCORES["f1"].of_matrices
    assert made.threshold_ == pytest.approx(best_threshold(HELD[1] == "yes", p, f1)) != 0.5
    np.testing.assert_array_equal(made.predict(HELD[0]) == "yes", p > made.threshold_)
    assert made.model_.evaluate(*HELD)["f1"] > plain.model_.evaluate(*HELD)["f1"]
    made.save(tmp_path / "m")
    loaded = nbmlp.load(tmp_path / "m")
    assert loaded.threshold_ == made.threshold_
    assert loaded.get_params()["tune_threshold"] == "f1"
    np.testing.assert_array_equal(loaded.predict(X), made.predict(X))
    assert plain.model_.tune_threshold(*HELD) == made.threshold_  # by hand
    np.testing.assert_array_equal(plain.predict(X), made.predict(X))


def test_weights_of_classes_do_not_move_an_ensembles_threshold_further() -> None:
    made = many(tune_threshold="accuracy", class_weight="balanced")
    p = made.predict_proba(HELD[0])[:, 1]
    accuracy = SCORES["accuracy"].of_matrices
    assert made.threshold_ == pytest.approx(best_threshold(HELD[1] == "yes", p, accuracy))
    whole = TabularClassifier(**MANY, n_folds=3, tune_threshold="f1").fit(X, RARE)
    assert 0 < whole.threshold_ < 1


@pytest.mark.parametrize(
    ("metric", "y", "held", "said"),
    [
        ("f1", np.array(["a", "b", "c"])[Y % 3], None, "tuned for two classes with probabilities"),
        ("f1", np.column_stack([Y > 1, Y > 2]).astype(int), None, "not for several labels a row"),
        ("auc", RARE, None, "roc_auc reads probabilities, which no threshold changes"),
        ("rmse", RARE, None, "root_mean_squared_error is a score of numbers"),
        ("f1", RARE, (X[RARE == "no"], RARE[RARE == "no"]), "rows of both classes: these are all"),
    ],
)
def test_what_an_ensemble_cannot_tune_is_refused_before_training(
    metric: str, y: Any, held: Any, said: str
) -> None:
    def trains(*_: Any) -> None:
        raise AssertionError("it trains")

    made = TabularClassifier(**MANY, tune_threshold=metric, callbacks=trains)
    with pytest.raises((DataError, SpecError), match=said):
        made.fit(X, y, None, *(held or ()))


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [",".join([*map(str, row.tolist()), y]) for row, y in zip(X, RARE, strict=True)]
    names = ",".join([*(f"x{j}" for j in range(X.shape[1])), "is it"])
    Path("t.csv").write_text("\n".join([names, *lines]))
    learn = LEARN.split()
    assert run([*learn, "--tune-threshold", "f1"]) == 2
    assert "tune_threshold needs validation data" in capsys.readouterr().err
    assert run([*learn, "--tune-threshold", "f1", "--validation", "0.4"]) == 0
    capsys.readouterr()
    assert run(["info", "m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"] == MLP.load("m").threshold != 0.5
    assert run(["info", "m"]) == 0
    assert "yes from a probability of" in " ".join(capsys.readouterr().out.split())
    learn = ENSEMBLE.split()
    assert run([*learn, "--tune-threshold", "f1"]) == 0
    assert run(["info", "e", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["threshold"]
    assert told == nbmlp.load("e").threshold_ != 0.5
    assert run(["info", "e"]) == 0
    assert "yes from a probability of" in " ".join(capsys.readouterr().out.split())

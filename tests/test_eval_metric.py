"""The score that validation rows are watched by, and those that are asked for afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP, Checkpoint, EarlyStopping, History, SpecError
from nbmlp.cli import run
from nbmlp.names import Reads, larger_is_better, read_score
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.page import words
from nbmlp.tabular.criteria import Truth, criterion_of
from nbmlp.tabular.targets import Targets
from tests import children

FAST: dict[str, Any] = {"hidden": (9,), "epochs": 4, "batch_size": 25, "seed": 1}
LEARN = "train --data t.csv --target -1 --hidden 9 --epochs 2 --validation 0.3 --out m --quiet"
X, Y = children.rows(150)
TWO = np.array(["no", "yes"])[(Y == 2).astype(int)]
NUMBERS = X @ np.arange(1.0, X.shape[1] + 1)
HELD = {"validation": (X[100:], Y[100:])}


def model(**changes: Any) -> MLP:
    return MLP(**{**FAST, **changes})


@pytest.mark.parametrize(
    ("metric", "y", "label"),
    [
        (None, Y, "accuracy"), ("log_loss", Y, "log loss"), ("auc", TWO, "ROC AUC"),
        ("f1", TWO, "F1"), (None, NUMBERS, "R2"), ("pinball(0.9)", NUMBERS, "pinball(0.9)"),
    ],
)  # fmt: skip
def test_the_history_holds_the_score_that_is_asked_for(metric: Any, y: Any, label: str) -> None:
    made = model(eval_metric=metric)
    made.fit(X[:100], y[:100], validation=(X[100:], y[100:]))
    assert made.history.score_name == label
    name = metric or ("r2" if y is NUMBERS else "accuracy")
    found = made.evaluate(X[100:], y[100:], metrics=name)
    assert set(found) == {"loss", name}
    assert made.history[-1].val_score == found[name]
    assert label in str(made.history)


def test_the_smallest_loss_is_the_best_epoch() -> None:
    stopper = EarlyStopping("score", patience=9)
    made = model(eval_metric="log_loss", epochs=6, optimizer="adam(0.3)")
    made.fit(X[:100], Y[:100], **HELD, callbacks=[stopper])
    scores = made.history.val_score
    assert scores[0] != scores.min() or scores[-1] != scores.min()  # else nothing is kept
    assert stopper.best_epoch == made.history.best_epoch == scores.argmin() + 1
    assert made.evaluate(X[100:], Y[100:])["log_loss"] == pytest.approx(scores.min(), rel=1e-6)
    again = History.from_dict(made.history.to_dict())
    assert again.best_epoch == stopper.best_epoch


@pytest.mark.parametrize(
    ("settings", "y", "said"),
    [
        ({"eval_metric": "rmse"}, Y, "score of numbers, and this model predicts classes"),
        ({"eval_metric": "mcc"}, NUMBERS, "score of classes, and this model predicts numbers"),
        ({"eval_metric": "auc", "output": "identity", "loss": "squared_error"}, TWO,
         "roc_auc needs probabilities: a logistic or softmax output, not 'identity'"),
    ],
)  # fmt: skip
def test_a_score_that_does_not_go_with_the_data_is_refused_before(
    settings: Any, y: Any, said: str
) -> None:
    made = model(**settings)
    with pytest.raises(SpecError, match=said):
        made.fit(X, y)
    assert not made.__sklearn_is_fitted__()


def test_a_score_of_the_other_task_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match="predicts classes: choose one of error, accuracy"):
        MLP(task="classes", eval_metric="rmse")
    with pytest.raises(SpecError, match="unknown score 'f2': there are error, accuracy, balanced"):
        MLP(eval_metric="f2")


def test_what_is_watched_travels_with_the_model(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    made = model(eval_metric="auc").fit(X, TWO, callbacks=[Checkpoint(path)])
    made.save(tmp_path / "model")
    loaded = MLP.load(tmp_path / "model")
    assert loaded.get_params()["eval_metric"] == "roc_auc"
    assert loaded.history.score_name == "ROC AUC"
    with pytest.raises(SpecError, match="another eval_metric: resume with the settings"):
        model(eval_metric="f1", epochs=5).fit(X, TWO, resume=path)


def test_the_usual_scores_tell_imbalance_at_a_glance() -> None:
    rare = np.where(np.arange(150) % 50, "no", "yes")
    found = model(epochs=3, learning_rate=0.02).fit(X, rare).evaluate(X, rare)
    assert list(found) == [
        "loss", "error", "accuracy", "balanced_accuracy", "log_loss", "roc_auc", "f1", "mcc",
    ]  # fmt: skip
    assert found["accuracy"] > 0.9
    assert found["balanced_accuracy"] < 0.8
    made = model(epochs=1).fit(X, NUMBERS).evaluate(X, NUMBERS)
    assert found.keys() & made.keys() == {"loss"}
    with pytest.raises(SpecError, match="mean_absolute_error is a score"):
        model(epochs=1).fit(X, Y).evaluate(X, Y, metrics=["f1", "mae"])


def write_table(path: Path) -> None:
    lines = [",".join(map(str, [*row.tolist(), label])) for row, label in zip(X, TWO, strict=True)]
    names = ",".join([*(f"x{j}" for j in range(X.shape[1])), "is it"])
    path.write_text("\n".join([names, *lines]))


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("t.csv"))
    learn = LEARN.split()
    assert run([*learn, "--eval-metric", "auc", "--log", "log.csv"]) == 0
    assert "val_score" in Path("log.csv").read_text()
    assert MLP.load("m").history.score_name == "ROC AUC"
    look = ["evaluate", "m", "--data", "t.csv"]
    assert run([*look, "--json", "--metric", "f1,pr_auc"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"rows", "loss", "f1", "pr_auc"}
    assert run(look) == 0
    shown = capsys.readouterr().out
    for word in ("error", "balanced accuracy", "log loss", "ROC AUC", "F1", "MCC"):
        assert word in shown
    assert run([*look, "--metric", "rmse"]) == 2
    assert "choose one of error, accuracy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "y"),
    [("auc", TWO), ("f1", TWO), ("auc", Y), ("balanced_accuracy", Y), ("pinball(0.8)", NUMBERS),
     ("r2", np.column_stack([NUMBERS, X[:, 0]]))],
)  # fmt: skip
def test_ensembles_are_chosen_by_any_score(name: str, y: Any) -> None:
    task = "classes" if y.dtype.kind in "Ui" else "regression"
    targets = Targets.fit(y, task)
    rng, weights = np.random.default_rng(0), np.arange(150.0)
    outputs = rng.random((150, targets.n_outputs)).astype(np.float32)
    if targets.softmax:
        outputs /= outputs.sum(axis=1, keepdims=True)
    truth = Truth(targets, targets.encode(y, 150), weights)
    criterion, score = criterion_of(name, targets), read_score(name)
    labels = targets.classes
    given = {Reads.PROBABILITIES: lambda: targets.probabilities(outputs.astype(np.float64)),
             Reads.LABELS: lambda: targets.decode(outputs),
             Reads.VALUES: lambda: targets.coding.decode(outputs.astype(np.float64))}  # fmt: skip
    expected = score.row.value(y, given[score.row.reads](), labels, weights, score.parameter)
    assert criterion.sign * criterion(truth, outputs) == pytest.approx(expected, rel=1e-6)
    assert larger_is_better(criterion.name) is score.row.larger
    assert criterion.sign == (-1 if score.row.larger else 1)


def test_a_score_is_one_criterion_whichever_of_its_names_it_is_called_by() -> None:
    for y in (NUMBERS, np.column_stack([NUMBERS, 9 * X[:, 0]])):
        targets = Targets.fit(y, "regression")
        truth = Truth(targets, targets.encode(y, 150, "float64"))
        outputs = 0.9 * truth.codes
        short, long = (criterion_of(n, targets) for n in ("rmse", "root_mean_squared_error"))
        expected = read_score("rmse").row.value(y, targets.in_units(outputs))
        assert short(truth, outputs) == long(truth, outputs) == pytest.approx(expected, rel=1e-3)


def test_a_server_watches_it_too() -> None:
    job = JobSpec(dataset_id="0" * 26, model={"eval_metric": "log_loss"})
    assert MLP(**job.model.settings()).get_params()["eval_metric"] == "log_loss"
    with pytest.raises(ValueError, match="unknown score 'f2'"):
        JobSpec(dataset_id="0" * 26, model={"eval_metric": "f2"})
    assert words.score(0.31, "log loss") == "Log loss 0.31"
    assert words.score(0.91, "balanced accuracy") == "Balanced accuracy 91.00\u202f%"


def test_the_server_keeps_the_epoch_of_the_smallest_loss() -> None:
    best = pytest.importorskip("nbmlp.server.store.reports")._best
    blank = {"best_epoch": None, "best_score": None, "best_loss": None}
    rows = [
        {"epoch": i + 1, "val_score": score, "val_loss": 1.0, "train_loss": 1.0}
        for i, score in enumerate((0.6, 0.4, 0.5))
    ]
    assert best({"score_name": "log loss", **blank}, rows)["best_epoch"] == 2
    assert best({"score_name": "ROC AUC", **blank}, rows)["best_epoch"] == 1

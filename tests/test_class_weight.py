"""Weights of classes: those of rows, in training alone, wherever they may be named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from nbmlp import MLP, Checkpoint, DataError, MLPClassifier, SpecError
from nbmlp.cli import run
from nbmlp.cli.options import TRAIN, pick
from nbmlp.data import class_weights
from nbmlp.net import Net
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.page.forms import flat
from tests import children

FAST: dict[str, Any] = {"hidden": (9,), "epochs": 2, "batch_size": 25, "seed": 1}
X, Y = children.rows(150)
TWO = np.array(["no", "yes"])[(Y == 2).astype(int)]
BY_LABEL = {0: 1.0, 1: 5.0, 2: 0.5}
OF_ROWS = np.array([BY_LABEL[label] for label in Y.tolist()])


def model(**changes: Any) -> MLP:
    return MLP(**{**FAST, **changes})


def same(one: MLP, other: MLP) -> None:
    np.testing.assert_array_equal(one.get_flat(), other.get_flat())


# ------------------------------------------------------------------------------ formula


@pytest.mark.parametrize(
    "wanted",
    ["balanced", {0: 2.0, 1: 1.0, 3: 0.5}, {1: 4.0}, {0: 1, 1: 1, 3: 2, 9: 5}, {}],
)
def test_the_formula_is_scikit_learns(wanted: Any) -> None:
    y = np.array([0, 0, 0, 3, 3, 1, 0, 3, 0])
    labels, codes = np.unique(y, return_inverse=True)
    found = class_weights(wanted, labels.tolist(), codes)
    np.testing.assert_array_equal(found, compute_class_weight(wanted, classes=labels, y=y))


@pytest.mark.parametrize(
    ("labels", "names"),
    [([1, 2], ["1", 2.0]), ([0.5, 2.0], ["0.5", 2]), ([False, True], ["False", True]),
     (["a", "b"], ["a", np.str_("b")]), ([-3, 7], [np.int64(-3), "7"])],
)  # fmt: skip
def test_labels_are_known_by_what_is_typed_for_them(labels: Any, names: Any) -> None:
    found = class_weights(dict(zip(names, [3.0, 4.0], strict=True)), labels, np.array([0, 1]))
    assert found.tolist() == [3.0, 4.0]


def test_classes_of_which_no_row_is_there_do_not_count() -> None:
    found = class_weights("balanced", ["a", "b", "c"], np.array([0, 0, 2]))
    assert found.tolist() == [0.75, 1.0, 1.5]


# ------------------------------------------------------------------------------- training


def test_they_are_weights_of_rows() -> None:
    same(model(class_weight=BY_LABEL).fit(X, Y), model().fit(X, Y, sample_weight=OF_ROWS))
    own = np.random.default_rng(3).random(len(Y))
    both = model(class_weight=BY_LABEL).fit(X, Y, sample_weight=own)
    same(both, model().fit(X, Y, sample_weight=own * OF_ROWS))
    two = model(class_weight={"yes": 3}).fit(X, TWO)
    same(two, model().fit(X, TWO, sample_weight=np.where(TWO == "yes", 3.0, 1.0)))


def test_balanced_classes_weigh_the_same_together() -> None:
    counts = np.bincount(Y)
    weights = len(Y) / (3 * counts)
    same(
        model(class_weight="balanced").fit(X, Y),
        model().fit(X, Y, sample_weight=weights[Y]),
    )


def test_rows_to_validate_on_keep_their_weight() -> None:
    kept = model(class_weight=BY_LABEL).fit(X[:100], Y[:100], validation=(X[100:], Y[100:]))
    by_row = model().fit(
        X[:100], Y[:100], sample_weight=OF_ROWS[:100], validation=(X[100:], Y[100:])
    )
    np.testing.assert_array_equal(kept.history.val_loss, by_row.history.val_loss)
    np.testing.assert_array_equal(kept.history.val_score, by_row.history.val_score)
    assert kept.evaluate(X, Y) == by_row.evaluate(X, Y)


def test_rows_that_come_in_portions() -> None:
    by_label, by_row = model(class_weight=BY_LABEL), model()
    for rows in (slice(0, 80), slice(80, 150)):
        by_label.partial_fit(X[rows], Y[rows], classes=range(3))
        by_row.partial_fit(X[rows], Y[rows], classes=range(3), sample_weight=OF_ROWS[rows])
    same(by_label, by_row)
    for estimator in (model(class_weight="balanced"), MLPClassifier(class_weight="balanced")):
        with pytest.raises(ValueError, match="'balanced' needs all rows at once: give partial_fit"):
            estimator.partial_fit(X, Y, classes=np.arange(3))


def test_gradients_are_those_of_the_training() -> None:
    made = model(class_weight=BY_LABEL, dtype="float64").build(X, Y)
    other = model(dtype="float64").build(X, Y)
    loss, gradient = made.loss_and_gradient(X, Y)
    wanted = other.loss_and_gradient(X, Y, OF_ROWS)
    assert loss == wanted[0]
    np.testing.assert_array_equal(gradient, wanted[1])
    assert made.check_gradients(X, Y).passed


def test_a_diagnosis_trains_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    weighted = Net.weighted
    monkeypatch.setattr(Net, "weighted", lambda *a: seen.append(a[2]) or weighted(*a))
    model(class_weight=BY_LABEL).why(X, Y, seconds=0.01)
    model(class_weight=BY_LABEL).scan_batch(X, Y, sizes=[25], seconds=0.01)
    assert len(seen) >= 2
    assert all(w == BY_LABEL for w in seen)


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"class_weight": "balancd"}, "unknown class_weight 'balancd': did you mean 'balanced'?"),
        ({"class_weight": 3}, "class_weight=3 must be 'balanced' or a dict, label: weight."),
        ({"class_weight": {"a": -1}}, "class_weight['a']=-1 must be a number in [0, inf)."),
        ({"class_weight": {0: "b"}}, "class_weight[0]='b' must be a number in [0, inf)."),
        ({"class_weight": "balanced", "task": "regression"}, "class_weight goes with classes, not"),
    ],
)
def test_they_are_checked_at_once(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        model(**settings)
    assert str(caught.value).startswith(sentence)


def test_labels_that_there_are_not() -> None:
    made = model(class_weight={0: 1, "seven": 3}).fit(X, np.where(Y == 1, "seven", "0"))
    before = made.get_flat()
    with pytest.raises(SpecError, match="class_weight names 'seven', which is no label of y: 0, 1"):
        made.fit(X, Y)
    np.testing.assert_array_equal(made.get_flat(), before)
    with pytest.raises(SpecError, match="class_weight needs classes; these targets are numbers"):
        model(class_weight="balanced").fit(X, X[:, 0])
    with pytest.raises(DataError, match="is 0 in every row"):
        model(class_weight=dict.fromkeys(range(3), 0)).fit(X, Y)


# --------------------------------------------------------------------- files and programs


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [False, True]])
def test_a_file_keeps_them(labels: list[Any], tmp_path: Path) -> None:
    y = np.array(labels)[(Y == 2).astype(int)]
    weight = dict(zip(labels, [1.0, 2.5], strict=True))
    model(class_weight=weight).fit(X, y).save(tmp_path / "m.safetensors")
    read = MLP.load(tmp_path / "m.safetensors").get_params()["class_weight"]
    assert read == weight
    assert [type(label) for label in read] == [type(label) for label in labels]


def test_a_checkpoint_is_of_a_training_with_the_same(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    whole = model(class_weight=BY_LABEL, schedule="constant").fit(X, Y)
    begun = model(class_weight=BY_LABEL, schedule="constant")
    begun.fit(X, Y, epochs=1, callbacks=[Checkpoint(path)])
    same(model(class_weight=BY_LABEL, schedule="constant").fit(X, Y, resume=path), whole)
    with pytest.raises(SpecError, match="with another class_weight: resume with the settings"):
        model(class_weight="balanced", schedule="constant").fit(X, Y, resume=path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("balanced", "balanced"), ("yes=5, no=1", {"yes": 5, "no": 1}), ("a=b=2.5", {"a=b": 2.5})],
)
def test_on_the_command_line(text: str, value: object) -> None:
    assert pick(TRAIN, {}, {"class_weight": text}) == {"class_weight": value}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = "\n".join(f"{a},{b},{label}" for (a, b), label in zip(X[:, :2], Y, strict=True))
    (tmp_path / "t.csv").write_text("a,b,label\n" + table + "\n")
    (tmp_path / "n.toml").write_text("hidden = 9\nepochs = 1\n[class_weight]\n0 = 2\n1 = 0.5\n")
    call = ["train", "--data", str(tmp_path / "t.csv"), "--target", "label", "--quiet"]
    out = ["--out", str(tmp_path / "m.safetensors")]
    assert run([*call, "--config", str(tmp_path / "n.toml"), *out]) == 0
    read = MLP.load(tmp_path / "m.safetensors")
    assert read.get_params()["class_weight"] == {"0": 2.0, "1": 0.5}
    capsys.readouterr()
    for text, words in (("balancd", "did you mean"), ("0=2,7", "'7' has no number: write LABEL="),
                        ("9=1", "names '9', which is no label of y: 0, 1, 2")):  # fmt: skip
        assert run([*call, "--epochs", "1", "--class-weight", text]) == 2
        assert words in capsys.readouterr().err


def test_on_a_server() -> None:
    for weight in ("balanced", {"yes": 5.0, "no, never": 1.0}):
        body = {"dataset_id": "0" * 26, "model": {"class_weight": weight}}
        job = JobSpec.model_validate_json(json.dumps(body))
        assert MLP(**job.model.settings()).get_params()["class_weight"] == weight
        assert flat(job, brief=True)["model.class_weight"] == weight

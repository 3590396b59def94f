"""Scores by name: against scikit-learn's, and at the ends where nothing is defined."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration, preprocessing
from sklearn import metrics as peer
from sklearn.exceptions import UndefinedMetricWarning

from nbmlp import metrics
from nbmlp.errors import SpecError
from nbmlp.names import SCORES, Reads, label_of, larger_is_better, read_score, usual_scores


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """scikit-learn warns of what is not defined; here it is what is looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        yield


def against_rest(function: Any, true: Any, p: Any, w: Any) -> float:
    """The mean over the classes that occur; of two classes the second one's."""
    k = p.shape[1]
    if k == 2:
        return float(function(true == 1, p[:, 1], sample_weight=w))
    hot = preprocessing.label_binarize(true, classes=np.arange(k))
    met = np.flatnonzero(hot.any(axis=0))
    return float(np.mean([function(hot[:, c], p[:, c], sample_weight=w) for c in met]))


def f1_peer(true: Any, pred: Any, sample_weight: Any, k: int) -> float:
    average = "binary" if k == 2 else "macro"
    return float(peer.f1_score(true, pred, sample_weight=sample_weight, average=average))


OF_LABELS = {
    "error": lambda t, p, w, k: 1 - peer.accuracy_score(t, p, sample_weight=w),
    "accuracy": lambda t, p, w, k: peer.accuracy_score(t, p, sample_weight=w),
    "balanced_accuracy": lambda t, p, w, k: peer.balanced_accuracy_score(t, p, sample_weight=w),
    "f1": f1_peer,
    "f1_macro": lambda t, p, w, k: peer.f1_score(t, p, sample_weight=w, average="macro"),
    "mcc": lambda t, p, w, k: peer.matthews_corrcoef(t, p, sample_weight=w),
}
OF_PROBABILITIES = {
    "log_loss": lambda t, p, w: peer.log_loss(t, p, labels=range(p.shape[1]), sample_weight=w),
    "roc_auc": partial(against_rest, peer.roc_auc_score),
    "pr_auc": partial(against_rest, peer.average_precision_score),
}
OF_VALUES = {
    "root_mean_squared_error": peer.root_mean_squared_error,
    "mean_squared_error": peer.mean_squared_error,
    "mean_absolute_error": peer.mean_absolute_error,
    "r2": peer.r2_score,
    "pinball(0.9)": partial(peer.mean_pinball_loss, alpha=0.9),
}


def test_every_score_is_compared_with_its_peer() -> None:
    compared = {*OF_LABELS, *OF_PROBABILITIES, *(name.partition("(")[0] for name in OF_VALUES)}
    assert compared == set(SCORES)


def drawn(seed: int, k: int, weighted: str) -> tuple[Any, Any, Any]:
    """Labels of k classes, some perhaps missing; probabilities with ties; weights, some 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    p = rng.dirichlet(np.full(k, 0.5), size=n)
    if rng.random() < 0.5:
        p = np.round(p, 1) + 0.01
        p /= p.sum(axis=1, keepdims=True)
    true = rng.choice(rng.permutation(k)[: rng.integers(1, k + 1)], n)
    weight = {"none": None, "some": rng.uniform(0.1, 3, n), "zeros": rng.integers(0, 3, n)}
    found = weight[weighted]
    return true, p, found if found is None or found.any() else np.ones(n)


ROWS = given(st.integers(0, 2**32), st.integers(2, 5), st.sampled_from(["none", "some", "zeros"]))


@settings(max_examples=40)
@ROWS
def test_scores_of_labels_are_those_of_sklearn(seed: int, k: int, weighted: str) -> None:
    true, p, weight = drawn(seed, k, weighted)
    pred = p.argmax(axis=1)
    counts = slice(None) if weight is None else weight > 0
    t, q, w = true[counts], pred[counts], None if weight is None else weight[counts]
    for name, compute in OF_LABELS.items():
        found = SCORES[name].value(true, pred, np.arange(k), weight)
        assert found == pytest.approx(compute(t, q, w, k), abs=1e-12), name
    direct = {
        "accuracy": metrics.accuracy, "balanced_accuracy": metrics.balanced_accuracy,
        "f1_macro": metrics.f1_macro, "mcc": metrics.matthews,
        "error": metrics.classification_error, "f1": partial(metrics.f1, labels=np.arange(k)),
    }  # fmt: skip
    for name, function in direct.items():
        found = SCORES[name].value(true, pred, np.arange(k), weight)
        assert function(true, pred, weight) == pytest.approx(found, abs=1e-12), name


@settings(max_examples=40)
@ROWS
def test_scores_of_probabilities_are_those_of_sklearn(seed: int, k: int, weighted: str) -> None:
    true, p, weight = drawn(seed, k, weighted)
    counts = slice(None) if weight is None else weight > 0
    t, q, w = true[counts], p[counts], None if weight is None else weight[counts]
    for name, compute in OF_PROBABILITIES.items():
        found = SCORES[name].value(true, p, np.arange(k), weight)
        one_class = len(np.unique(t)) < 2 and name == "roc_auc"
        none = k == 2 and not (t == 1).any() and name == "pr_auc"
        expected = math.nan if one_class or none else compute(t, q, w)
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@settings(max_examples=40)
@ROWS
def test_scores_of_numbers_are_those_of_sklearn(seed: int, outputs: int, weighted: str) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal(3, 2, (30, outputs))
    pred = true + rng.normal(0, 1, true.shape)
    weight = {"none": None, "some": rng.uniform(0.1, 3, 30), "zeros": rng.integers(0, 2, 30)}
    w = weight[weighted]
    for name, compute in OF_VALUES.items():
        score = read_score(name)
        found = score.row.value(true, pred, None, w, score.parameter)
        assert found == pytest.approx(compute(true, pred, sample_weight=w), rel=1e-12), name


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    """scikit-learn gives up then; rows held out for validation often lack a rare class."""
    true, p = np.array([0, 1, 0, 1]), np.eye(3)[[0, 1, 0, 1]]
    assert metrics.roc_auc(true, p, labels=[0, 1, 2]) == 1.0
    assert metrics.average_precision(true, p, labels=[0, 1, 2]) == 1.0
    assert metrics.balanced_accuracy(true, p.argmax(axis=1)) == 1.0


def test_rows_of_one_class_have_no_curve() -> None:
    assert math.isnan(metrics.roc_auc([1, 1], [0.2, 0.9], labels=[0, 1]))
    assert math.isnan(metrics.roc_auc([0, 1], [0.2, 0.9], sample_weight=[0, 1]))
    assert math.isnan(metrics.average_precision([0, 0], [0.2, 0.9], labels=[0, 1]))
    assert math.isnan(metrics.roc_auc([0, 1], [0.2, math.nan]))
    assert metrics.f1([0, 0], [0, 0], labels=[0, 1]) == 0.0
    assert metrics.matthews([0, 0], [0, 0]) == metrics.matthews([0, 1], [1, 1]) == 0.0


def test_ties_count_as_halves() -> None:
    assert metrics.roc_auc([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) == 0.5
    assert metrics.average_precision([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) == 0.5


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_calibration_is_that_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(200), 2)  # many at the borders of parts
    true = (rng.random(200) < p).astype(int)
    share, mean = calibration.calibration_curve(true, p, n_bins=10)
    found = metrics.calibration(true, p, labels=[0, 1])
    np.testing.assert_allclose(found[:, :2], np.column_stack([mean, share]), atol=1e-12)
    assert found[:, 2].sum() == 200


def test_calibration_of_several_classes_is_that_of_the_predicted_one() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]])
    found = metrics.calibration([0, 2, 2], p, labels=[0, 1, 2], sample_weight=[1, 3, 2])
    np.testing.assert_allclose(found, [[0.6, 1.0, 2.0], [0.7, 0.25, 4.0]])


# ----------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "label", "larger"),
    [
        ("auc", "ROC AUC", True), ("rmse", "RMSE", False), ("pinball(0.9)", "pinball(0.9)", False),
        ("log_loss", "log loss", False), ("r2", "R2", True),
    ],
)  # fmt: skip
def test_a_score_is_known_by_its_label(text: str, label: str, larger: bool) -> None:
    assert label_of(read_score(text)) == label
    assert larger_is_better(label) is larger


def test_a_name_does_for_a_label_and_of_others_larger_is_better() -> None:
    assert not larger_is_better("log_loss")
    assert not larger_is_better("rmse")
    assert larger_is_better("auc")
    assert larger_is_better("score")


@pytest.mark.parametrize(
    ("text", "classes", "said"),
    [
        ("rocauc", None, "unknown score 'rocauc': there are error, accuracy, balanced_accuracy"),
        ("rmse", True, "is a score of numbers, and this model predicts classes: choose one of err"),
        ("f1", False, "f1 is a score of classes, and this model predicts numbers: choose one of"),
        ("pinball(2)", False, r"score pinball: q=2 must be a number in \(0, 1\)"),
        ("f1(2)", True, r"score 'f1\(2\)': f1 takes no number"),
    ],
)
def test_a_wrong_score_is_a_sentence(text: str, classes: bool | None, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_score(text, classes)


def test_usual_scores_need_no_probabilities_where_there_are_none() -> None:
    assert set(usual_scores(True)) - set(usual_scores(True, False)) == {"log_loss", "roc_auc"}
    reads = {SCORES[name].reads for name in usual_scores(False)}
    assert reads == {Reads.VALUES}

"""Metrics against scikit-learn's."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer

from nbmlp import metrics
from nbmlp.errors import DataError


@st.composite
def rows(draw, *, classes: bool):
    """(y_true, y_pred, sample_weight or None)"""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = rng.uniform(0.1, 3, n) if draw(st.booleans()) else None
    if classes:
        labels = np.array(draw(st.sampled_from([["cat", "dog", "emu"], [-3, 0, 70]])))
        return rng.choice(labels, n), rng.choice(labels, n), weight
    shape = draw(st.sampled_from([(n,), (n, 1), (n, 3)]))
    true = rng.normal(5, 2, shape)
    return true, true + rng.normal(0, draw(st.sampled_from([0.1, 10.0])), shape), weight


@given(rows(classes=True))
def test_classes_match_sklearn(case):
    true, pred, weight = case
    expected = peer.accuracy_score(true, pred, sample_weight=weight)
    assert metrics.accuracy(true, pred, weight) == pytest.approx(expected, abs=1e-12)
    error = metrics.classification_error(true, pred, weight)
    assert error == pytest.approx(1 - expected, abs=1e-12)
    labels = ["emu", "cat", "dog"] if true.dtype.kind == "U" else [70, -3, 0]
    matrix = metrics.confusion_matrix(true, pred, labels=labels, sample_weight=weight)
    expected = peer.confusion_matrix(true, pred, labels=labels, sample_weight=weight)
    np.testing.assert_allclose(matrix, expected)
    assert matrix.dtype == (np.int64 if weight is None else np.float64)


@given(rows(classes=False))
def test_regression_matches_sklearn(case):
    true, pred, weight = case
    for function, compute in (
        (metrics.mean_squared_error, peer.mean_squared_error),
        (metrics.mean_absolute_error, peer.mean_absolute_error),
        (metrics.r2, peer.r2_score),
    ):
        expected = compute(true, pred, sample_weight=weight)
        assert function(true, pred, weight) == pytest.approx(expected, rel=1e-10)


@given(st.integers(0, 2**32), st.sampled_from([2, 5]), st.sampled_from([np.float32, np.float64]))
def test_log_loss_matches_sklearn(seed, k, dtype):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.3), size=30).astype(dtype)
    labels = np.arange(10, 10 + k)
    true, weight = rng.choice(labels, 30), rng.uniform(0, 2, 30)
    with warnings.catch_warnings():  # float32 rows do not sum to one exactly
        warnings.simplefilter("ignore")
        expected = peer.log_loss(true, p, labels=labels, sample_weight=weight)
    found = metrics.log_loss(true, p, labels=labels, sample_weight=weight)
    assert found == pytest.approx(expected, rel=1e-5 if dtype is np.float32 else 1e-12)


def test_log_loss_of_one_column_and_of_certainty():
    assert metrics.log_loss([0, 1], [0.25, 0.75]) == pytest.approx(-math.log(0.75))
    assert metrics.log_loss(["a", "b"], [[1, 0], [0, 1]]) == pytest.approx(0, abs=1e-15)
    assert math.isfinite(metrics.log_loss(["a", "b"], [[0, 1], [1, 0]]))


def test_confusion_matrix_sorts_the_labels_that_occur():
    true, pred = ["b", "b", "a"], ["b", "d", "a"]
    expected = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(metrics.confusion_matrix(true, pred), expected)
    np.testing.assert_array_equal(peer.confusion_matrix(true, pred), expected)


@pytest.mark.parametrize(("pred", "score"), [([2.0, 2.0], 1.0), ([2.0, 3.0], 0.0)])
def test_r2_of_a_constant_target(pred, score):
    assert metrics.r2([2.0, 2.0], pred) == score == peer.r2_score([2.0, 2.0], pred)


def test_r2_of_one_row_is_undefined():
    assert math.isnan(metrics.r2([1.0], [1.0]))


@pytest.mark.parametrize("n", [3, 10, 49, 10_000])
def test_all_right_is_exactly_one(n):
    assert metrics.accuracy(np.arange(n), np.arange(n)) == 1.0
    assert metrics.classification_error(np.arange(n), np.arange(n)) == 0.0


def test_float32_is_summed_in_float64():
    true = np.full(100_000, 1e4, dtype=np.float32)
    assert metrics.mean_squared_error(true, true + np.float32(1)) == 1.0


def test_a_single_column_is_taken_as_labels_or_predictions():
    assert metrics.accuracy(np.array([[1], [2]]), [1, 3]) == 0.5
    assert metrics.mean_squared_error([1.0, 2.0], np.array([[1.0], [4.0]])) == 2.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: metrics.accuracy([1, 2], [1]), "y_true has shape (2,) and y_pred (1,)"),
        (lambda: metrics.accuracy(np.eye(2), np.eye(2)), "labels have shape (2, 2)"),
        (lambda: metrics.accuracy([], []), "there is no row to evaluate"),
        (lambda: metrics.r2(np.zeros((0, 2)), np.zeros((0, 2))), "there is no row to evaluate"),
        (lambda: metrics.accuracy([1], [1], [1, 2]), "sample_weight has shape (2,)"),
        (lambda: metrics.accuracy([1], [1], [-1]), "sample_weight must be finite, 0 or more"),
        (lambda: metrics.accuracy([1], [1], [0]), "not 0 for all rows"),
        (lambda: metrics.r2([1, 2], [1, 2], [1, math.nan]), "sample_weight must be finite"),
        (lambda: metrics.r2([1, 2], [[1, 2], [3, 4]]), "y_true has shape (2,) and y_pred (2, 2)"),
        (lambda: metrics.r2(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))), "targets have shape"),
        (
            lambda: metrics.confusion_matrix(["a", "z"], ["a", "a"], labels=["a", "b"]),
            "is not among the labels given",
        ),
        (lambda: metrics.log_loss([0, 1], [[1, 0, 0]] * 2), "2 rows and 2 labels need (2, 2)"),
    ],
)
def test_one_sentence(call, sentence):
    with pytest.raises(DataError) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)

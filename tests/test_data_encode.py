"""Labels to class numbers and back, the guess of the task, and splits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from nbmlp.data import Labels, infer_task, split
from nbmlp.errors import DataError

KINDS = [
    st.lists(st.integers(-(2**53), 2**53), min_size=1),
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
        min_size=1,
    ),
    st.lists(st.booleans(), min_size=1),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
]


@given(st.one_of(KINDS))
def test_round_trip_through_json(y: list[Any]) -> None:
    labels = Labels.fit(np.array(y))
    back = Labels.from_dict(json.loads(json.dumps(labels.to_dict())))
    assert back == labels
    codes = back.encode(np.array(y))
    assert codes.dtype == np.int32
    assert codes.max() == len(set(y)) - 1
    assert back.decode(codes).tolist() == y


def test_kinds_stay_apart() -> None:
    kinds = [Labels.fit(np.array(y)).kind for y in ([1, 5], [1.0, 5.0], [True, False], ["1", "5"])]
    assert kinds == ["int", "float", "bool", "str"]
    assert Labels.fit(np.array([b"x", b"y"])).classes == ("x", "y")
    assert Labels.fit(np.array(["b", "a"], dtype=object)).classes == ("a", "b")
    assert Labels.fit([[3], [9]]).classes == (3, 9)
    assert Labels.fit(np.array([3, 200], dtype=np.uint8)).decode([1]).dtype == np.int64


def test_whole_floats_meet_integer_labels() -> None:
    assert_array_equal(Labels.fit([3, 7]).encode(np.array([7.0, 3.0])), [1, 0])


@pytest.mark.parametrize(
    ("fitted", "given_", "says"),
    [
        ([1, 5, 9], [1, 9, 7, 5, 7], "label 7 at row 2 .*, which was not seen .* are 1, 5, 9"),
        ([1, 5, 9], [10], "label 10 at row 0"),
        (["cat", "dog"], ["dog", "cow"], "label 'cow' at row 1"),
        ([1, 5], ["1", "5"], "label '1' at row 0"),
        (["1", "5"], [1, 5], "label 1 at row 0"),
        ([False, True], [0, 2], "label 2 at row 1"),
        (list(range(12)), [99], r"they are 0, 1, 2, .*9, \.\.\."),
    ],
)
def test_unseen_labels(fitted: list[Any], given_: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Labels.fit(fitted).encode(given_)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.array(["a", None, "b"], dtype=object), "no value at row 1"),
        (np.array([1.0, 2.0, np.nan]), "NaN at row 2"),
        (np.array([1, "a"], dtype=object), "mixes int with str at row 1"),
        (np.zeros((3, 2)), r"shape \(3, 2\): labels are one column"),
        (np.array([1j]), "holds complex128"),
        (np.array([]), "y has no rows"),
        (np.array([], dtype=object), "y has no rows"),
    ],
)
def test_bad_labels(y: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Labels.fit(y)


@pytest.mark.parametrize("stored", [{}, {"kind": "int"}, {"kind": "set", "classes": []}])
def test_bad_stored_labels(stored: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="stored labels cannot be read"):
        Labels.from_dict(stored)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["a", "b"], "classes"),
        (np.array(["a", "b"], dtype=object), "classes"),
        ([True, False], "classes"),
        ([0, 1], "classes"),
        ([0, 1, 1, 0], "classes"),
        (list(range(100)) * 2, "classes"),
        (list(range(101)) * 2, "regression"),
        (list(range(10)), "regression"),
        ([0.0, 1.0, 1.0, 0.0], "regression"),
        (np.zeros((5, 2), dtype=int), "regression"),
        ([[0], [1], [0], [1]], "classes"),
    ],
)
def test_task(y: Any, task: str) -> None:
    assert infer_task(y) == task


@given(
    n=st.integers(2, 300),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63),
    n_classes=st.integers(0, 5),
)
def test_split_is_a_partition(n: int, fraction: float, seed: int, n_classes: int) -> None:
    labels = np.arange(n) % n_classes if n_classes else None
    train, test = split(n, fraction, seed, labels)
    assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert len(test) == min(max(round(fraction * n), 1), n - 1)
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert_array_equal(split(n, fraction, seed, labels)[1], test)
    if labels is not None:
        share = len(test) / n
        kept = np.bincount(labels[test], minlength=n_classes)
        assert (np.abs(kept - share * np.bincount(labels, minlength=n_classes)) < 1).all()


def test_split_depends_on_the_seed() -> None:
    parts = {tuple(split(100, 0.2, seed)[1]) for seed in range(5)}
    assert len(parts) == 5


def test_split_by_text_labels() -> None:
    labels = np.array(["a"] * 90 + ["b"] * 10, dtype=object)
    assert (labels[split(100, 0.2, 0, labels)[1]] == "b").sum() == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((1, 0.5), "1 rows cannot be split"),
        ((10, 0.0), "must lie between 0 and 1"),
        ((10, 1.0), "must lie between 0 and 1"),
        ((10, 0.5, 0, np.zeros(9)), "one label for each of 10 rows"),
    ],
)
def test_bad_splits(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(DataError, match=says):
        split(*arguments)

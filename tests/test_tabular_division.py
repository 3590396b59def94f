"""Which rows are trained on and which are held out."""

from __future__ import annotations

import numpy as np
import pytest

from nbmlp import DataError, SpecError
from nbmlp.tabular.division import Division, arranged, divide

N = 200
CLASSES = np.repeat([0, 1, 2], [150, 40, 10])


def check(divisions: list[Division], folds: int) -> None:
    assert len(divisions) == folds
    for train, held in divisions:
        assert len(train)
        assert len(held)
        assert not np.intersect1d(train, held).size
        for places in (train, held):
            assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("folds", [1, 5])
def test_parts_keep_the_shares_of_classes(folds: int) -> None:
    found = divide(N, folds, 0.2, 3, CLASSES)
    check(found, folds)
    for _, held in found:
        np.testing.assert_allclose(np.bincount(CLASSES[held]), [30, 8, 2], atol=1)
    if folds > 1:
        np.testing.assert_array_equal(
            np.sort(np.concatenate([held for _, held in found])), np.arange(N)
        )
    again, other = divide(N, folds, 0.2, 3, CLASSES), divide(N, folds, 0.2, 4, CLASSES)
    np.testing.assert_array_equal(found[0].held, again[0].held)
    assert not np.array_equal(found[0].held, other[0].held)


@pytest.mark.parametrize("folds", [1, 4])
def test_a_class_is_never_held_out_as_a_whole(folds: int) -> None:
    classes = np.array([0] * 30 + [1, 2, 3])
    for seed in range(20):
        for train, held in divide(33, folds, 0.4, seed, classes):
            assert np.isin(classes[held], classes[train]).all()


@pytest.mark.parametrize("folds", [1, 3])
def test_groups_stay_together(folds: int) -> None:
    groups = np.random.default_rng(0).integers(0, 12, N)
    found = divide(N, folds, 0.25, 1, CLASSES, groups)
    check(found, folds)
    for train, held in found:
        assert not np.intersect1d(groups[train], groups[held]).size
        assert 0.1 < len(held) / N < 0.5


@pytest.mark.parametrize("folds", [1, 4])
def test_in_order_of_time_later_rows_are_held_out(folds: int) -> None:
    found = divide(N, folds, 0.25, 1, time_ordered=True)
    check(found, folds)
    for train, held in found:
        assert train.max() < held.min()
    assert found[-1].held[-1] == N - 1
    assert folds > 1 or len(found[0].held) == 50


def test_what_cannot_be_divided() -> None:
    groups = np.zeros(N)
    with pytest.raises(DataError, match="groups has 1 groups: 2 are needed at least"):
        divide(N, 1, 0.2, 0, groups=groups)
    with pytest.raises(SpecError, match="groups and time_ordered=True exclude each other"):
        divide(N, 1, 0.2, 0, groups=groups, time_ordered=True)
    with pytest.raises(DataError, match="n_samples=5: too few rows"):
        divide(5, 3, 0.2, 0)
    with pytest.raises(DataError, match="no row can be held out"):
        divide(4, 1, 0.5, 0, np.arange(4))


@pytest.mark.parametrize(
    "divisions",
    [
        divide(N, 1, 0.2, 3, CLASSES),
        divide(N, 5, 0.2, 3, CLASSES),
        divide(N, 3, 0.2, 3, groups=np.arange(N) // 7),
        divide(N, 4, 0.2, 3, time_ordered=True),
        divide(5, 2, 0.2, 0, np.array([0, 0, 0, 0, 1])),  # a row that cannot be held out
    ],
    ids=["once", "folds", "groups", "time", "a lone class"],
)
def test_rows_of_each_division_lie_together(divisions: list[Division]) -> None:
    order, stretches = arranged(divisions)
    for (train, held), division in zip(stretches, divisions, strict=True):
        np.testing.assert_array_equal(np.sort(order[train]), division.train)
        np.testing.assert_array_equal(order[held], division.held)


def test_folds_take_twice_the_rows_and_no_more() -> None:
    order, _ = arranged(divide(N, 5, 0.2, 3, CLASSES))
    assert len(order) < 2 * N

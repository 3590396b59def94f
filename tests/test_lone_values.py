"""Single values that are beyond anything else in their column are named before training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP, TrainingWarning
from nbmlp.data import Table
from nbmlp.data.outliers import lone_values
from tests import children

X, Y = children.rows(150)
FAST: dict[str, Any] = {"hidden": (9,), "epochs": 1, "batch_size": 25}


def with_value(row: int, column: int, value: float) -> Any:
    changed = X.astype(np.float64)
    changed[row, column] = value
    return changed


def test_row_and_column_are_named_in_the_users_words() -> None:
    table = Table({f"x{j}": column for j, column in enumerate(with_value(17, 2, 1e30).T)})
    said = r"X has 1e\+30 at row 17, column 'x2' \(counted from 0\), beyond anything else in that"
    with pytest.warns(TrainingWarning, match=said):
        MLP(**FAST).fit(table, Y)
    two = with_value(17, 2, 1e30)
    two[120, 0] = -1e25
    with pytest.warns(TrainingWarning, match="at row 1017, column 2 .* and 1 more value like it,"):
        MLP(**FAST, standardise=True).fit(two, Y, row_numbers=np.arange(1000, 1150))


@pytest.mark.parametrize("gap", [False, True])
def test_the_farthest_comes_first(gap: bool) -> None:
    data = with_value(17, 2, 1e12)
    data[3, 1] = -1e30
    data[5, 1] = np.nan if gap else 0.0
    found = lone_values(data)
    assert [(far.place, far.column, far.value) for far in found] == [(3, 1, -1e30), (17, 2, 1e12)]


def heavy_tails() -> Any:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.lognormal(0, 2, 30_000), rng.standard_cauchy(30_000)])


def rare_amounts() -> Any:
    """Nearly always 0, else large: a gift, a claim."""
    rng = np.random.default_rng(0)
    amounts = np.where(rng.random(20_000) < 0.004, rng.lognormal(12, 1, 20_000), 0.0)
    return np.column_stack([amounts, rng.random(20_000)])


@pytest.mark.parametrize(
    "data",
    [
        X, X * 1e30, heavy_tails(), rare_amounts(), np.zeros((50, 2)), np.full((50, 2), np.nan),
        np.full((50, 2), np.inf), np.array([[0.0], [1e30]]), np.arange(50)[:, np.newaxis],
        np.eye(300), [[1.0], [2.0]],
    ],
)  # fmt: skip
def test_data_that_are_as_they_should_be_are_not_accused(data: Any) -> None:
    assert lone_values(data) == []


def test_a_training_on_sound_data_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        MLP(**FAST).fit(X, Y)

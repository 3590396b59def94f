"""SHAP explains the predictions of TabularClassifier and TabularRegressor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nbmlp import TabularClassifier, TabularRegressor

# What it imports and computes warns of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL: dict[str, Any] = {"n_members": 2, "epochs": 8, "random_state": 0, "n_jobs": 1}
RNG = np.random.default_rng(0)
#: A size, a code of a category, noise. SHAP computes with cells: they are numbers.
X = np.column_stack([RNG.normal(size=200), RNG.integers(0, 3, 200), RNG.normal(size=200)])
Y = X[:, 0] + 2.0 * (X[:, 1] == 1)


@pytest.fixture(scope="module")
def shap() -> Any:
    return pytest.importorskip("shap", reason="shap is not installed: it is of the extra dev")


def explained(shap: Any, predict: Any) -> tuple[Any, NDArray[Any]]:
    """What predictions begin with, and what each column of four rows adds to them."""
    # Its other explainers compile for half a minute.
    explainer = shap.KernelExplainer(predict, X[:20], seed=0)
    return explainer.expected_value, explainer.shap_values(X[:4], silent=True)


def test_shares_of_columns_in_a_number_add_up_to_it(shap: Any) -> None:
    model = TabularRegressor(**SMALL, categorical_features=[1]).fit(X, Y)
    start, shares = explained(shap, model.predict)
    np.testing.assert_allclose(start + shares.sum(axis=1), model.predict(X[:4]), atol=1e-6)
    size, kind, noise = np.abs(shares).mean(axis=0)
    assert min(size, kind) > 2 * noise


def test_shares_of_columns_in_probabilities_add_up_to_them(shap: Any) -> None:
    model = TabularClassifier(**SMALL).fit(X, np.where(Y > 1, "high", "low"))
    start, shares = explained(shap, model.predict_proba)
    assert shares.shape == (4, 3, 2)
    np.testing.assert_allclose(start + shares.sum(axis=1), model.predict_proba(X[:4]), atol=1e-6)
    np.testing.assert_allclose(shares[..., 0], -shares[..., 1], atol=1e-9)

"""``MLPRegressor``, a drop-in for scikit-learn's."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor as Original

from nbmlp.estimators.fitting import CompiledPerceptron

__all__ = ["MLPRegressor"]


class MLPRegressor(CompiledPerceptron, Original):
    """scikit-learn's MLPRegressor, trained and evaluated by compiled kernels.

    Parameters, attributes and methods are those of :class:`sklearn.neural_network.MLPRegressor`;
    with the same `random_state` and float64 input the weights agree to rounding.

    Examples
    --------
    >>> from nbmlp import MLPRegressor
    >>> MLPRegressor(hidden_layer_sizes=(50,), random_state=0).fit(X, y).predict(X_new)
    """

    def predict(self, X: Any) -> NDArray[Any]:
        """Values (n,), or (n, n_outputs) where there are several."""
        out = self._fast_outputs(X)
        if out is None:
            return super().predict(X)
        return out[:, 0] if self.n_outputs_ == 1 else out

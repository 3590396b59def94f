"""``MLPClassifier``, a drop-in for scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier as Original

from nbmlp.estimators.fitting import CompiledPerceptron

__all__ = ["MLPClassifier"]


class MLPClassifier(CompiledPerceptron, Original):
    """scikit-learn's MLPClassifier, trained and evaluated by compiled kernels.

    Parameters, attributes and methods are those of
    :class:`sklearn.neural_network.MLPClassifier`; with the same `random_state` and float64 input
    the weights agree to rounding.

    Examples
    --------
    >>> from nbmlp import MLPClassifier
    >>> MLPClassifier(hidden_layer_sizes=(300,), random_state=0).fit(X, y).score(X_test, y_test)
    """

    def predict(self, X: Any) -> NDArray[Any]:
        """Classes (n,), or a 0/1 matrix (n, n_outputs) for several labels a row."""
        out = self._fast_outputs(X)
        if out is None or self._label_binarizer.y_type_ == "multilabel-indicator":
            return super().predict(X)
        if self.n_outputs_ == 1:
            return self.classes_[(out[:, 0] > 0.5).astype(np.intp)]
        return self.classes_[out.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities (n, n_classes); of several labels a row, (n, n_outputs)."""
        out = self._fast_outputs(X)
        if out is None:
            return super().predict_proba(X)
        return np.hstack((1 - out, out)) if self.n_outputs_ == 1 else out

"""scikit-learn's MLP estimators over the engine: ``MLPClassifier`` and ``MLPRegressor``."""

from nbmlp.estimators.classifier import MLPClassifier
from nbmlp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

"""How good predictions are: for classes and for numbers, in float64.

Every function takes n rows and an optional weight per row; weights need not sum to one, and a row
of weight 0 counts as if it were not there. Names, and what each function reads:
:mod:`nbmlp.names.scores`.
"""

from nbmlp.metrics.classes import (
    accuracy,
    balanced_accuracy,
    classification_error,
    confusion_matrix,
    f1,
    f1_macro,
    matthews,
)
from nbmlp.metrics.numbers import (
    mean_absolute_error,
    mean_squared_error,
    pinball_loss,
    r2,
    root_mean_squared_error,
)
from nbmlp.metrics.probabilities import average_precision, calibration, log_loss, roc_auc
from nbmlp.metrics.thresholds import best_threshold

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "best_threshold",
    "calibration",
    "classification_error",
    "confusion_matrix",
    "f1",
    "f1_macro",
    "log_loss",
    "matthews",
    "mean_absolute_error",
    "mean_squared_error",
    "pinball_loss",
    "r2",
    "roc_auc",
    "root_mean_squared_error",
]

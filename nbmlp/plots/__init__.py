"""Pictures. matplotlib is imported when one is drawn."""

from __future__ import annotations

from nbmlp.plots.batches import batch_scan
from nbmlp.plots.comparisons import before_and_after, compare_curves
from nbmlp.plots.scores import (
    calibration_curve,
    confusion_matrix,
    evaluation,
    importances,
    of_classes,
    predicted_values,
)
from nbmlp.plots.training import curves_of_nets, learning_curve, watched_layers

__all__ = [
    "batch_scan",
    "before_and_after",
    "calibration_curve",
    "compare_curves",
    "confusion_matrix",
    "curves_of_nets",
    "evaluation",
    "importances",
    "learning_curve",
    "of_classes",
    "predicted_values",
    "watched_layers",
]

"""How good a trained net is, in units that no setting changes."""

from __future__ import annotations

import math
import warnings
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench.diagnosis.recipe import Problem
from nbmlp import MLP, NonFiniteError
from nbmlp.errors import TrainingWarning

__all__ = ["Trained", "baseline", "lost", "median_loss", "train"]

SEEDS = (0, 1, 2)
#: Probabilities count as no smaller: a class ruled out wrongly costs at most 13.8.
SMALLEST = 1e-6


class Trained(NamedTuple):
    """A model after its fit, finished or not."""

    model: MLP
    finite: bool


def train(settings: dict[str, Any], problem: Problem, seed: int = 0) -> Trained:
    """Fit as a user would, on one thread."""
    model = MLP(**settings, seed=seed, threads=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)
            model.fit(problem.X, problem.y, validation=(problem.Xv, problem.yv))
    except NonFiniteError:
        return Trained(model, False)
    return Trained(model, True)


def probabilities(model: MLP, X: np.ndarray, n_classes: int) -> np.ndarray:
    """(rows, classes) in order of the class numbers, whatever the last layer is."""
    if model.model_spec.output in ("logistic", "softmax"):
        found = np.asarray(model.predict_proba(X), np.float64)
    else:
        found = np.asarray(model.outputs(X), np.float64).clip(SMALLEST, 1 - SMALLEST)
        found = np.c_[1 - found, found] if found.shape[1] == 1 else found
        found /= found.sum(axis=1, keepdims=True)
    full = np.zeros((len(X), n_classes))  # a class that the model never saw has none
    full[:, model.classes] = found
    return full


def lost(model: MLP, X: np.ndarray, y: np.ndarray, kind: str) -> float:
    """Cross-entropy of normalised probabilities, or mean squared error in the targets' units."""
    if kind == "regression":
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.mean((np.asarray(model.predict(X), np.float64) - y) ** 2)
    else:
        n_classes = 1 + max(int(y.max()), int(np.max(model.classes)))
        p = probabilities(model, X, n_classes)[np.arange(len(y)), y]
        value = -np.log(np.maximum(p, SMALLEST)).mean()
    return float(value) if math.isfinite(value) else math.inf


def baseline(problem: Problem) -> float:
    """What a constant prediction learned from the training part loses on the validation part."""
    if problem.kind == "regression":
        return float(np.mean((problem.yv - problem.y.mean()) ** 2))
    shares = np.bincount(problem.y, minlength=problem.classes) / len(problem.y)
    return float(-np.log(np.maximum(shares[problem.yv], SMALLEST)).mean())


def validation_loss(settings: dict[str, Any], problem: Problem, seed: int) -> float:
    """Loss on the validation rows after a training; infinite when it broke off."""
    model, finite = train(settings, problem, seed)
    return lost(model, problem.Xv, problem.yv, problem.kind) if finite else math.inf


def median_loss(settings: dict[str, Any], problem: Problem) -> float:
    """Median over three seeds of the weights and the order."""
    return median(validation_loss(settings, problem, seed) for seed in SEEDS)

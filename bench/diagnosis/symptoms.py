"""Whether a planted fault is what its name says: plain NumPy over weights and data."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.diagnosis.measure import train
from bench.diagnosis.recipe import Problem
from nbmlp import MLP

__all__ = ["SYMPTOMS"]

Settings = dict[str, Any]
ROWS = 500
#: Slope below which a unit counts as saturated, as a share of the greatest.
FLAT = 0.05
#: Share of the units of a layer, or of their values, that must show it.
MOST = 0.6
#: Norm of the whole gradient before training that counts as exploded.
EXPLODED = 100.0
#: Mean gradient of the first layer that counts as vanished, as a share of what it is in a net of
#: the same shape with relu and He's weights.
VANISHED = 0.01

SHAPES = {
    "relu": lambda z: np.maximum(z, 0),
    "logistic": lambda z: 1 / (1 + np.exp(-z.clip(-500, 500))),
    "tanh": np.tanh,
}


def untrained(settings: Settings, problem: Problem) -> MLP:
    """The net with its first weights."""
    return MLP(**settings, seed=0, threads=1).build(problem.X, problem.y)


def hidden_values(model: MLP, X: np.ndarray) -> list[np.ndarray]:
    """Values (rows, units) of each hidden layer; for nets of one activation, without dropout."""
    values, shape = np.asarray(model.net.rows(X).x, np.float64), SHAPES[activation_of(model)]
    layers = []
    for W, b in zip(model.weights[:-1], model.biases[:-1], strict=True):
        values = shape(values @ W + b)
        layers.append(values)
    return layers


def activation_of(model: MLP) -> str:
    """Of the first hidden layer."""
    return str(model.model_spec.activation[0])


def has_dead_units(settings: Settings, problem: Problem) -> bool:
    """Most units of one layer are zero for every row, after training."""
    layers = hidden_values(train(settings, problem).model, problem.X[:ROWS])
    return any(np.mean(~(values > 0).any(axis=0)) >= MOST for values in layers)


def is_saturated(settings: Settings, problem: Problem) -> bool:
    """Most values of one layer lie where the slope is flat, before training."""
    model = untrained(settings, problem)
    slope = {"logistic": lambda a: 4 * a * (1 - a), "tanh": lambda a: 1 - a**2}
    flat = slope[activation_of(model)]
    layers = hidden_values(model, problem.X[:ROWS])
    return any(np.mean(flat(values) < FLAT) >= MOST for values in layers)


def gradients(settings: Settings, problem: Problem) -> list[np.ndarray]:
    """The gradient of each layer's weights before training."""
    model = untrained(settings, problem)
    flat = model.loss_and_gradient(problem.X[:ROWS], problem.y[:ROWS])[1]
    found, start = [], 0
    for W in model.weights:
        found.append(flat[start : start + W.size])
        start += W.size + W.shape[1]
    return found


def has_vanished(settings: Settings, problem: Problem) -> bool:
    """Next to nothing arrives at the first layer, before training."""
    usual = settings | {"activation": "relu", "init": "auto"}
    arrives, should = (np.abs(gradients(net, problem)[0]).mean() for net in (settings, usual))
    return bool(arrives <= VANISHED * should)


def has_exploded(settings: Settings, problem: Problem) -> bool:
    """The gradient is huge before training."""
    norm = np.linalg.norm(np.concatenate(gradients(settings, problem)).astype(np.float64))
    return not norm < EXPLODED


def overfits(settings: Settings, problem: Problem) -> bool:
    """The validation loss ends over 10 % above its best epoch."""
    model, finite = train(settings, problem)
    losses = [record.val_loss for record in model.history]
    return finite and bool(losses[-1] >= 1.1 * min(losses))


SYMPTOMS = {
    "dead": has_dead_units,
    "saturated": is_saturated,
    "vanished": has_vanished,
    "exploded": has_exploded,
    "overfits": overfits,
}

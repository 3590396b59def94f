"""nbmlp through its public API, one `partial_fit` per epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.nets import Array, Layer, Problem
from bench.peers import Peer
from nbmlp import MLP
from nbmlp.optimizers import SGD


def flatten(layers: list[Layer]) -> Array:
    """Weights row by row, then biases, layer by layer."""
    return np.concatenate([part.ravel() for layer in layers for part in layer if part is not None])


def make_model(problem: Problem, batch: int, threads: int, **settings: Any) -> MLP:
    """The problem's net with its first weights; plain SGD in float32 unless `settings` differ."""
    net = problem.net
    classify = net.output == "softmax"
    model = MLP(
        net.sizes[1:-1], task="classes" if classify else "regression",
        activation=net.hidden, output=net.output, loss=net.loss, bias=net.bias,
        schedule="constant", batch_size=min(batch, net.rows), threads=threads,
        **{"optimizer": SGD(net.rate)} | settings,
    )  # fmt: skip
    # A first pass over a few rows makes the net that the common weights are put into.
    classes = np.arange(net.sizes[-1]) if classify else None
    model.partial_fit(problem.X[:1], targets(problem)[:1], classes=classes)
    model.set_flat(flatten(problem.layers))
    return model


def targets(problem: Problem) -> NDArray[Any]:
    """What `fit` is given as y."""
    return problem.labels if problem.net.output == "softmax" else problem.Y


class Competitor(Peer):
    package = "nbmlp"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        self.X, self.y = problem.X, targets(problem)
        self.model = make_model(problem, batch, threads, shuffle=shuffle)

    def epoch(self) -> None:
        self.model.partial_fit(self.X, self.y)

    def layers(self) -> list[Layer]:
        biases = self.model.biases or [None] * len(self.model.weights)
        return list(zip(self.model.weights, biases, strict=True))

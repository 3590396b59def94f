"""nbmlp through its public API, one `partial_fit` per epoch."""

from __future__ import annotations

import numpy as np

from bench.nets import Array, Layer, Problem
from bench.peers import Peer
from nbmlp import MLP
from nbmlp.optimizers import SGD


def flatten(layers: list[Layer]) -> Array:
    """Weights row by row, then biases, layer by layer."""
    return np.concatenate([part.ravel() for layer in layers for part in layer if part is not None])


class Competitor(Peer):
    package = "nbmlp"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        net = self.net = problem.net
        classify = net.output == "softmax"
        self.X, self.y = problem.X, problem.labels if classify else problem.Y
        self.model = MLP(
            net.sizes[1:-1], task="classes" if classify else "regression",
            activation=net.hidden, output=net.output, loss=net.loss, bias=net.bias,
            optimizer=SGD(net.rate), schedule="constant", batch_size=min(batch, net.rows),
            shuffle=shuffle, threads=threads,
        )  # fmt: skip
        # A first pass over a few rows makes the net that the common weights are put into.
        classes = np.arange(net.sizes[-1]) if classify else None
        self.model.partial_fit(self.X[:1], self.y[:1], classes=classes)
        self.model.set_flat(flatten(problem.layers))

    def epoch(self) -> None:
        self.model.partial_fit(self.X, self.y)

    def layers(self) -> list[Layer]:
        biases = self.model.biases or [None] * len(self.model.weights)
        return list(zip(self.model.weights, biases, strict=True))

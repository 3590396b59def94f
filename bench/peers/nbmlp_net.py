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
            net.sizes[1:-1], task="classification" if classify else "regression",
            activation=net.hidden, output=net.output, loss=net.loss, bias=net.bias,
            optimizer=SGD(net.rate), schedule="constant", batch_size=min(batch, net.rows),
            epochs=1, shuffle=shuffle, threads=threads, dtype="float32",
        )  # fmt: skip
        # A first epoch makes the arrays that the common weights are put into.
        self.epoch()
        self.model.set_flat(flatten(problem.layers))

    def epoch(self) -> None:
        self.model.partial_fit(self.X, self.y)

    def layers(self) -> list[Layer]:
        flat, found = self.model.get_flat(), []
        for n_in, n_out in zip(self.net.sizes, self.net.sizes[1:], strict=False):
            w, flat = flat[: n_in * n_out].reshape(n_in, n_out), flat[n_in * n_out :]
            b = None
            if self.net.bias:
                b, flat = flat[:n_out], flat[n_out:]
            found.append((w, b))
        return found

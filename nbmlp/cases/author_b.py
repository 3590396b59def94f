"""Case B as its author wrote it: 784-300-10 in NumPy, with the errors of the original.

All parameters lie in one vector: W1, b1, W2, b2, each matrix row by row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["AuthorsNet"]

Array = NDArray[np.float64]


def _sigmoid(z: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


class AuthorsNet:
    """Sigmoids, squared error on one-hot targets, RMSprop with a gain per weight.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
    l2 : float
        lambda of the cost.
    seed : int
        Of the first weights.
    """

    def __init__(
        self, n_inputs: int = 784, n_hidden: int = 300, n_outputs: int = 10, *,
        l2: float = 0.001, seed: int = 0,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        self.sizes, self.l2 = (n_inputs, n_hidden, n_outputs), l2
        W1 = rng.normal(0.0, 1.0 / np.sqrt(n_inputs), (n_inputs, n_hidden))
        W2 = rng.normal(0.0, 1.0 / np.sqrt(n_hidden), (n_hidden, n_outputs))
        zeros = np.zeros(n_hidden), np.zeros(n_outputs)
        self.theta = np.concatenate([W1.ravel(), zeros[0], W2.ravel(), zeros[1]])
        self._mean_square = np.zeros(self.theta.size)
        self._gain, self._previous = np.ones(self.theta.size), np.zeros(self.theta.size)

    def unpack(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """W1, b1, W2, b2 as views of the vector."""
        n, h, m = self.sizes
        W1, b1, W2, b2 = np.split(theta, np.cumsum([n * h, h, h * m]))
        return W1.reshape(n, h), b1, W2.reshape(h, m), b2

    def outputs(self, theta: Array, X: Array) -> tuple[Array, Array]:
        """Activations of the hidden layer and of the output."""
        W1, b1, W2, b2 = self.unpack(theta)
        hidden = _sigmoid(X @ W1 + b1)
        return hidden, _sigmoid(hidden @ W2 + b2)

    def cost(self, theta: Array, X: Array, y: Array) -> float:
        """Mean of 1/2 |h - y|^2, and lambda/2 |W|^2."""
        W1, _, W2, _ = self.unpack(theta)
        h = self.outputs(theta, X)[1]
        data = 0.5 * float(((h - y) ** 2).sum()) / len(X)
        return data + 0.5 * self.l2 * float((W1**2).sum() + (W2**2).sum())

    def gradient(self, theta: Array, X: Array, y: Array) -> Array:
        """What the author took for the derivative of the cost; four lines are wrong."""
        W1, _, W2, _ = self.unpack(theta)
        hidden, h = self.outputs(theta, X)
        error = (h - y) / len(X)
        dW2 = hidden.T @ (error * h * (1 - h))
        db2 = error.sum(axis=0)  # without h (1 - h)
        back = error @ W2.T  # likewise
        db1 = back.sum(axis=0)  # before the next line
        dW1 = X.T @ (back * hidden * (1 - hidden))
        dW1 += 2 * self.l2 * W1  # the cost has 1/2 lambda |W|^2
        dW2 += 2 * self.l2 * W2
        return np.concatenate([dW1.ravel(), db1, dW2.ravel(), db2])

    def __call__(self, theta: Array, X: Array, y: Array) -> tuple[float, Array]:
        """Cost and gradient, as :meth:`nbmlp.MLP.check_gradients` takes them."""
        return self.cost(theta, X, y), self.gradient(theta, X, y)

    def train(self, X: Array, y: Array, epochs: int, batch: int = 100) -> Iterator[int]:
        """Train as the author did, in a new order each epoch; gives back each epoch's number."""
        rng = np.random.default_rng(0)
        for epoch in range(1, epochs + 1):
            order = rng.permutation(len(X))
            for start in range(0, len(X), batch):
                rows = order[start : start + batch]
                self._step(self.gradient(self.theta, X[rows], y[rows]))
            yield epoch

    def _step(self, g: Array) -> None:
        agreement = np.sign(g) * np.sign(self._previous)
        self._gain *= np.select([agreement > 0, agreement < 0], [1.3, 0.5], 1.0)
        np.clip(self._gain, 0.1, 50.0, out=self._gain)
        self._mean_square = 0.9 * self._mean_square + 0.1 * g**2
        self.theta -= 0.001 * self._gain * g / (np.sqrt(self._mean_square) + 1e-8)
        self._previous = g

    def error(self, X: Array, labels: NDArray[np.int64]) -> float:
        """Share of the rows whose largest output is of another class than their label."""
        h = self.outputs(self.theta, X)[1]
        return float((h.argmax(axis=1) != labels).mean())

"""Hand-written NumPy as an expert would: every buffer allocated once, every operation in place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bench.nets import Array, Layer, Problem
from bench.peers import Peer


def activate(name: str, z: Array) -> None:
    """Turn z  # (n, units) into the activation, in place."""
    if name == "relu":
        np.maximum(z, 0, out=z)
    elif name == "logistic":
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)
    elif name == "softmax":
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)


def times_derivative(name: str, a: Array, d: Array, scratch: Array) -> None:
    """Multiply d by the derivative of the activation whose value is a; all (n, units)."""
    if name == "relu":
        np.multiply(d, a > 0, out=d)
    elif name == "logistic":
        np.subtract(1, a, out=scratch)
        scratch *= a
        d *= scratch


class Competitor(Peer):
    package = "numpy"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        self.problem, self.shuffle = problem, shuffle
        self.batch = min(batch, problem.net.rows)
        self.w = problem.copy_layers()
        sizes = problem.net.sizes
        # a[0] holds the gathered rows; d[i] belongs to a[i + 1].
        self.a = [np.empty((self.batch, n), np.float32) for n in sizes]
        self.d = [np.empty((self.batch, n), np.float32) for n in sizes[1:]]
        self.scratch = [np.empty((self.batch, n), np.float32) for n in sizes[1:]]
        self.y = np.empty((self.batch, sizes[-1]), np.float32)
        self.dw = [np.empty(shape, np.float32) for shape in pairwise(sizes)]
        self.db = [np.empty(n, np.float32) for n in sizes[1:]]
        self.order = np.arange(problem.net.rows)
        self.rng = np.random.default_rng(1)

    def epoch(self) -> None:
        if self.shuffle:
            self.rng.shuffle(self.order)
        with np.errstate(over="ignore"):
            for start in range(0, len(self.order), self.batch):
                self._step(self.order[start : start + self.batch])

    def _step(self, rows: np.ndarray) -> None:
        net, n = self.problem.net, len(rows)
        a, d, s = ([buffer[:n] for buffer in group] for group in (self.a, self.d, self.scratch))
        y = self.y[:n]
        # mode="clip" writes straight into out; the default goes through a copy.
        np.take(self.problem.X, rows, axis=0, out=a[0], mode="clip")
        np.take(self.problem.Y, rows, axis=0, out=y, mode="clip")
        for i, (w, b) in enumerate(self.w):
            np.matmul(a[i], w, out=a[i + 1])
            if b is not None:
                a[i + 1] += b
            activate(net.output if i == len(self.w) - 1 else net.hidden, a[i + 1])
        np.subtract(a[-1], y, out=d[-1])
        if net.loss == "squared_error":
            times_derivative(net.output, a[-1], d[-1], s[-1])
        # The step's length goes in here, where the arrays are small.
        d[-1] *= np.float32(net.rate / n)
        for i in reversed(range(len(self.w))):
            w, b = self.w[i]
            if i:
                np.matmul(d[i], w.T, out=d[i - 1])
                times_derivative(net.hidden, a[i], d[i - 1], s[i - 1])
            np.matmul(a[i].T, d[i], out=self.dw[i])
            w -= self.dw[i]
            if b is not None:
                np.sum(d[i], axis=0, out=self.db[i])
                b -= self.db[i]

    def layers(self) -> list[Layer]:
        return self.w

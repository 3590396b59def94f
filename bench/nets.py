"""The nets of the speed table, their synthetic data and their common first weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["NETS", "Array", "Layer", "Net", "Problem", "draw_nets", "make_problem"]

Array = NDArray[np.float32]
#: Weights [in, out] and biases [out] of one layer; None in a net without biases.
Layer = tuple[Array, Array | None]


@dataclass(frozen=True)
class Net:
    """One net, trained by plain SGD on the mean over each batch.

    Attributes
    ----------
    name : str
        One letter.
    sizes : tuple of int
        Inputs, units of each hidden layer, outputs.
    hidden, output : str
        Activations: ``"logistic"``, ``"relu"``, ``"identity"``, ``"softmax"``.
    loss : str
        ``"squared_error"`` (half the sum over outputs) or ``"cross_entropy"`` (after softmax).
    rate : float
        Learning rate, small enough that hundreds of epochs stay finite.
    rows : int
        Rows of one epoch: far more than the caches hold for wide inputs, few enough that the
        slowest peer needs about a second.
    bias : bool
        Whether layers have biases.
    """

    name: str
    sizes: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    rate: float
    rows: int
    bias: bool = True

    @property
    def flops_per_sample(self) -> int:
        """Floating-point operations of one training sample, matrix products only.

        Forward, weight gradient and sent-back error cost 2*in*out each; the first layer sends
        nothing back.
        """
        products = [a * b for a, b in pairwise(self.sizes)]
        return 6 * sum(products) - 2 * products[0]

    def with_rows(self, rows: int) -> Net:
        """The same net with an epoch of another length."""
        return replace(self, rows=rows)

    def __str__(self) -> str:
        return f"{self.name} {'-'.join(map(str, self.sizes))}"


NETS: dict[str, Net] = {
    net.name: net
    for net in (
        Net("A", (784, 45, 16), "logistic", "logistic", "squared_error", 0.05, 40_000),
        Net("B", (784, 300, 10), "logistic", "softmax", "cross_entropy", 0.02, 20_000),
        Net("C", (5, 50, 1), "relu", "identity", "squared_error", 0.01, 60_000),
        Net("D", (784, 250, 1), "logistic", "logistic", "squared_error", 0.05, 40_000, bias=False),
        Net("E", (784, 512, 512, 10), "relu", "softmax", "cross_entropy", 0.01, 20_000),
    )
}


#: Floating-point operations of one epoch of a drawn net, and the fewest batches in it.
DRAWN_FLOPS, DRAWN_BATCHES = 2e10, 4


def draw_nets(seed: int, count: int) -> list[tuple[Net, int]]:
    """Nets and batch sizes that nobody has chosen.

    One to five hidden layers; widths (inputs, hidden, outputs) from 4 to 1024 and batches from 8
    to 4096, all log-uniform; activations and losses evenly.

    Parameters
    ----------
    seed, count : int
        The same seed gives the same nets, and more of them the same first ones.
    """
    rng = np.random.default_rng(seed)

    def between(low: int, high: int, n: int | None = None) -> NDArray[np.int64]:
        return np.rint(np.exp(rng.uniform(np.log(low), np.log(high), n))).astype(np.int64)

    drawn = []
    for i in range(count):
        sizes = tuple(int(n) for n in between(4, 1024, int(rng.integers(1, 6)) + 2))
        batch = int(between(8, 4096))
        hidden = str(rng.choice(["relu", "logistic"]))
        output, loss = [("softmax", "cross_entropy"), ("identity", "squared_error")][
            rng.integers(2)
        ]
        # A step that stays finite: the curvature grows with the width of the layer below.
        rate = min(0.05, 2.0 / max(sizes))
        net = Net(f"R{seed}.{i + 1}", sizes, hidden, output, loss, rate, 1)
        rows = int(np.clip(DRAWN_FLOPS / net.flops_per_sample, DRAWN_BATCHES * batch, 60_000))
        drawn.append((net.with_rows(rows), batch))
    return drawn


@dataclass(frozen=True)
class Problem:
    """A net with its data and first weights, the same for every peer.

    Attributes
    ----------
    net : Net
    X : ndarray of float32, (rows, inputs)
        Uniform in [0, 1), like scaled pixels.
    Y : ndarray of float32, (rows, outputs)
        Targets; one-hot where there are several outputs.
    labels : ndarray of int64, (rows,)
        Column of the one in Y; zeros for a single output.
    layers : list of Layer
        First weights.
    """

    net: Net
    X: Array
    Y: Array
    labels: NDArray[np.int64]
    layers: list[Layer]

    def copy_layers(self) -> list[Layer]:
        """The first weights, to be trained in place."""
        return [(w.copy(), None if b is None else b.copy()) for w, b in self.layers]


def make_problem(net: Net, seed: int = 0) -> Problem:
    """Draw data and first weights; the targets follow a random linear teacher.

    Parameters
    ----------
    net : Net
    seed : int
        Same seed, same problem, in every process.
    """
    rng = np.random.default_rng(seed)
    n_in, n_out = net.sizes[0], net.sizes[-1]
    # Weights before data: they do not depend on the number of rows.
    layers: list[Layer] = []
    for a, b in pairwise(net.sizes):
        w = rng.standard_normal((a, b), dtype=np.float32) / np.float32(np.sqrt(a))
        layers.append((w, np.zeros(b, np.float32) if net.bias else None))
    teacher = rng.standard_normal((n_in, n_out), dtype=np.float32)
    X = rng.random((net.rows, n_in), dtype=np.float32)
    score = (X - 0.5) @ teacher
    labels = score.argmax(axis=1)
    Y = np.eye(n_out, dtype=np.float32)[labels] if n_out > 1 else 1.0 / (1.0 + np.exp(-score))
    return Problem(net, X, Y, labels, layers)

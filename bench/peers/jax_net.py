"""JAX: one jitted scan over the whole epoch, weights donated, rows gathered inside the scan."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.nets import Layer, Net, Problem
from bench.peers import Peer

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "logistic": jax.nn.sigmoid,
    "identity": lambda z: z,
    "softmax": lambda z: z,  # the loss wants logits
}


def batch_loss(params: list[Any], x: jax.Array, y: jax.Array, net: Net) -> jax.Array:
    for i, layer in enumerate(params):
        z = x @ layer[0]
        if net.bias:
            z = z + layer[1]
        x = ACTIVATIONS[net.output if i == len(params) - 1 else net.hidden](z)
    if net.loss == "cross_entropy":
        return -jnp.sum(jax.nn.log_softmax(x) * y) / len(x)
    return 0.5 * jnp.sum((x - y) ** 2) / len(x)


@partial(jax.jit, static_argnames=("net", "batch"), donate_argnames="params")
def run_epoch(
    params: list[Any], X: jax.Array, Y: jax.Array, order: jax.Array, *, net: Net, batch: int
) -> list[Any]:
    def update(params: list[Any], rows: jax.Array) -> tuple[list[Any], None]:
        x, y = (jnp.take(data, rows, axis=0, mode="clip") for data in (X, Y))
        gradient = jax.grad(batch_loss)(params, x, y, net)
        return jax.tree.map(lambda p, g: p - net.rate * g, params, gradient), None

    whole = len(order) // batch * batch
    params, _ = jax.lax.scan(update, params, order[:whole].reshape(-1, batch))
    if whole < len(order):
        params, _ = update(params, order[whole:])
    return params


class Competitor(Peer):
    package = "jax"

    def prepare(self, problem: Problem, batch: int, threads: int, shuffle: bool) -> None:
        # The pool's size is fixed before JAX starts: see bench.peers.xla.
        self.net, self.shuffle = problem.net, shuffle
        self.batch = min(batch, problem.net.rows)
        self.X, self.Y = jnp.array(problem.X), jnp.array(problem.Y)
        self.params = [
            tuple(jnp.array(part) for part in layer if part is not None) for layer in problem.layers
        ]
        # Shuffled on the host: XLA's own permutation is a sort and costs more than some epochs.
        self.order = np.arange(problem.net.rows, dtype=np.int32)
        self.rng = np.random.default_rng(1)

    def epoch(self) -> None:
        if self.shuffle:
            self.rng.shuffle(self.order)
        self.params = run_epoch(
            self.params, self.X, self.Y, jnp.array(self.order), net=self.net, batch=self.batch
        )
        jax.block_until_ready(self.params)

    def layers(self) -> list[Layer]:
        found = [[np.asarray(part) for part in layer] for layer in self.params]
        return [(layer[0], layer[1] if self.net.bias else None) for layer in found]

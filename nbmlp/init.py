"""First weights. Drawn in float64 by NumPy's Philox from the seed, layer by layer, then cast."""

from __future__ import annotations

import numpy as np

from nbmlp.names import INITIALISERS, Activation, Periodic, deviation, read_initialiser
from nbmlp.plan import Role
from nbmlp.spec import ModelSpec
from nbmlp.state import State

__all__ = ["initialise", "usual_deviation"]


def usual_deviation(activation: Activation, n_in: int, n_out: int) -> float:
    """Standard deviation that ``init="auto"`` gives the weights below an activation."""
    return deviation(activation.init, n_in, n_out)


def initialise(state: State, spec: ModelSpec, seed: int) -> None:
    """Fill `state` with the spec's first weights; biases of products are zero, factors one.

    `seed` alone decides, so that nets of one seed agree in float32 and float64 up to rounding.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    start = read_initialiser(spec.init)
    state.theta[:] = 0
    for _, part, values in state.parts():
        values[:] = part.start
    for W, function in zip(state.weights(), spec.functions, strict=True):
        row = start.row or INITIALISERS[function.row.init]
        n_in, n_out = W.shape
        W[:] = row.draw(rng, n_in, n_out, start.numbers)
    if spec.periodic:
        _embed(state, spec.periodic, rng)
    for block, _, values in state.parts():
        if block.role is Role.TABLES:
            values[:] = rng.standard_normal(values.shape)


def _embed(state: State, kind: Periodic, rng: np.random.Generator) -> None:
    """Embeddings of numbers as Holzmüller et al. begin them, number by number."""
    reach = kind.frequencies**-0.5
    for block, part, values in state.parts():
        shape = values.T.shape
        if block.role is not Role.EMBEDDING:
            continue
        if part.name == "frequency":
            drawn = rng.normal(0.0, kind.deviation, shape)
            if kind.max_deviation is not None:
                most = np.log(kind.max_deviation / kind.deviation)
                drawn *= np.exp(rng.uniform(0.0, most, shape))
        elif part.name == "phase":
            drawn = rng.uniform(-np.pi, np.pi, shape)
        else:
            drawn = rng.uniform(-reach, reach, shape)
        values[:] = drawn.T

"""First weights. Drawn in float64 by NumPy's Philox from the seed, layer by layer, then cast."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nbmlp.codes import parse_call
from nbmlp.spec import ModelSpec, named_parameter
from nbmlp.state import State

__all__ = ["draw", "initialise", "usual_deviation"]

_HE = {"relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus"}
#: Variance of the weights is scale / fan; fan is n_in for He and LeCun, their mean for Glorot.
_SCALES = {"glorot": 1.0, "he": 2.0, "lecun": 1.0}


def _automatic(activation: str) -> str:
    name, _ = named_parameter(activation)
    if name == "selu":
        return "lecun_normal"
    return "he_uniform" if name in _HE else "glorot_uniform"


def _deviation(family: str, n_in: int, n_out: int) -> float:
    fan = (n_in + n_out) / 2 if family == "glorot" else n_in
    return math.sqrt(_SCALES[family] / fan)


def usual_deviation(activation: str, n_in: int, n_out: int) -> float:
    """Standard deviation that ``init="auto"`` gives the weights below an activation."""
    return _deviation(_automatic(activation).split("_")[0], n_in, n_out)


def _orthogonal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Rows or columns orthonormal, whichever are fewer (Saxe, McClelland and Ganguli 2014)."""
    tall = rng.standard_normal((max(n_in, n_out), min(n_in, n_out)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))  # uniform over the orthogonal matrices
    return np.asarray(q if n_in >= n_out else q.T)


def draw(init: str, n_in: int, n_out: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One weight matrix.

    Parameters
    ----------
    init : str
        e.g. ``"he_uniform"``, ``"uniform(-1, 1)"``, ``"orthogonal(1.4)"``; a number behind
        Glorot, He, LeCun and orthogonal multiplies the result.
    n_in, n_out : int
        Shape.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (n_in, n_out)
    """
    name, args, _ = parse_call(init, "init")
    shape = (n_in, n_out)
    if name == "zeros":
        return np.zeros(shape)
    if name == "uniform":
        return rng.uniform(args[0], args[1], shape)
    if name == "normal":
        return rng.normal(0.0, args[0], shape)
    gain = args[0] if args else 1.0
    if name == "orthogonal":
        return gain * _orthogonal(rng, n_in, n_out)
    family, distribution = name.split("_")
    deviation = gain * _deviation(family, n_in, n_out)
    if distribution == "normal":
        return rng.normal(0.0, deviation, shape)
    bound = deviation * math.sqrt(3.0)
    return rng.uniform(-bound, bound, shape)


def initialise(state: State, spec: ModelSpec, seed: int) -> None:
    """Fill `state` with the spec's first weights; biases are zero.

    `seed` alone decides, so that nets of one seed agree in float32 and float64 up to rounding.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    activations = (*spec.activation, spec.output)
    state.theta[:] = 0
    for W, activation in zip(state.weights(), activations, strict=True):
        init = _automatic(activation) if spec.init == "auto" else spec.init
        W[:] = draw(init, W.shape[0], W.shape[1], rng)

"""Activations and losses in plain float64 NumPy, as the formulas are written in books.

The engine does not use them: they are what its and other people's gradients are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.names import Activation, Function
from nbmlp.spec import ModelSpec

__all__ = ["Array", "activate", "loss_slope", "output_delta", "row_losses", "slope"]

Array = NDArray[np.float64]
#: A function of an array and its parameter.
Formula = Callable[[Array, float], Array]

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def _expit(z: Array) -> Array:
    from scipy.special import expit  # here: loading it takes a quarter of the time of all of nbmlp

    return np.asarray(expit(z))


def _ndtr(z: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)


def _elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _elu_slope(z: Array, alpha: float) -> Array:
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


def _mish_slope(z: Array, _: float) -> Array:
    t = np.tanh(_softplus(z))
    return np.asarray(t + z * (1 - t**2) * _expit(z))


#: Name -> value and derivative, both from z.
_ACTIVATIONS: dict[str, tuple[Formula, Formula]] = {
    "identity": (lambda z, p: z, lambda z, p: np.ones_like(z)),
    "logistic": (lambda z, p: _expit(z), lambda z, p: _expit(z) * _expit(-z)),
    "tanh": (lambda z, p: np.tanh(z), lambda z, p: 1 - np.tanh(z) ** 2),
    "relu": (lambda z, p: np.maximum(z, 0), lambda z, p: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z, p: np.where(z > 0, z, p * z), lambda z, p: np.where(z > 0, 1.0, p)),
    "elu": (_elu, _elu_slope),
    "selu": (
        lambda z, p: _SELU_SCALE * _elu(z, _SELU_ALPHA),
        lambda z, p: _SELU_SCALE * _elu_slope(z, _SELU_ALPHA),
    ),
    "gelu": (
        lambda z, p: z * _ndtr(z),
        lambda z, p: _ndtr(z) + z * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi),
    ),
    "silu": (lambda z, p: z * _expit(z), lambda z, p: _expit(z) * (1 + z * _expit(-z))),
    "mish": (lambda z, p: z * np.tanh(_softplus(z)), _mish_slope),
    "softplus": (lambda z, p: _softplus(z), lambda z, p: _expit(z)),
    "exp": (lambda z, p: np.exp(z), lambda z, p: np.exp(z)),
}


def _log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def activate(function: Function[Activation], z: Array) -> Array:
    """The activation or output of z (rows, units)."""
    if function.name == "softmax":
        return np.exp(_log_softmax(z))
    return _ACTIVATIONS[function.name][0](z, function.parameter)


def slope(function: Function[Activation], z: Array) -> Array:
    """Derivative da/dz (rows, units), unit by unit; of softmax the diagonal of its Jacobian."""
    if function.name == "softmax":
        p = activate(function, z)
        return p * (1 - p)
    return _ACTIVATIONS[function.name][1](z, function.parameter)


#: Losses of the output: value and derivative, both from r = a - y and the parameter.
_RESIDUAL: dict[str, tuple[Formula, Formula]] = {
    "squared_error": (lambda r, p: 0.5 * r**2, lambda r, p: r),
    "absolute_error": (lambda r, p: np.abs(r), lambda r, p: np.sign(r)),
    "huber": (
        lambda r, p: np.where(np.abs(r) <= p, 0.5 * r**2, p * (np.abs(r) - 0.5 * p)),
        lambda r, p: np.clip(r, -p, p),
    ),
    "quantile": (
        lambda r, p: np.maximum(-p * r, (1 - p) * r),
        lambda r, p: np.select([r < 0, r > 0], [-p, 1 - p], 0.0),
    ),
}
#: Losses of the logits: value from z and y.
_LOGIT: dict[str, Callable[[Array, Array], Array]] = {
    "binary_cross_entropy": lambda z, y: _softplus(z) - y * z,
    "cross_entropy": lambda z, y: -y * _log_softmax(z),
    "poisson": lambda z, y: np.exp(z) - y * z,
}
#: Their derivatives by the output a.
_LOGIT_SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "binary_cross_entropy": lambda a, y: (a - y) / (a * (1 - a)),
    "cross_entropy": lambda a, y: -y / a,
    "poisson": lambda a, y: 1 - y / a,
}


def _smoothed(spec: ModelSpec, y: Array) -> Array:
    scale, shift = spec.smoothing
    return y * scale + shift


def row_losses(spec: ModelSpec, z: Array, y: Array) -> Array:
    """Loss of each row (rows,) from the last pre-activations z and targets y (rows, outputs)."""
    loss, output = spec.loss_function, spec.functions[-1]
    if loss.row.canonical:
        value = _LOGIT[loss.name](z, _smoothed(spec, y))
        return np.asarray(np.minimum(value, loss.parameter or np.inf).sum(axis=1))
    value = _RESIDUAL[loss.name][0](activate(output, z) - y, loss.parameter)
    return np.asarray(value.sum(axis=1))


def loss_slope(spec: ModelSpec, z: Array, y: Array) -> Array:
    """Derivative of a row's loss by the outputs a (rows, outputs): what comes before f'(z)."""
    loss, a = spec.loss_function, activate(spec.functions[-1], z)
    if loss.row.canonical:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _LOGIT_SLOPES[loss.name](a, _smoothed(spec, y))
    return _RESIDUAL[loss.name][1](a - y, loss.parameter)


def output_delta(spec: ModelSpec, z: Array, y: Array) -> Array:
    """Derivative of a row's loss by the last pre-activations z (rows, outputs)."""
    output = spec.functions[-1]
    a: Any = activate(output, z)
    if spec.loss_function.row.canonical:
        y = _smoothed(spec, y)
        return np.asarray(
            a * y.sum(axis=1, keepdims=True) - y if spec.output == "softmax" else a - y
        )
    d = loss_slope(spec, z, y)
    if spec.output == "softmax":  # J = diag(a) - a a'
        return np.asarray(a * (d - (d * a).sum(axis=1, keepdims=True)))
    return d * slope(output, z)

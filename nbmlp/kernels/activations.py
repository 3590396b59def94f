"""Activations: forward beside derivative. To add one: a maker here, its row in names/."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels._reduce import reductions
from nbmlp.kernels.vecmath import make_vector, vecmath
from nbmlp.names import ACTIVATIONS

__all__ = ["PAIRS", "Pair"]


class Pair(NamedTuple):
    """a = forward(z, p) and da/dz = derivative(s, p), where s is z if the row says so, else a."""

    forward: Any
    derivative: Any


def _identity(T: type) -> Pair:
    one = T(1)

    @inner
    def forward(z, p):
        return z

    @inner
    def derivative(a, p):
        return one

    return Pair(forward, derivative)


def _logistic(T: type) -> Pair:
    logistic, one = vecmath(T).logistic, T(1)

    @inner
    def forward(z, p):
        return logistic(z)

    @inner
    def derivative(a, p):
        return a * (one - a)

    return Pair(forward, derivative)


def _tanh(T: type) -> Pair:
    tanh, one = vecmath(T).tanh, T(1)

    @inner
    def forward(z, p):
        return tanh(z)

    @inner
    def derivative(a, p):
        return one - a * a

    return Pair(forward, derivative)


def _relu(T: type) -> Pair:
    zero, one = T(0), T(1)

    @inner
    def forward(z, p):
        return zero if z < zero else z  # not `z if z > 0 else 0`, which would hide a NaN

    @inner
    def derivative(a, p):
        return one if a > zero else zero

    return Pair(forward, derivative)


def _leaky_relu(T: type) -> Pair:
    zero, one = T(0), T(1)

    @inner
    def forward(z, p):
        return z if z > zero else p * z

    @inner
    def derivative(a, p):
        return one if a > zero else p

    return Pair(forward, derivative)


def _elu(T: type) -> Pair:
    expm1, zero, one = vecmath(T).expm1_neg, T(0), T(1)

    @inner
    def forward(z, p):
        return z if z > zero else p * expm1(zero if z > zero else z)

    @inner
    def derivative(a, p):
        return one if a > zero else a + p

    return Pair(forward, derivative)


def _selu(T: type) -> Pair:
    # Klambauer et al. 2017
    scale, alpha = T(1.0507009873554805), T(1.6732632423543772)
    expm1, zero = vecmath(T).expm1_neg, T(0)

    @inner
    def forward(z, p):
        return scale * (z if z > zero else alpha * expm1(zero if z > zero else z))

    @inner
    def derivative(a, p):
        return scale if a > zero else a + scale * alpha

    return Pair(forward, derivative)


def _gelu(T: type) -> Pair:
    # x * Phi(x) with the normal distribution function itself (Hendrycks and Gimpel 2016)
    erf, exp = vecmath(T).erf, vecmath(T).exp
    half, one, root = T(0.5), T(1), T(math.sqrt(0.5))
    density = T(1.0 / math.sqrt(2.0 * math.pi))

    @inner
    def forward(z, p):
        return z * half * (one + erf(z * root))

    @inner
    def derivative(z, p):
        return half * (one + erf(z * root)) + z * density * exp(-half * z * z)

    return Pair(forward, derivative)


def _silu(T: type) -> Pair:
    logistic, one = vecmath(T).logistic, T(1)

    @inner
    def forward(z, p):
        return z * logistic(z)

    @inner
    def derivative(z, p):
        s = logistic(z)
        return s * (one + z * (one - s))

    return Pair(forward, derivative)


def _mish(T: type) -> Pair:
    # z * tanh(softplus(z)) (Misra 2019); with e = exp(z), tanh(log(1+e)) = w/(w+2), w = e*(e+2)
    exp, logistic = vecmath(T).exp, vecmath(T).logistic
    one, two, four, far = T(1), T(2), T(4), T(20)

    @inner
    def forward(z, p):
        e = exp(far if z > far else z)
        w = e * (e + two)
        return z * (w / (w + two))

    @inner
    def derivative(z, p):
        e = exp(far if z > far else z)
        w = e * (e + two)
        t = w / (w + two)
        return t + z * logistic(z) * (four * (w + one)) / ((w + two) * (w + two))

    return Pair(forward, derivative)


def _softplus(T: type) -> Pair:
    softplus, expm1 = vecmath(T).softplus, vecmath(T).expm1_neg

    @inner
    def forward(z, p):
        return softplus(z)

    @inner
    def derivative(a, p):
        return -expm1(-a)  # logistic(z) in terms of a, without cancellation

    return Pair(forward, derivative)


def _exp(T: type) -> Pair:
    exp = vecmath(T).exp

    @inner
    def forward(z, p):
        return exp(z)

    @inner
    def derivative(a, p):
        return a

    return Pair(forward, derivative)


#: By the name of the activation.
PAIRS: dict[str, Callable[[type], Pair]] = {
    "identity": _identity,
    "logistic": _logistic,
    "tanh": _tanh,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
    "exp": _exp,
}


def _make_forward(pair: Callable[[type], Pair], needs_z: bool) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        f, vector = pair(T).forward, make_vector(T)
        panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

        def forward(a: int, saved: int, row: int, rows: int, n: int, p: float, one: int) -> int:
            """Whole padded panels are computed.

            A vector body and its remainder loop may round
            differently, and where the rows are cut must not show.
            """
            width = (n + panel - 1) // panel * panel
            for r in range(rows):
                x = vector(a + r * row, width + panel)
                if needs_z:
                    keep = vector(saved + r * row, width)
                    for j in range(width):
                        keep[j] = x[j]
                for j in range(width):
                    x[j] = f(x[j], T(p))
                if one >= 0:
                    x[one] = T(1)
            return 0

        return forward

    return maker


def _make_backward(pair: Callable[[type], Pair]) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        df, vector = pair(T).derivative, make_vector(T)
        panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

        def backward(
            dz: int, dz_row: int, saved: int, saved_row: int, rows: int, n: int, p: float
        ) -> int:
            width = (n + panel - 1) // panel * panel
            for r in range(rows):
                d, s = vector(dz + r * dz_row, width), vector(saved + r * saved_row, width)
                for j in range(width):
                    d[j] *= df(s[j], T(p))
            return 0

        return backward

    return maker


@piece("softmax.forward", abi.forward)
def _softmax_forward(T: type) -> Any:
    exp, vector = vecmath(T).exp, make_vector(T)
    total_of, top_of, _ = reductions(T)

    def forward(a: int, saved: int, row: int, rows: int, n: int, p: float, one: int) -> int:
        """Rows of logits become rows of probabilities."""
        for r in range(rows):
            x, top = vector(a + r * row, n), top_of(a + r * row, n)
            for j in range(n):
                x[j] = exp(x[j] - top)
            total = total_of(a + r * row, n)
            for j in range(n):
                x[j] /= total
        return 0

    return forward


@piece("softmax.backward", abi.backward)
def _softmax_backward(T: type) -> Any:
    vector = make_vector(T)

    def backward(
        dz: int, dz_row: int, saved: int, saved_row: int, rows: int, n: int, p: float
    ) -> int:
        """dz_j = p_j * (g_j - sum_k g_k p_k)."""
        for r in range(rows):
            d, s = vector(dz + r * dz_row, n), vector(saved + r * saved_row, n)
            dot = T(0)
            for j in range(n):
                dot += d[j] * s[j]
            for j in range(n):
                d[j] = s[j] * (d[j] - dot)
        return 0

    return backward


for _name, _pair in PAIRS.items():
    piece(f"{_name}.forward", abi.forward)(_make_forward(_pair, ACTIVATIONS[_name].needs_z))
    piece(f"{_name}.backward", abi.backward)(_make_backward(_pair))

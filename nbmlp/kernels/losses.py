"""Losses: the value of each row beside the gradient at the output.

With its canonical output a loss reads logits and writes dl/dz; every other loss reads the output
and writes dl/dy, which the output's own backward turns into dl/dz.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels.vecmath import make_vector, vecmath


def _squared_error(T: type) -> Any:
    half = T(0.5)

    @inner
    def term(y, t, p):
        r = y - t
        return half * r * r, r

    return term


def _absolute_error(T: type) -> Any:
    zero, one = T(0), T(1)

    @inner
    def term(y, t, p):
        r = y - t
        sign = one if r > zero else (-one if r < zero else r)  # r itself: 0, or a NaN kept
        return abs(r), sign

    return term


def _huber(T: type) -> Any:
    half = T(0.5)

    @inner
    def term(y, t, p):
        r = y - t
        away = abs(r)
        bound = p if r > p else (-p if r < -p else r)
        inside = half * r * r
        outside = p * (away - half * p)
        return (outside if away > p else inside), bound

    return term


def _quantile(T: type) -> Any:
    zero, one = T(0), T(1)

    @inner
    def term(y, t, p):
        r = t - y
        under, over = p * r, (p - one) * r
        slope = -p if r > zero else (one - p if r < zero else r)
        return (under if under > over else over), slope

    return term


def _binary_cross_entropy(T: type) -> Any:
    softplus, logistic = vecmath(T).softplus, vecmath(T).logistic

    @inner
    def term(z, t, p):
        return softplus(z) - t * z, logistic(z) - t

    return term


def _poisson(T: type) -> Any:
    exp = vecmath(T).exp

    @inner
    def term(z, t, p):
        e = exp(z)
        return e - t * z, e - t

    return term


_TERMS: dict[str, Callable[[type], Any]] = {
    "squared_error": _squared_error,
    "absolute_error": _absolute_error,
    "huber": _huber,
    "quantile": _quantile,
    "binary_cross_entropy": _binary_cross_entropy,
    "poisson": _poisson,
}


def _make_loss(terms: Callable[[type], Any]) -> Callable[[type], Any]:
    def maker(T: type) -> Any:
        term, vector, doubles = terms(T), make_vector(T), make_vector(np.float64)
        finite = vecmath(T).is_finite
        panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

        def loss(
            y: int, row: int, dz: int, dz_row: int, target: int, target_row: int,
            rows: int, n: int, weights: int, values: int, p: float,
        ) -> int:  # fmt: skip
            """Weighted value (float64) and gradient of each row; the first bad row, or -1.

            y, target (rows, n); dz (rows, n padded, padding set to 0); weights, values (rows).
            A row is bad when an output or its loss is not finite.
            """
            width = (n + panel - 1) // panel * panel
            weight, value = doubles(weights, rows), doubles(values, rows)
            bad = -1
            for r in range(rows):
                x, d = vector(y + r * row, n), vector(dz + r * dz_row, width)
                t = vector(target + r * target_row, n)
                total = T(0)
                good = True
                for j in range(n):
                    v, g = term(x[j], t[j], T(p))
                    total += v
                    d[j] = T(weight[r]) * g
                    good &= finite(x[j])
                for j in range(n, width):
                    d[j] = T(0)
                value[r] = weight[r] * total
                if bad < 0 and not (good and finite(total)):
                    bad = r
            return bad

        return loss

    return maker


@piece("cross_entropy.loss")
def _cross_entropy(T: type) -> Any:
    exp, finite = vecmath(T).exp, vecmath(T).is_finite
    vector, doubles = make_vector(T), make_vector(np.float64)
    panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

    def loss(
        y: int, row: int, dz: int, dz_row: int, target: int, target_row: int,
        rows: int, n: int, weights: int, values: int, p: float,
    ) -> int:  # fmt: skip
        """Softmax and cross-entropy in logits form; arguments as for every other loss."""
        width = (n + panel - 1) // panel * panel
        weight, value = doubles(weights, rows), doubles(values, rows)
        bad = -1
        for r in range(rows):
            z, d = vector(y + r * row, width), vector(dz + r * dz_row, width)
            t = vector(target + r * target_row, width)
            top = z[0]
            good = finite(z[0])
            for j in range(1, n):
                top = max(top, z[j])
                good &= finite(z[j])
            for j in range(width):  # whole panels: the padding is set to 0 below
                d[j] = exp(z[j] - top)
            total, mass, dot = T(0), T(0), T(0)
            for j in range(n):
                total += d[j]
                mass += t[j]
                dot += t[j] * (z[j] - top)
            w = T(weight[r])
            scale = w * mass / total
            for j in range(n):
                d[j] = scale * d[j] - w * t[j]
            for j in range(n, width):
                d[j] = T(0)
            v = mass * T(math.log(total)) - dot
            value[r] = weight[r] * v
            if bad < 0 and not (good and finite(v)):
                bad = r
        return bad

    return loss


for _name, _terms in _TERMS.items():
    piece(f"{_name}.loss")(_make_loss(_terms))

"""Losses: the value of each row beside the gradient at the output.

With its canonical output a loss reads logits and writes dl/dz; every other loss reads the output
and writes dl/dy, which the output's own backward turns into dl/dz.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels._reduce import reductions
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
        value = softplus(z) - t * z
        return (p if value > p else value), logistic(z) - t

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
        finite, sums = vecmath(T).is_finite, reductions(T).total
        panel, wide = tuning.PANEL_BYTES // np.dtype(T).itemsize, reductions(T).wide

        @inner
        def short_row(x, t, d, n, w, p):
            total, good = T(0), True
            for j in range(n):
                v, g = term(x[j], t[j], p)
                total += v
                d[j] = w * g
                good &= finite(x[j])
            return total, good

        @inner
        def long_row(x, t, d, n, w, p, place):
            """The terms are computed twice: that vectorises, a running sum does not."""
            good = True
            for j in range(n):
                d[j] = term(x[j], t[j], p)[0]
                good &= finite(x[j])
            total = sums(place, n)
            for j in range(n):
                d[j] = w * term(x[j], t[j], p)[1]
            return total, good

        def loss(
            y: int, y_row: int, dz: int, dz_row: int, target: int, target_row: int,
            rows: int, n: int, n_targets: int, weights: int, values: int, p: float,
        ) -> int:  # fmt: skip
            """One target for each output."""
            width = (n + panel - 1) // panel * panel
            weight, value = doubles(weights, rows), doubles(values, rows)
            bad = -1
            for r in range(rows):
                x, d = vector(y + r * y_row, n), vector(dz + r * dz_row, width)
                t = vector(target + r * target_row, n)
                if n > wide:
                    total, good = long_row(x, t, d, n, T(weight[r]), T(p), dz + r * dz_row)
                else:
                    total, good = short_row(x, t, d, n, T(weight[r]), T(p))
                for j in range(n, width):
                    d[j] = T(0)
                value[r] = weight[r] * total
                if bad < 0 and not (good and finite(total)):
                    bad = r
            return bad

        return loss

    return maker


@piece("cross_entropy.loss", abi.loss)
def _cross_entropy(T: type) -> Any:
    exp, finite = vecmath(T).exp, vecmath(T).is_finite
    sums, top_of, wide = reductions(T)
    vector, doubles = make_vector(T), make_vector(np.float64)
    panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

    @inner
    def short_row(z, t, d, n, width):
        """Writes exp(z - top); returns the sums of exp(z - top), t and t * (z - top)."""
        top = z[0]
        for j in range(1, n):
            top = max(top, z[j])
        for j in range(width):  # whole panels: the padding is set to 0 later
            d[j] = exp(z[j] - top)
        total, mass, dot = T(0), T(0), T(0)
        for j in range(n):
            total += d[j]
            mass += t[j]
            dot += t[j] * (z[j] - top)
        return total, mass, dot

    @inner
    def long_row(z, t, d, n, z_place, t_place, d_place):
        """The same from sums over lanes."""
        top = top_of(z_place, n)
        for j in range(n):
            d[j] = t[j] * (z[j] - top)
        dot = sums(d_place, n)
        for j in range(n):
            d[j] = exp(z[j] - top)
        return sums(d_place, n), sums(t_place, n), dot

    def loss(
        y: int, y_row: int, dz: int, dz_row: int, target: int, target_row: int,
        rows: int, n: int, n_targets: int, weights: int, values: int, p: float,
    ) -> int:  # fmt: skip
        """Softmax and cross-entropy in logits form; one target for each output."""
        width = (n + panel - 1) // panel * panel
        weight, value = doubles(weights, rows), doubles(values, rows)
        bad = -1
        for r in range(rows):
            z_place, t_place, d_place = y + r * y_row, target + r * target_row, dz + r * dz_row
            z, d, t = vector(z_place, width), vector(d_place, width), vector(t_place, width)
            good = True
            for j in range(n):
                good &= finite(z[j])
            if n > wide:
                total, mass, dot = long_row(z, t, d, n, z_place, t_place, d_place)
            else:
                total, mass, dot = short_row(z, t, d, n, width)
            w = T(weight[r])
            scale = w * mass / total
            for j in range(n):
                d[j] = scale * d[j] - w * t[j]
            for j in range(n, width):
                d[j] = T(0)
            v = mass * T(math.log(total)) - dot
            most = T(p) * mass
            v = most if v > most else v
            value[r] = weight[r] * v
            if bad < 0 and not (good and finite(v)):
                bad = r
        return bad

    return loss


for _name, _terms in _TERMS.items():
    piece(f"{_name}.loss", abi.loss)(_make_loss(_terms))

"""One update rule per piece, over flat vectors, and what goes before and after an update."""

from __future__ import annotations

import functools
import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels._llvm import make_read
from nbmlp.kernels._reduce import make_squares
from nbmlp.kernels.vecmath import make_vector, vecmath
from nbmlp.tuning import PANEL_BYTES

__all__ = ["rule_settings"]

#: Settings of each rule: names of the optimizer's fields.
_SETTINGS: dict[str, tuple[str, ...]] = {}


def rule_settings(name: str) -> tuple[str, ...]:
    """The optimizer's fields that a rule reads, in the order of the record `settings`.

    Raises
    ------
    KeyError
        There is no such rule.
    """
    return _SETTINGS[name]


def _rule(name: str, *fields: str) -> Callable[[Callable[[type], Any]], None]:
    """Register ``update(x, d, s0, s1, s2, rate, decay, powers, own)`` as the piece of a rule.

    x, d (n): weights and gradient; s0, s1, s2 (n): the rule's slots, as many as it has; rate:
    learning rate; decay: decoupled weight decay; powers: beta1^t, beta2^t; own: its settings.
    """

    def register(make_update: Callable[[type], Any]) -> None:
        _SETTINGS[name] = fields

        @piece(f"{name}.rule", abi.rule, masters=True)
        def make(T: type) -> Any:
            update, vector = make_update(T), make_vector(T)
            panel = PANEL_BYTES // np.dtype(T).itemsize
            read = make_read(namedtuple("Settings", fields))

            def rule(
                w: int, g: int, slots: int, stride: int, rows: int, row: int, panels: int,
                rate: float, decay: float, power1: float, power2: float, settings: int,
            ) -> int:  # fmt: skip
                n, own = panels * panel, read(settings)
                for at in range(0, rows * row, row):
                    slot = slots + at
                    update(
                        vector(w + at, n), vector(g + at, n), vector(slot, n),
                        vector(slot + stride, n), vector(slot + 2 * stride, n),
                        rate, decay, (power1, power2), own,
                    )  # fmt: skip
                return 0

            return rule

    return register


@_rule("sgd", "momentum", "nesterov")
def _sgd(T: type) -> Any:
    @inner
    def update(x, d, v, s1, s2, rate, decay, powers, own):
        shrink, step, mu = T(1.0 - rate * decay), T(rate), T(own.momentum)
        if own.momentum == 0.0:
            for i in range(len(x)):
                x[i] = x[i] * shrink - step * d[i]
        elif own.nesterov == 0.0:
            for i in range(len(x)):
                v[i] = mu * v[i] + d[i]
                x[i] = x[i] * shrink - step * v[i]
        else:
            for i in range(len(x)):
                v[i] = mu * v[i] + d[i]
                x[i] = x[i] * shrink - step * (d[i] + mu * v[i])

    return update


@_rule("rmsprop", "rho", "epsilon")
def _rmsprop(T: type) -> Any:
    @inner
    def update(x, d, s, s1, s2, rate, decay, powers, own):
        shrink, step = T(1.0 - rate * decay), T(rate)
        rho, fresh, eps = T(own.rho), T(1.0 - own.rho), T(own.epsilon)
        for i in range(len(x)):
            s[i] = rho * s[i] + fresh * d[i] * d[i]
            x[i] = x[i] * shrink - step * d[i] / (math.sqrt(s[i]) + eps)

    return update


@functools.cache
def _sign_of(T: type) -> Any:
    zero, one = T(0), T(1)

    @inner
    def sign_of(x):
        return one if x > zero else (-one if x < zero else zero)

    return sign_of


@_rule("rmsprop_gains", "rho", "epsilon", "increase", "decrease", "min_gain", "max_gain")
def _rmsprop_gains(T: type) -> Any:
    sign_of, zero, one = _sign_of(T), T(0), T(1)

    @inner
    def update(x, d, s, gain, last, rate, decay, powers, own):
        shrink, step = T(1.0 - rate * decay), T(rate)
        rho, fresh, eps = T(own.rho), T(1.0 - own.rho), T(own.epsilon)
        up, down = T(own.increase), T(own.decrease)
        least, most = T(own.min_gain), T(own.max_gain)
        for i in range(len(x)):
            s[i] = rho * s[i] + fresh * d[i] * d[i]
            sign = sign_of(d[i])
            agree = sign * last[i]
            y = gain[i] * (up if agree > zero else (down if agree < zero else one))
            y = y if y > least else least
            gain[i] = y if y < most else most
            last[i] = sign
            x[i] = x[i] * shrink - step * gain[i] * d[i] / (math.sqrt(s[i]) + eps)

    return update


@_rule("rprop", "increase", "decrease", "min_step", "max_step", "learning_rate")
def _rprop(T: type) -> Any:
    sign_of, zero, one = _sign_of(T), T(0), T(1)

    @inner
    def update(x, d, length, last, s2, rate, decay, powers, own):
        """rate / learning_rate, which is the first step, is the schedule's factor."""
        shrink, factor = T(1.0 - rate * decay), T(rate / own.learning_rate)
        up, down = T(own.increase), T(own.decrease)
        least, most = T(own.min_step), T(own.max_step)
        for i in range(len(x)):
            sign = sign_of(d[i])
            agree = sign * last[i]
            y = length[i] * (up if agree > zero else (down if agree < zero else one))
            y = y if y > least else least
            length[i] = y if y < most else most
            sign = zero if agree < zero else sign
            last[i] = sign
            x[i] = x[i] * shrink - factor * sign * length[i]

    return update


@_rule("adagrad", "epsilon")
def _adagrad(T: type) -> Any:
    @inner
    def update(x, d, s, s1, s2, rate, decay, powers, own):
        shrink, step, eps = T(1.0 - rate * decay), T(rate), T(own.epsilon)
        for i in range(len(x)):
            s[i] += d[i] * d[i]
            x[i] = x[i] * shrink - step * d[i] / (math.sqrt(s[i]) + eps)

    return update


@_rule("adam", "beta1", "beta2", "epsilon", "epsilon_hat")
def _adam(T: type) -> Any:
    @inner
    def update(x, d, m, v, s2, rate, decay, powers, own):
        shrink, step = T(1.0 - rate * decay), T(rate / (1.0 - powers[0]))
        correction = 1.0 / math.sqrt(1.0 - powers[1])
        root, eps = T(correction), T(own.epsilon * (correction if own.epsilon_hat != 0.0 else 1.0))
        b1, b2, f1, f2 = T(own.beta1), T(own.beta2), T(1.0 - own.beta1), T(1.0 - own.beta2)
        for i in range(len(x)):
            m[i] = b1 * m[i] + f1 * d[i]
            v[i] = b2 * v[i] + f2 * d[i] * d[i]
            x[i] = x[i] * shrink - step * m[i] / (math.sqrt(v[i]) * root + eps)

    return update


@_rule("lamb", "beta1", "beta2", "epsilon")
def _lamb(T: type) -> Any:
    @inner
    def update(x, d, m, v, s2, rate, decay, powers, own):
        """The direction takes the gradient's place: how far to go is known when all of it is."""
        grow, root = T(1.0 / (1.0 - powers[0])), T(1.0 / math.sqrt(1.0 - powers[1]))
        eps, pull = T(own.epsilon), T(decay)
        b1, b2, f1, f2 = T(own.beta1), T(own.beta2), T(1.0 - own.beta1), T(1.0 - own.beta2)
        for i in range(len(x)):
            m[i] = b1 * m[i] + f1 * d[i]
            v[i] = b2 * v[i] + f2 * d[i] * d[i]
            d[i] = grow * m[i] / (math.sqrt(v[i]) * root + eps) + pull * x[i]

    return update


# --------------------------------------------------------------------- around the rule


@piece("descend", abi.descend, masters=True)
def _descend(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def descend(w: int, g: int, rows: int, row: int, panels: int, step: float) -> int:
        s, n = T(step), panels * panel
        for at in range(0, rows * row, row):
            x, d = vector(w + at, n), vector(g + at, n)
            for i in range(n):
                x[i] -= s * d[i]
        return 0

    return descend


@piece("penalise", abi.penalise, masters=True)
def _penalise(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def penalise(w: int, g: int, rows: int, row: int, panels: int, l1: float, l2: float) -> int:
        a, b, zero, n = T(l1), T(l2), T(0), panels * panel
        for at in range(0, rows * row, row):
            x, d = vector(w + at, n), vector(g + at, n)
            for i in range(n):
                sign = a if x[i] > zero else (-a if x[i] < zero else zero)
                d[i] += b * x[i] + sign
        return 0

    return penalise


@piece("clip_values", abi.clip_values, masters=True)
def _clip_values(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def clip_values(g: int, rows: int, row: int, panels: int, bound: float) -> int:
        c, n = T(bound), panels * panel
        for at in range(0, rows * row, row):
            d = vector(g + at, n)
            for i in range(n):
                d[i] = c if d[i] > c else (-c if d[i] < -c else d[i])
        return 0

    return clip_values


@piece("add", abi.add, masters=True)
def _add(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def add(g: int, other: int, rows: int, row: int, panels: int) -> int:
        n = panels * panel
        for at in range(0, rows * row, row):
            d, e = vector(g + at, n), vector(other + at, n)
            for i in range(n):
                d[i] += e[i]
        return 0

    return add


@piece("clear", abi.clear, masters=True)
def _clear(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def clear(g: int, rows: int, row: int, panels: int) -> int:
        n = panels * panel
        for at in range(0, rows * row, row):
            d = vector(g + at, n)
            for i in range(n):
                d[i] = T(0)
        return 0

    return clear


@piece("scale", abi.scale, masters=True)
def _scale(T: type) -> Any:
    vector, panel = make_vector(T), PANEL_BYTES // np.dtype(T).itemsize

    def scale(g: int, rows: int, row: int, panels: int, factor: float) -> int:
        c, n = T(factor), panels * panel
        for at in range(0, rows * row, row):
            d = vector(g + at, n)
            for i in range(n):
                d[i] *= c
        return 0

    return scale


@piece("sum_squares", abi.sum_squares, masters=True)
def _sum_squares(T: type) -> Any:
    doubles, itemsize = make_vector(np.float64), np.dtype(T).itemsize
    squares = make_squares(tuning.detect(), itemsize)

    def sum_squares(g: int, n: int, out: int) -> int:
        """In float64, a chain for each place in a panel: accurate, the same for every cut."""
        doubles(out, 1)[0] = squares(g, n * itemsize // PANEL_BYTES)
        return 0

    return sum_squares


@piece("max_norm", abi.max_norm, masters=True)
def _max_norm(T: type) -> Any:
    vector = make_vector(T)
    panel = PANEL_BYTES // np.dtype(T).itemsize

    def max_norm(w: int, row: int, rows: int, scratch: int, bound: float) -> int:
        s = vector(scratch, panel)
        for j in range(panel):
            s[j] = T(0)
        for r in range(rows):
            x = vector(w + r * row, panel)
            for j in range(panel):
                s[j] += x[j] * x[j]
        c = T(bound)
        for j in range(panel):
            norm = math.sqrt(s[j])
            s[j] = c / norm if norm > c else T(1)
        for r in range(rows):
            x = vector(w + r * row, panel)
            for j in range(panel):
                x[j] *= s[j]
        return 0

    return max_norm


@piece("average", abi.average, masters=True)
def _average(T: type) -> Any:
    vector = make_vector(T)

    def average(w: int, mean: int, n: int, share: float) -> int:
        x, y, s = vector(w, n), vector(mean, n), T(share)
        for i in range(n):
            y[i] += s * (x[i] - y[i])
        return 0

    return average


@piece("all_finite", abi.all_finite, masters=True)
def _all_finite(T: type) -> Any:
    vector, finite = make_vector(T), vecmath(T).is_finite

    def all_finite(x: int, n: int) -> int:
        v = vector(x, n)
        good = True
        for i in range(n):
            good &= finite(v[i])
        return 1 if good else 0

    return all_finite

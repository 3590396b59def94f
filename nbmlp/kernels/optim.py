"""One update rule per piece, over flat vectors, and what goes before and after an update.

Every rule has the signature of :data:`RULE_ARGUMENTS`; slot k lies `stride` bytes after slot k-1.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def"
from __future__ import annotations

import math
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.kernels._jit import piece
from nbmlp.kernels.vecmath import make_vector, vecmath

#: w, g (n); slots; bytes between slots; n; learning rate; decoupled decay; beta1^t and beta2^t
#: (rules that correct a bias); six settings of the rule.
RULE_ARGUMENTS = "w g slots stride n rate decay power1 power2 h0 h1 h2 h3 h4 h5"


@piece("sgd.rule")
def _sgd(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = momentum, h1 = 1 for Nesterov."""
        x, d = vector(w, n), vector(g, n)
        shrink, step, mu = T(1.0 - rate * decay), T(rate), T(h0)
        if h0 == 0.0:
            for i in range(n):
                x[i] = x[i] * shrink - step * d[i]
            return 0
        v = vector(slots, n)
        if h1 == 0.0:
            for i in range(n):
                v[i] = mu * v[i] + d[i]
                x[i] = x[i] * shrink - step * v[i]
        else:
            for i in range(n):
                v[i] = mu * v[i] + d[i]
                x[i] = x[i] * shrink - step * (d[i] + mu * v[i])
        return 0

    return rule


@piece("rmsprop.rule")
def _rmsprop(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = rho, h1 = epsilon."""
        x, d, s = vector(w, n), vector(g, n), vector(slots, n)
        shrink, step, rho, fresh, eps = T(1.0 - rate * decay), T(rate), T(h0), T(1.0 - h0), T(h1)
        for i in range(n):
            s[i] = rho * s[i] + fresh * d[i] * d[i]
            x[i] = x[i] * shrink - step * d[i] / (math.sqrt(s[i]) + eps)
        return 0

    return rule


@piece("rmsprop_gains.rule")
def _rmsprop_gains(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = rho, h1 = epsilon; h2 = increase, h3 = decrease; h4, h5 = limits of the gain."""
        x, d, s = vector(w, n), vector(g, n), vector(slots, n)
        gain, last = vector(slots + stride, n), vector(slots + 2 * stride, n)
        shrink, step, rho, fresh = T(1.0 - rate * decay), T(rate), T(h0), T(1.0 - h0)
        eps, up, down, least, most = T(h1), T(h2), T(h3), T(h4), T(h5)
        zero, one = T(0), T(1)
        for i in range(n):
            s[i] = rho * s[i] + fresh * d[i] * d[i]
            sign = one if d[i] > zero else (-one if d[i] < zero else zero)
            agree = sign * last[i]
            y = gain[i] * (up if agree > zero else (down if agree < zero else one))
            y = y if y > least else least
            gain[i] = y if y < most else most
            last[i] = sign
            x[i] = x[i] * shrink - step * gain[i] * d[i] / (math.sqrt(s[i]) + eps)
        return 0

    return rule


@piece("rprop.rule")
def _rprop(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = increase, h1 = decrease, h2, h3 = limits; rate / h4 is the schedule's factor."""
        x, d = vector(w, n), vector(g, n)
        length, last = vector(slots, n), vector(slots + stride, n)
        shrink, factor = T(1.0 - rate * decay), T(rate / h4)
        up, down, least, most = T(h0), T(h1), T(h2), T(h3)
        zero, one = T(0), T(1)
        for i in range(n):
            sign = one if d[i] > zero else (-one if d[i] < zero else zero)
            agree = sign * last[i]
            y = length[i] * (up if agree > zero else (down if agree < zero else one))
            y = y if y > least else least
            length[i] = y if y < most else most
            sign = zero if agree < zero else sign
            last[i] = sign
            x[i] = x[i] * shrink - factor * sign * length[i]
        return 0

    return rule


@piece("adagrad.rule")
def _adagrad(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = epsilon."""
        x, d, s = vector(w, n), vector(g, n), vector(slots, n)
        shrink, step, eps = T(1.0 - rate * decay), T(rate), T(h0)
        for i in range(n):
            s[i] += d[i] * d[i]
            x[i] = x[i] * shrink - step * d[i] / (math.sqrt(s[i]) + eps)
        return 0

    return rule


@piece("adam.rule")
def _adam(T: type) -> Any:
    vector = make_vector(T)

    def rule(
        w: int, g: int, slots: int, stride: int, n: int, rate: float, decay: float,
        power1: float, power2: float, h0: float, h1: float, h2: float, h3: float, h4: float,
        h5: float,
    ) -> int:  # fmt: skip
        """h0 = beta1, h1 = beta2, h2 = epsilon; power1, power2 = their powers."""
        x, d, m, v = vector(w, n), vector(g, n), vector(slots, n), vector(slots + stride, n)
        shrink, step = T(1.0 - rate * decay), T(rate / (1.0 - power1))
        root = T(1.0 / math.sqrt(1.0 - power2))
        b1, b2, f1, f2, eps = T(h0), T(h1), T(1.0 - h0), T(1.0 - h1), T(h2)
        for i in range(n):
            m[i] = b1 * m[i] + f1 * d[i]
            v[i] = b2 * v[i] + f2 * d[i] * d[i]
            x[i] = x[i] * shrink - step * m[i] / (math.sqrt(v[i]) * root + eps)
        return 0

    return rule


# --------------------------------------------------------------------- around the rule


@piece("penalise")
def _penalise(T: type) -> Any:
    vector = make_vector(T)

    def penalise(w: int, g: int, n: int, l1: float, l2: float) -> int:
        """g += l2*w + l1*sign(w)."""
        x, d = vector(w, n), vector(g, n)
        a, b, zero = T(l1), T(l2), T(0)
        for i in range(n):
            sign = a if x[i] > zero else (-a if x[i] < zero else zero)
            d[i] += b * x[i] + sign
        return 0

    return penalise


@piece("clip_values")
def _clip_values(T: type) -> Any:
    vector = make_vector(T)

    def clip_values(g: int, n: int, bound: float) -> int:
        """Each entry of g into [-bound, bound]; NaN stays."""
        d, c = vector(g, n), T(bound)
        for i in range(n):
            d[i] = c if d[i] > c else (-c if d[i] < -c else d[i])
        return 0

    return clip_values


@piece("scale")
def _scale(T: type) -> Any:
    vector = make_vector(T)

    def scale(g: int, n: int, factor: float) -> int:
        """g *= factor."""
        d, c = vector(g, n), T(factor)
        for i in range(n):
            d[i] *= c
        return 0

    return scale


@piece("sum_squares")
def _sum_squares(T: type) -> Any:
    vector, doubles = make_vector(T), make_vector(np.float64)

    def sum_squares(g: int, n: int, out: int) -> int:
        """Sum of squares of g (n, whole panels) into the float64 at `out`.

        Eight chains in float64, added in a fixed order: accurate, and the same for every cut.
        """
        d = vector(g, n)
        s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(0, n, 8):
            s0 += np.float64(d[i]) * d[i]
            s1 += np.float64(d[i + 1]) * d[i + 1]
            s2 += np.float64(d[i + 2]) * d[i + 2]
            s3 += np.float64(d[i + 3]) * d[i + 3]
            s4 += np.float64(d[i + 4]) * d[i + 4]
            s5 += np.float64(d[i + 5]) * d[i + 5]
            s6 += np.float64(d[i + 6]) * d[i + 6]
            s7 += np.float64(d[i + 7]) * d[i + 7]
        doubles(out, 1)[0] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
        return 0

    return sum_squares


@piece("max_norm")
def _max_norm(T: type) -> Any:
    vector = make_vector(T)
    panel = tuning.PANEL_BYTES // np.dtype(T).itemsize

    def max_norm(w: int, row: int, rows: int, scratch: int, bound: float) -> int:
        """Scale each column of one panel of W (rows, panel) to at most `bound` in norm."""
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


@piece("all_finite")
def _all_finite(T: type) -> Any:
    vector, finite = make_vector(T), vecmath(T).is_finite

    def all_finite(x: int, n: int) -> int:
        """1 when every one of the n elements is finite, else 0."""
        v = vector(x, n)
        good = True
        for i in range(n):
            good &= finite(v[i])
        return 1 if good else 0

    return all_finite

"""exp, expm1, tanh, log1p, erf and uniform bits in a form that LLVM vectorises.

Numba ships no vector math library, and one scalar libm call keeps a loop scalar. Errors are in
units in the last place against float64 (float32) and against mpmath-grade libm (float64).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import carray, from_dtype

from nbmlp.kernels import _llvm
from nbmlp.kernels._jit import inner

__all__ = ["VecMath", "make_vector", "vecmath", "vector_of"]


class VecMath(NamedTuple):
    """The functions of one element type; each takes and returns that type."""

    exp: Any  # <= 1 ulp; overflows to inf, underflows to 0, keeps NaN
    expm1_neg: Any  # exp(x) - 1 for x <= 0, <= 2 ulp
    log1p_unit: Any  # log(1 + x) for 0 <= x <= 1, <= 2 ulp
    logistic: Any
    tanh: Any
    softplus: Any
    erf: Any
    is_finite: Any  # by the exponent's bits: fast-math cannot delete it


@functools.cache
def vector_of(kind: str) -> Any:
    """``vector(address, n)``: n elements of a NumPy type at an address, as an array."""
    pointer = _llvm.make_pointer(from_dtype(np.dtype(kind)))

    @inner
    def vector(address, n):
        return carray(pointer(address), n)

    return vector


def make_vector(scalar: type) -> Any:
    """``vector(address, n)`` for np.float32 or np.float64."""
    return vector_of(np.dtype(scalar).name)


@functools.cache
def vecmath(scalar: type) -> VecMath:
    """The functions for np.float32 or np.float64."""
    T = scalar
    single = scalar is np.float32
    size = 4 if single else 8
    bits, from_bits = _llvm.make_bits(size), _llvm.make_from_bits(size)
    mantissa, bias = (23, 127) if single else (52, 1023)
    magic = T(1.5 * 2.0**mantissa)  # adding it rounds to an integer that lies in the low bits
    magic_bits = int(np.asarray(magic).view(np.int32 if single else np.int64))
    exponent_mask = 0x7F800000 if single else 0x7FF0000000000000
    log2e = T(1.0 / math.log(2.0))
    # ln 2 in two parts, the first with trailing zeros so that n*ln2_high is exact.
    ln2_high = T(0.693359375) if single else T(0.6931471803691238)
    ln2_low = T(-2.12194440054690583e-4) if single else T(1.9082149292705877e-10)
    lowest, highest = (T(-104.0), T(89.0)) if single else (T(-746.0), T(710.0))
    flat = T(-30.0) if single else T(-45.0)  # below it expm1 rounds to -1
    degree = 7 if single else 13
    taylor = tuple(T(1.0 / math.factorial(k)) for k in range(degree, 1, -1))
    atanh = tuple(T(1.0 / (2 * k + 1)) for k in range(8 if single else 17, 0, -1))
    zero, one, two = T(0), T(1), T(2)
    # Odd over even polynomial of erf on [-4, 4], error < 3e-7 (the one that Eigen uses).
    erf_p = tuple(
        T(c)
        for c in (
            -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06,
            -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
            -1.60960333262415e-02,
        )
    )  # fmt: skip
    erf_q = tuple(
        T(c)
        for c in (
            -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
            -7.37332916720468e-03, -1.42647390514189e-02,
        )
    )  # fmt: skip

    @inner
    def reduced(x):
        """n and r with x = n*ln2 + r, |r| <= ln2/2, and exp(r) - 1."""
        t = x * log2e + magic
        n = bits(t) - magic_bits
        shifted = t - magic
        r = (x - shifted * ln2_high) - shifted * ln2_low
        p = taylor[0]
        for c in taylor[1:]:
            p = p * r + c
        return n, r + r * r * p

    @inner
    def exp(x):
        clipped = x if x > lowest else lowest
        clipped = clipped if clipped < highest else highest
        n, q = reduced(clipped)
        n1 = n >> 1  # in two steps: 2^n itself may overflow or be subnormal
        scaled = (one + q) * from_bits((n1 + bias) << mantissa)
        y = scaled * from_bits((n - n1 + bias) << mantissa)
        return x if x != x else y

    @inner
    def expm1_neg(x):
        clipped = x if x > flat else flat
        n, q = reduced(clipped)
        power = from_bits((n + bias) << mantissa)
        y = power * q + (power - one)
        return x if x != x else y

    @inner
    def log1p_unit(x):
        s = x / (two + x)
        s2 = s * s
        p = atanh[0]
        for c in atanh[1:]:
            p = p * s2 + c
        return two * (s + s * s2 * p)

    @inner
    def logistic(x):
        return one / (one + exp(-x))

    @inner
    def tanh(x):
        away = -x if x < zero else x
        e = expm1_neg(-two * away)
        y = -e / (two + e)
        return -y if x < zero else y

    @inner
    def softplus(x):
        away = -x if x < zero else x
        positive = zero if x < zero else x
        return positive + log1p_unit(exp(-away))

    @inner
    def erf_polynomial(x):
        c = x if x > T(-4) else T(-4)
        c = c if c < T(4) else T(4)
        c2 = c * c
        p, q = erf_p[0], erf_q[0]
        for k in erf_p[1:]:
            p = p * c2 + k
        for k in erf_q[1:]:
            q = q * c2 + k
        y = c * p / q
        return x if x != x else y

    @inner
    def erf_libm(x):
        return math.erf(x)

    @inner
    def is_finite(x):
        return (bits(x) & exponent_mask) != exponent_mask

    return VecMath(
        exp, expm1_neg, log1p_unit, logistic, tanh, softplus,
        erf_polynomial if single else erf_libm, is_finite,
    )  # fmt: skip

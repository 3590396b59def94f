"""Sums and maxima along one row, lane by lane.

A loop over scalars waits for each addition before the next one, and fast-math, which would let
LLVM do otherwise, deletes checks for NaN. So whole vectors are folded into one, then its lanes in
halves: always in the same order for the same length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbmlp import tuning
from nbmlp.kernels._jit import inner
from nbmlp.kernels._llvm import FLOAT, I32, I64, NUMBA_FLOAT, fuse, offset
from nbmlp.kernels.vecmath import make_vector
from nbmlp.tuning import Target

__all__ = ["Reductions", "make_dot", "make_squares", "reductions"]


def _add(builder, total, value):
    return builder.fadd(total, value)


def _larger(builder, top, value):
    return builder.select(builder.fcmp_ordered(">", value, top), value, top)


def _fold(builder, target: Target, itemsize: int, bases, vectors, start: float, step, combine):
    """Lanes of `step(lanes so far, vector of each base)` over all vectors, then combined."""
    lanes, scalar = target.lanes(itemsize), FLOAT[itemsize]
    vec, width = ir.VectorType(scalar, lanes), ir.Constant(I64, target.vector_bytes)
    folded = cgutils.alloca_once_value(builder, ir.Constant(vec, [start] * lanes))
    with cgutils.for_range(builder, vectors) as loop:
        at = builder.mul(loop.index, width)
        values = [
            builder.load(
                offset(builder, builder.inttoptr(base, ir.PointerType()), at),
                typ=vec, align=itemsize,
            )
            for base in bases
        ]  # fmt: skip
        builder.store(step(builder, builder.load(folded, typ=vec), *values), folded)
    return _across(builder, builder.load(folded, typ=vec), combine)


def _across(builder, result, combine):
    """The lanes of a vector combined, in halves."""
    lanes = result.type.count
    half = lanes // 2
    while half:
        turned = [(j + half) % lanes for j in range(lanes)]
        mask = ir.Constant(ir.VectorType(I32, lanes), turned)
        result = combine(builder, result, builder.shuffle_vector(result, result, mask))
        half //= 2
    return builder.extract_element(result, ir.Constant(I32, 0))


def make_squares(target: Target, itemsize: int) -> Callable[..., Any]:
    """``squares(x, panels)``: sum of squares of whole panels in float64, a chain for each lane."""
    lanes, double = tuning.PANEL_BYTES // itemsize, FLOAT[8]
    narrow, wide = ir.VectorType(FLOAT[itemsize], lanes), ir.VectorType(double, lanes)

    def codegen(context, builder, sig, args):
        base, panels = args
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * lanes))
        with cgutils.for_range(builder, panels) as loop:
            at = builder.mul(loop.index, ir.Constant(I64, tuning.PANEL_BYTES))
            place = offset(builder, builder.inttoptr(base, ir.PointerType()), at)
            x = builder.load(place, typ=narrow, align=itemsize)
            x = builder.fpext(x, wide) if itemsize < 8 else x
            added = fuse(builder, x, x, builder.load(total, typ=wide), target.fma)
            builder.store(added, total)
        return _across(builder, builder.load(total, typ=wide), _add)

    @intrinsic
    def squares(tyctx, x, panels):
        return NUMBA_FLOAT[8](types.int64, types.int64), codegen

    return squares


def make_dot(target: Target, itemsize: int) -> Callable[..., Any]:
    """``dot(x, w, vectors)``: sum of products of whole vectors."""

    def step(builder, total, a, b):
        return fuse(builder, a, b, total, target.fma)

    def codegen(context, builder, sig, args):
        *bases, vectors = args
        return _fold(builder, target, itemsize, bases, vectors, 0.0, step, _add)

    @intrinsic
    def dot(tyctx, x, w, vectors):
        return NUMBA_FLOAT[itemsize](types.int64, types.int64, types.int64), codegen

    return dot


def _make_fold(target: Target, itemsize: int, start: float, combine) -> Callable[..., Any]:
    """``fold(x, vectors)``: whole vectors into one number; `start` if there are none."""

    def codegen(context, builder, sig, args):
        base, vectors = args
        return _fold(builder, target, itemsize, [base], vectors, start, combine, combine)

    @intrinsic
    def fold(tyctx, x, vectors):
        return NUMBA_FLOAT[itemsize](types.int64, types.int64), codegen

    return fold


class Reductions(NamedTuple):
    """Of n elements at an address, for one element type."""

    total: Any  # their sum
    top: Any  # the greatest; a NaN counts as nothing
    wide: int  # elements from which both are worth a call


@functools.cache
def reductions(scalar: type) -> Reductions:
    """The functions for np.float32 or np.float64."""
    itemsize, target, vector = np.dtype(scalar).itemsize, tuning.detect(), make_vector(scalar)
    lanes = target.lanes(itemsize)
    add_up = _make_fold(target, itemsize, 0.0, _add)
    greatest = _make_fold(target, itemsize, -np.inf, _larger)

    @inner
    def total(address, n):
        """Whole vectors first, then the rest in its order."""
        x, result = vector(address, n), add_up(address, n // lanes)
        for j in range(n - n % lanes, n):
            result += x[j]
        return result

    @inner
    def top(address, n):
        x, result = vector(address, n), greatest(address, n // lanes)
        for j in range(n - n % lanes, n):
            result = max(result, x[j])
        return result

    return Reductions(total, top, tuning.PANEL_BYTES // itemsize)

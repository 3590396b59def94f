"""Cosines of many numbers at once, in whole vectors: what embeddings of numbers are made of.

An output is b2 + sum over frequencies k of W2[k] cos(2 pi w1[k] x + b1[k]). A loop of Numba's would
have to keep nine arrays apart, for which LLVM gives up vectorising; here sums stay in registers.

Angles are counted in turns: whole ones are taken off w1 x + b1 / 2 pi by one fused multiply-add,
which is exact, so that a cosine is as good at a thousand turns as at none. What is left, at most
half a turn, is folded to a quarter, where one polynomial serves cosine and sine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbmlp.kernels._llvm import FLOAT, I64, fuse, splat
from nbmlp.tuning import Target

__all__ = ["make_wave_biases", "make_wave_forward", "make_wave_gradient"]

#: sin(2 pi g) / g in powers of g^2 for |g| <= 1/4: errors below 1e-8 and 1e-18.
_SINE = {
    4: (
        6.283185278787095, -41.34167974403809, 81.60239342051483, -76.57870947564895,
        39.73743152746031,
    ),
    8: (
        6.283185307179586475503, -41.34170224039975658345, 81.6052492760735117836,
        -76.70585975281043670314, 42.05869392444074659109, -15.09464163977439419314,
        3.819927357931041186925, -0.7177260641995985032356, 0.1008641497364253150155,
    ),
}  # fmt: skip


def _number(value: int):
    return ir.Constant(I64, value)


class _Vectors:
    """What can be done with vectors of one type."""

    def __init__(self, builder, target: Target, itemsize: int) -> None:
        self.builder, self.fused, self.itemsize = builder, target.fma, itemsize
        self.lanes = target.lanes(itemsize)
        self.type = ir.VectorType(FLOAT[itemsize], self.lanes)

    def constant(self, value: float):
        return ir.Constant(self.type, [value] * self.lanes)

    def load(self, address, *strides):
        """The vector at an address plus products of (index, bytes); of any alignment."""
        return self.builder.load(self._place(address, *strides), typ=self.type, align=self.itemsize)

    def store(self, value, address, *strides):
        self.builder.store(value, self._place(address, *strides), align=self.itemsize)

    def _place(self, address, *strides):
        for index, step in strides:
            index = _number(index) if isinstance(index, int) else index
            address = self.builder.add(address, self.builder.mul(index, step))
        return self.builder.inttoptr(address, ir.PointerType())

    def fuse(self, a, b, c):
        return fuse(self.builder, a, b, c, self.fused)

    def times(self, a, b):
        return self.builder.fmul(a, b)

    def minus(self, a, b):
        return self.builder.fsub(a, b)

    def larger(self, a, b):
        """NaN of b stays."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def smaller(self, a, b):
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def sum_of(self, start):
        """A place in which a sum is kept over the turns of a loop."""
        return cgutils.alloca_once_value(self.builder, start)

    def value(self, place):
        return self.builder.load(place, typ=self.type)

    # -- turns

    def turn(self, w, x, b):
        """The part of a turn, |f| <= 1/2, that w x + b / 2 pi is beyond whole turns."""
        builder = self.builder
        mantissa = 23 if self.itemsize == 4 else 52
        magic = self.constant(1.5 * 2.0**mantissa)  # adding it rounds to a whole number
        start = self.times(b, self.constant(0.5 / math.pi))
        near = builder.fadd(self.fuse(w, x, start), magic)
        whole = self.minus(near, magic)
        return builder.fadd(self.fuse(w, x, builder.fneg(whole)), start)

    def _sine(self, g):
        """sin(2 pi g) for |g| <= 1/4."""
        square, first, *rest = self.times(g, g), *_SINE[self.itemsize][::-1]
        total = self.constant(first)
        for c in rest:
            total = self.fuse(total, square, self.constant(c))
        return self.times(g, total)

    def _size(self, f):
        lanes = f"v{self.lanes}f{8 * self.itemsize}"
        signature = ir.FunctionType(self.type, [self.type])
        fabs = cgutils.get_or_insert_function(self.builder.module, signature, f"llvm.fabs.{lanes}")
        return self.builder.call(fabs, [f])

    def cosine(self, f):
        """cos(2 pi f); of turns too many to have a fraction, some number from -1 to 1."""
        g = self.minus(self.constant(0.25), self._size(f))
        return self._sine(self.larger(self.constant(-0.25), g))

    def sine(self, f):
        """sin(2 pi f), with the sign of f."""
        size = self._size(f)
        g = self.smaller(self.minus(self.constant(0.5), size), size)
        value = self._sine(self.larger(self.constant(-0.25), g))
        negative = self.builder.fcmp_ordered("<", f, self.constant(0.0))
        return self.builder.select(negative, self.builder.fneg(value), value)

    # -- results

    def merge(self, value, alpha, beta, left, address, *strides):
        """alpha * value + beta * what is there; lanes from `left` on become 0."""
        builder = self.builder
        kind = FLOAT[self.itemsize]
        if self.itemsize == 4:
            alpha, beta = builder.fptrunc(alpha, kind), builder.fptrunc(beta, kind)
        value = self.times(splat(builder, alpha, self.lanes), value)
        lanes = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        inside = builder.icmp_signed("<", lanes, splat(builder, left, self.lanes))
        nothing = self.constant(0.0)
        fresh = builder.fcmp_ordered("==", beta, ir.Constant(kind, 0.0))
        with builder.if_else(fresh) as (store, add):  # what lies there may be NaN
            with store:
                self.store(builder.select(inside, value, nothing), address, *strides)
            with add:
                old = self.load(address, *strides)
                total = self.fuse(splat(builder, beta, self.lanes), old, value)
                self.store(builder.select(inside, total, nothing), address, *strides)


class _Parameters(NamedTuple):
    """Where those of a vector of numbers lie: rows of W2 (frequency by frequency), w1, b1, b2."""

    w: Any
    row: Any
    frequencies: Any
    outputs: int

    def weight(self, builder, k, m: int):
        return builder.add(builder.mul(k, _number(self.outputs)), _number(m)), self.row

    def frequency(self, builder, k):
        count = builder.mul(self.frequencies, _number(self.outputs))
        return builder.add(count, k), self.row

    def phase(self, builder, k):
        count = builder.mul(self.frequencies, _number(self.outputs + 1))
        return builder.add(count, k), self.row

    def bias(self, builder, m: int):
        count = builder.mul(self.frequencies, _number(self.outputs + 2))
        return builder.add(count, _number(m)), self.row


def make_wave_forward(target: Target, itemsize: int, outputs: int) -> Callable[..., Any]:
    """``forward(x, w, row, frequencies, out, step)``: outputs `step` bytes apart of a vector at x.

    They are whole vectors: the first output has to be written before the second, and of a row the
    last vector before those before it, so that nothing is left of what goes beyond the last number.
    """

    def codegen(context, builder, sig, args):
        x, w, row, frequencies, out, step = args
        own, at = _Vectors(builder, target, itemsize), _Parameters(w, row, frequencies, outputs)
        given = own.load(x)
        sums = [own.sum_of(own.load(w, at.bias(builder, m))) for m in range(outputs)]
        with cgutils.for_range(builder, frequencies) as loop:
            k = loop.index
            first, phase = (own.load(w, part(builder, k)) for part in (at.frequency, at.phase))
            c = own.cosine(own.turn(first, given, phase))
            for m, place in enumerate(sums):
                weight = own.load(w, at.weight(builder, k, m))
                builder.store(own.fuse(weight, c, own.value(place)), place)
        for m, place in enumerate(sums):
            own.store(own.value(place), out, (m, step))
        return context.get_dummy_value()

    @intrinsic
    def forward(tyctx, x, w, row, frequencies, out, step):
        return types.void(*[types.int64] * 6), codegen

    return forward


def make_wave_gradient(target: Target, itemsize: int, outputs: int) -> Callable[..., Any]:
    """``gradient(x, x_row, d, d_row, step, m, w, row, frequencies, k, factors, c, left, alpha,
    beta)``: of frequency k's W2, w1 and b1, of a vector of numbers, over m rows.

    d: deltas of the outputs, `step` bytes apart as their factors are; c: the gradient's place, laid
    out as w; left: how many numbers there are.
    """

    def codegen(context, builder, sig, args):
        x, x_row, d, d_row, step, rows, w, row, frequencies, k, factors, c, left, alpha, beta = args
        own, at = _Vectors(builder, target, itemsize), _Parameters(w, row, frequencies, outputs)
        scales = [own.load(factors, (m, step)) for m in range(outputs)]
        weights = [own.load(w, at.weight(builder, k, m)) for m in range(outputs)]
        mixed = [own.times(*pair) for pair in zip(weights, scales, strict=True)]
        frequency, phase = (own.load(w, part(builder, k)) for part in (at.frequency, at.phase))
        nothing = own.constant(0.0)
        sums = [own.sum_of(nothing) for _ in range(outputs + 2)]
        with cgutils.for_range(builder, rows) as loop:
            r = loop.index
            given = own.load(x, (r, x_row))
            deltas = [own.load(d, (r, d_row), (m, step)) for m in range(outputs)]
            f = own.turn(frequency, given, phase)
            value = own.cosine(f)
            total = own.times(mixed[0], deltas[0])
            for weight, delta in zip(mixed[1:], deltas[1:], strict=True):
                total = own.fuse(weight, delta, total)
            slope = own.times(own.sine(f), total)
            terms = [(value, delta) for delta in deltas] + [(slope, given)]
            for pair, place in zip(terms, sums, strict=False):
                builder.store(own.fuse(*pair, own.value(place)), place)
            builder.store(builder.fadd(own.value(sums[-1]), slope), sums[-1])
        for m, scale in enumerate(scales):
            total = own.times(own.value(sums[m]), scale)
            own.merge(total, alpha, beta, left, c, at.weight(builder, k, m))
        turned = own.times(own.value(sums[-2]), own.constant(-2.0 * math.pi))
        own.merge(turned, alpha, beta, left, c, at.frequency(builder, k))
        own.merge(builder.fneg(own.value(sums[-1])), alpha, beta, left, c, at.phase(builder, k))
        return context.get_dummy_value()

    @intrinsic
    def gradient(
        tyctx, x, x_row, d, d_row, step, m, w, row, frequencies, k, factors, c, left, alpha, beta
    ):
        return types.void(*[types.int64] * 13, types.float64, types.float64), codegen

    return gradient


def make_wave_biases(target: Target, itemsize: int, outputs: int) -> Callable[..., Any]:
    """``biases(d, d_row, step, m, row, frequencies, factors, c, left, alpha, beta)``: b2's."""

    def codegen(context, builder, sig, args):
        d, d_row, step, rows, row, frequencies, factors, c, left, alpha, beta = args
        own, at = _Vectors(builder, target, itemsize), _Parameters(c, row, frequencies, outputs)
        for m in range(outputs):
            total = own.sum_of(own.constant(0.0))
            with cgutils.for_range(builder, rows) as loop:
                delta = own.load(d, (loop.index, d_row), (m, step))
                builder.store(builder.fadd(own.value(total), delta), total)
            scaled = own.times(own.value(total), own.load(factors, (m, step)))
            own.merge(scaled, alpha, beta, left, c, at.bias(builder, m))
        return context.get_dummy_value()

    @intrinsic
    def biases(tyctx, d, d_row, step, m, row, frequencies, factors, c, left, alpha, beta):
        return types.void(*[types.int64] * 9, types.float64, types.float64), codegen

    return biases

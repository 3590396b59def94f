"""The intrinsics: microkernel, transpose, atomics, calls by address. Nothing else knows LLVM IR.

Addresses travel as int64 and every intrinsic turns them into pointers itself, so that Numba's
type system sees integers and floats only. Vector values never leave an intrinsic.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def, type-arg, no-any-return"
from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbmlp.tuning import Target

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
FLOAT = {4: ir.FloatType(), 8: ir.DoubleType()}
NUMBA_FLOAT = {4: types.float32, 8: types.float64}
INT_OF_SIZE = {4: (I32, types.int32), 8: (I64, types.int64)}
IS_X86 = platform.machine().lower() in {"x86_64", "amd64", "i386", "i686"}


# ---------------------------------------------------------------------------- microkernel


def _fma(builder, a, b, c, fused: bool):
    """a*b + c, rounded once where the target can, never reassociated."""
    if not fused:
        return builder.fadd(builder.fmul(a, b), c)
    kind = f"v{a.type.count}f{32 if a.type.element == FLOAT[4] else 64}"
    signature = ir.FunctionType(a.type, [a.type] * 3)
    fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fma.{kind}")
    return builder.call(fma, [a, b, c])


def _splat(builder, scalar, lanes: int):
    vec = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vec, ir.Undefined), mask)


def _offset(builder, pointer, nbytes):
    return builder.gep(pointer, [nbytes], source_etype=I8)


def _tile_function(module, target: Target, itemsize: int, rows: int, vectors: int):
    """Emit ``C = alpha * A.B + beta * C`` for one register tile as a private function.

    A is read as scalars with a stride in both directions, so one kernel serves X.W and X'.dZ;
    B is read and C written in whole vectors. One accumulator per element and one order over k:
    the bits of an element do not depend on the tile that computed it.
    """
    name = f"nbmlp_tile_{itemsize}_{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    scalar, lanes = FLOAT[itemsize], target.lanes(itemsize)
    vec, ptr = ir.VectorType(scalar, lanes), ir.PointerType()
    signature = ir.FunctionType(
        ir.VoidType(), [I64, ptr, I64, I64, ptr, I64, ptr, I64, scalar, scalar]
    )
    fn = ir.Function(module, signature, name)
    fn.linkage = "internal"
    fn.attributes.add("noinline")
    depth, a0, a_row, a_col, b0, b_row, c0, c_row, alpha, beta = fn.args
    entry, loop, done, fresh, merge, end = (
        fn.append_basic_block(n) for n in ("entry", "loop", "done", "fresh", "merge", "end")
    )
    width = lanes * itemsize
    builder = ir.IRBuilder(entry)
    zero = ir.Constant(vec, [0.0] * lanes)
    builder.branch(loop)

    builder.position_at_end(loop)
    k, a, b = builder.phi(I64), builder.phi(ptr), builder.phi(ptr)
    acc = [[builder.phi(vec) for _ in range(vectors)] for _ in range(rows)]
    bs = [
        builder.load(_offset(builder, b, ir.Constant(I64, v * width)), typ=vec, align=width)
        for v in range(vectors)
    ]
    new = []
    for r in range(rows):
        step = builder.mul(a_row, ir.Constant(I64, r))
        x = builder.load(_offset(builder, a, step), typ=scalar, align=itemsize)
        xs = _splat(builder, x, lanes)
        new.append([_fma(builder, xs, bs[v], acc[r][v], target.fma) for v in range(vectors)])
    k1 = builder.add(k, ir.Constant(I64, 1))
    a1, b1 = _offset(builder, a, a_col), _offset(builder, b, b_row)
    builder.cbranch(builder.icmp_signed("<", k1, depth), loop, done)
    for phi, start, following in ((k, ir.Constant(I64, 0), k1), (a, a0, a1), (b, b0, b1)):
        phi.add_incoming(start, entry)
        phi.add_incoming(following, loop)
    for r in range(rows):
        for v in range(vectors):
            acc[r][v].add_incoming(zero, entry)
            acc[r][v].add_incoming(new[r][v], loop)

    def out(r, v):
        return _offset(
            builder, c0,
            builder.add(builder.mul(c_row, ir.Constant(I64, r)), ir.Constant(I64, v * width)),
        )  # fmt: skip

    builder.position_at_end(done)
    alphas, betas = _splat(builder, alpha, lanes), _splat(builder, beta, lanes)
    # beta == 0 must not read C: what lies there may be NaN.
    builder.cbranch(
        builder.fcmp_ordered("==", beta, ir.Constant(scalar, 0.0)), fresh, merge
    )
    builder.position_at_end(fresh)
    for r in range(rows):
        for v in range(vectors):
            builder.store(builder.fmul(alphas, new[r][v]), out(r, v), align=width)
    builder.branch(end)
    builder.position_at_end(merge)
    for r in range(rows):
        for v in range(vectors):
            old = builder.fmul(betas, builder.load(out(r, v), typ=vec, align=width))
            builder.store(_fma(builder, alphas, new[r][v], old, target.fma), out(r, v), align=width)
    builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()
    return fn


def make_tile_call(target: Target, itemsize: int) -> Callable[..., Any]:
    """The microkernel as a function ``tile(rows, vectors, k, A, a_row, a_col, B, b_row, C, c_row,
    alpha, beta)``.

    `rows` (1..max_rows[vectors-1]) and `vectors` are run-time values: one switch picks the tile.
    Addresses and strides are int64, strides in bytes; alpha and beta are of the element type.
    """
    scalar = NUMBA_FLOAT[itemsize]
    ptr = ir.PointerType()

    @intrinsic(prefer_literal=False)
    def tile(tyctx, rows, vectors, k, a, a_row, a_col, b, b_row, c, c_row, alpha, beta):
        sig = types.void(*([types.int64] * 10), scalar, scalar)

        def codegen(context, builder, sig, args):
            rows, vectors, k, a, a_row, a_col, b, b_row, c, c_row, alpha, beta = args
            a, b, c = (builder.inttoptr(p, ptr) for p in (a, b, c))
            after = builder.append_basic_block("tile.after")
            key = builder.add(builder.mul(vectors, ir.Constant(I64, 64)), rows)
            switch = builder.switch(key, after)
            for v, most in enumerate(target.max_rows, start=1):
                for r in range(1, most + 1):
                    case = builder.append_basic_block(f"tile.{r}x{v}")
                    switch.add_case(ir.Constant(I64, v * 64 + r), case)
                    builder.position_at_end(case)
                    fn = _tile_function(builder.module, target, itemsize, r, v)
                    builder.call(fn, [k, a, a_row, a_col, b, b_row, c, c_row, alpha, beta])
                    builder.branch(after)
            builder.position_at_end(after)
            return context.get_dummy_value()

        return sig, codegen

    return tile

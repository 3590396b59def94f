"""The intrinsics: microkernel, transpose, threads, calls by address.

Beside `_reduce`, nothing else knows LLVM IR.

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


def fuse(builder, a, b, c, fused: bool):
    """a*b + c, rounded once where the target can, never reassociated."""
    if not fused:
        return builder.fadd(builder.fmul(a, b), c)
    lanes = f"v{a.type.count}" if isinstance(a.type, ir.VectorType) else ""
    kind = f"{lanes}f{32 if getattr(a.type, 'element', a.type) == FLOAT[4] else 64}"
    signature = ir.FunctionType(a.type, [a.type] * 3)
    fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fma.{kind}")
    return builder.call(fma, [a, b, c])


def make_fuse(target: Target, itemsize: int) -> Callable[..., Any]:
    """``fuse(a, b, c)``: a*b + c of scalars as the microkernel computes it."""
    kind = NUMBA_FLOAT[itemsize]

    @intrinsic
    def fused(tyctx, a, b, c):
        def codegen(context, builder, sig, args):
            return fuse(builder, args[0], args[1], args[2], target.fma)

        return kind(kind, kind, kind), codegen

    return fused


def _splat(builder, scalar, lanes: int):
    vec = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vec, ir.Undefined), mask)


def offset(builder, pointer, nbytes):
    return builder.gep(pointer, [nbytes], source_etype=I8)


def _opaque(builder, value):
    """The same value, its origin hidden from the optimiser."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)


def _merge(builder, sums, c, alpha, beta, fused: bool):
    """C = alpha * sums + beta * C, C's first row at c[0], its rows c[1] bytes apart."""
    vec = sums[0][0].type
    lanes, width = vec.count, vec.count * (4 if vec.element == FLOAT[4] else 8)
    alphas, betas = _splat(builder, alpha, lanes), _splat(builder, beta, lanes)
    places = [
        (total, offset(builder, offset(builder, c[0], row), ir.Constant(I64, v * width)))
        for r, totals in enumerate(sums)
        for row in [builder.mul(c[1], ir.Constant(I64, r))]
        for v, total in enumerate(totals)
    ]
    # beta == 0 must not read C: what lies there may be NaN.
    fresh = builder.fcmp_ordered("==", beta, ir.Constant(alpha.type, 0.0))
    with builder.if_else(fresh) as (store, merge):
        with store:
            for total, place in places:
                builder.store(builder.fmul(alphas, total), place, align=width)
        with merge:
            for total, place in places:
                old = builder.fmul(betas, builder.load(place, typ=vec, align=width))
                builder.store(fuse(builder, alphas, total, old, fused), place, align=width)


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
    entry, loop, done = (fn.append_basic_block(n) for n in ("entry", "loop", "done"))
    width = lanes * itemsize
    builder = ir.IRBuilder(entry)
    zero = ir.Constant(vec, [0.0] * lanes)
    # LLVM's strength reduction turns the row addresses into one chain of `rows` additions. Three
    # vectors per row hide it (rows < 1.5*rows cycles of FMA); fewer do not: hide the strides.
    hide = _opaque if vectors < 3 else lambda _, value: value
    row_step = [hide(builder, builder.mul(a_row, ir.Constant(I64, r))) for r in range(4)]
    a_first = [builder.mul(a_row, ir.Constant(I64, r)) for r in range(0, rows, 4)]
    a_start = [offset(builder, a0, hide(builder, first)) for first in a_first]
    builder.branch(loop)

    builder.position_at_end(loop)
    k, b = builder.phi(I64), builder.phi(ptr)
    a = [builder.phi(ptr) for _ in range(0, rows, 4)]
    acc = [[builder.phi(vec) for _ in range(vectors)] for _ in range(rows)]
    bs = [
        builder.load(offset(builder, b, ir.Constant(I64, v * width)), typ=vec, align=width)
        for v in range(vectors)
    ]
    new = []
    for r in range(rows):
        x = builder.load(offset(builder, a[r // 4], row_step[r % 4]), typ=scalar, align=itemsize)
        xs = _splat(builder, x, lanes)
        new.append([fuse(builder, xs, bs[v], acc[r][v], target.fma) for v in range(vectors)])
    k1 = builder.add(k, ir.Constant(I64, 1))
    moving = [(k, ir.Constant(I64, 0), k1), (b, b0, offset(builder, b, b_row))]
    moving += [(p, start, offset(builder, p, a_col)) for p, start in zip(a, a_start, strict=True)]
    builder.cbranch(builder.icmp_signed("<", k1, depth), loop, done)
    for phi, start, following in moving:
        phi.add_incoming(start, entry)
        phi.add_incoming(following, loop)
    for r in range(rows):
        for v in range(vectors):
            acc[r][v].add_incoming(zero, entry)
            acc[r][v].add_incoming(new[r][v], loop)

    builder.position_at_end(done)
    _merge(builder, new, (c0, c_row), alpha, beta, target.fma)
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


# ------------------------------------------------------------------------------- addresses


@intrinsic
def call(tyctx, address, arguments):
    """Call the piece at `address` with a tuple of int64 and float64; it returns int64."""
    known = {types.int64: I64, types.float64: FLOAT[8]}
    kinds = [types.float64 if isinstance(t, types.Float) else types.int64 for t in arguments]
    sig = types.int64(types.int64, arguments)

    def codegen(context, builder, sig, args):
        target, values = args
        unpacked = cgutils.unpack_tuple(builder, values, len(kinds))
        cast = [
            context.cast(builder, value, given, wanted)
            for value, given, wanted in zip(unpacked, arguments, kinds, strict=True)
        ]
        signature = ir.FunctionType(I64, [known[k] for k in kinds])
        return builder.call(builder.inttoptr(target, signature.as_pointer()), cast)

    return sig, codegen


def make_pointer(element: types.Type) -> Callable[..., Any]:
    """``pointer(address)``: a typed pointer to `element`, for ``carray``."""

    @intrinsic
    def pointer(tyctx, address):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(element)(types.int64), codegen

    return pointer


def make_bits(itemsize: int) -> Callable[..., Any]:
    """``bits(x)``: the bits of a float as a signed integer of the same size."""
    ir_int, nb_int = INT_OF_SIZE[itemsize]

    @intrinsic
    def bits(tyctx, x):
        def codegen(context, builder, sig, args):
            return builder.bitcast(args[0], ir_int)

        return nb_int(NUMBA_FLOAT[itemsize]), codegen

    return bits


def make_from_bits(itemsize: int) -> Callable[..., Any]:
    """``from_bits(n)``: the float whose bits are the integer `n`."""
    _, nb_int = INT_OF_SIZE[itemsize]

    @intrinsic
    def from_bits(tyctx, n):
        def codegen(context, builder, sig, args):
            return builder.bitcast(args[0], FLOAT[itemsize])

        return NUMBA_FLOAT[itemsize](nb_int), codegen

    return from_bits


# ---------------------------------------------------------------------------------- threads


@intrinsic
def atomic_add(tyctx, address, value):
    """Add to the int64 at `address`; returns what was there. Acquires and releases."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.PointerType())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(tyctx, address):
    """The int64 at `address`; acquires."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.PointerType())
        return builder.load_atomic(pointer, "acquire", 8, typ=I64)

    return types.int64(types.int64), codegen


@intrinsic
def atomic_store(tyctx, address, value):
    """Set the int64 at `address`; releases."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def pause(tyctx):
    """Tell the core that this is a spin loop."""

    def codegen(context, builder, sig, args):
        if IS_X86:
            fn = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(fn, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def prefetch(tyctx, address):
    """Ask for the cache line at `address`, which need not be readable."""

    def codegen(context, builder, sig, args):
        signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(), I32, I32, I32])
        fn = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(I32, n) for n in (0, 3, 1))
        builder.call(fn, [builder.inttoptr(args[0], ir.PointerType()), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def yield_core(tyctx):
    """Let another thread have this core."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def codegen(context, builder, sig, args):
        fn = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), name)
        builder.call(fn, [])
        return context.get_dummy_value()

    return types.void(), codegen


# -------------------------------------------------------------------------------- transpose


def make_transpose(target: Target, itemsize: int) -> Callable[..., Any]:
    """``transpose(source, source_row, to, to_row)``: one square block of a vector's lanes.

    log2(lanes) rounds of pairwise shuffles in registers: strided scalar stores would cost as
    much as a matrix product. Strides in bytes, rows aligned to whole vectors.
    """
    lanes, scalar = target.lanes(itemsize), FLOAT[itemsize]
    vec, width = ir.VectorType(scalar, lanes), target.vector_bytes

    def codegen(context, builder, sig, args):
        source, source_row, to, to_row = args
        source, to = (builder.inttoptr(p, ir.PointerType()) for p in (source, to))

        def row(base, stride, r):
            return offset(builder, base, builder.mul(stride, ir.Constant(I64, r)))

        x = [builder.load(row(source, source_row, r), typ=vec, align=width) for r in range(lanes)]
        step = 1
        while step < lanes:
            for i in range(lanes):
                if i & step:
                    continue
                low = [j if not j & step else lanes + j - step for j in range(lanes)]
                high = [j + step if not j & step else lanes + j for j in range(lanes)]
                mask = ir.VectorType(I32, lanes)
                pair = x[i], x[i + step]
                x[i] = builder.shuffle_vector(*pair, ir.Constant(mask, low))
                x[i + step] = builder.shuffle_vector(*pair, ir.Constant(mask, high))
            step *= 2
        for r in range(lanes):
            builder.store(x[r], row(to, to_row, r), align=width)
        return context.get_dummy_value()

    @intrinsic
    def transpose(tyctx, source, source_row, to, to_row):
        return types.void(*[types.int64] * 4), codegen

    return transpose

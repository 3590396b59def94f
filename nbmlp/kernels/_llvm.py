"""The intrinsics: transpose, threads, calls by address, prefetch.

Beside `_tile`, `_wave` and `_reduce`, nothing else knows LLVM IR.

Addresses travel as int64 and every intrinsic turns them into pointers itself, so that Numba's
type system sees integers and floats only. Vector values never leave an intrinsic.
"""

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


# --------------------------------------------------------------------------------- values


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


def splat(builder, scalar, lanes: int):
    vec = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vec, ir.Undefined), scalar, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vec, ir.Undefined), mask)


def offset(builder, pointer, nbytes):
    return builder.gep(pointer, [nbytes], source_etype=I8)


# ------------------------------------------------------------------------------- addresses


def make_call(kinds: tuple[types.Type, ...]) -> Callable[..., Any]:
    """What calls the function at an address with arguments of these kinds; it returns int64.

    By Numba's convention: the result, and an exception that is never raised, are stored at two
    addresses that come first.
    """
    known = {types.int64: I64, types.float64: FLOAT[8]}
    places = [ir.PointerType(), ir.PointerType()]
    signature = ir.FunctionType(ir.IntType(32), places + [known[kind] for kind in kinds])

    def codegen(context, builder, sig, args):
        address, *values = args
        result = cgutils.alloca_once(builder, I64)
        raised = cgutils.alloca_once(builder, ir.PointerType())
        function = builder.inttoptr(address, signature.as_pointer())
        builder.call(function, [result, raised, *values])
        return builder.load(result, typ=I64)

    return codegen


def make_c_call(count: int) -> Callable[..., Any]:
    """What calls a C function at an address that returns an int, with so many arguments.

    They are addresses, or ints of whose register or place in memory the lower half is read.
    """
    signature = ir.FunctionType(I32, [I64] * count)

    def codegen(context, builder, sig, args):
        address, *values = args
        function = builder.inttoptr(address, signature.as_pointer())
        return builder.sext(builder.call(function, values), I64)

    return codegen


def make_read(kind: Any) -> Callable[..., Any]:
    """``read(address)``: float64 numbers from an address on, as a named tuple of that kind.

    They are values: what is written meanwhile cannot change them, and LLVM knows it.
    """
    result = types.NamedUniTuple(types.float64, len(kind._fields), kind)

    @intrinsic
    def read(tyctx, address):
        def codegen(context, builder, sig, args):
            first = builder.inttoptr(args[0], ir.PointerType())
            places = [offset(builder, first, ir.Constant(I64, 8 * i)) for i in range(len(result))]
            values = [builder.load(place, typ=FLOAT[8], align=8) for place in places]
            return context.make_tuple(builder, sig.return_type, values)

        return result(types.int64), codegen

    return read


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


def ask_for(builder, pointer):
    """Ask for the cache line at a pointer, which need not be readable."""
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(), I32, I32, I32])
    fn = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    read, keep, data = (ir.Constant(I32, n) for n in (0, 3, 1))
    builder.call(fn, [pointer, read, keep, data])


@intrinsic
def prefetch(tyctx, address):
    """Ask for the cache line at `address`, which need not be readable."""

    def codegen(context, builder, sig, args):
        ask_for(builder, builder.inttoptr(args[0], ir.PointerType()))
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

"""The microkernel: a register tile of a matrix product, ``C = alpha * A.B + beta * C``.

A is read as scalars, B and C in whole vectors. One accumulator per element and one order over k:
the bits of an element depend neither on the tile that computed it nor on how A is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nbmlp.kernels._llvm import FLOAT, I64, NUMBA_FLOAT, ask_for, fuse, offset, splat
from nbmlp.tuning import ADDRESSED_ROWS, LINE_BYTES, Target

__all__ = ["make_tile_call"]


def _number(value: int):
    return ir.Constant(I64, value)


def _opaque(builder, value):
    """The same value, its origin hidden from the optimiser."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)


class _Strided:
    """A[r, k] at a + r * a_row + k * a_col: one kernel serves X.W and X'.dZ."""

    arguments = 3

    def __init__(self, builder, a, rows: int, vectors: int, itemsize: int) -> None:
        first, a_row, self.step = a
        first = builder.inttoptr(first, ir.PointerType())
        # LLVM's strength reduction turns the row addresses into one chain of `rows` additions, or
        # into more offsets than there are registers. Three vectors per row hide the chain
        # (rows < 1.5*rows cycles of FMA); fewer: hide the strides, and how places move.
        self.hide = hide = _opaque if vectors < 3 else lambda _, value: value
        multiples = [builder.mul(a_row, _number(r)) for r in range(rows)]
        self.rows = [hide(builder, multiple) for multiple in multiples[:4]]
        self.start = [offset(builder, first, hide(builder, m)) for m in multiples[::4]]

    def enter(self, builder):
        self.fours = [builder.phi(start.type) for start in self.start]

    def accompany(self, builder):
        """What is done beside a step."""

    def place(self, builder, r: int):
        return offset(builder, self.fours[r // 4], self.rows[r % 4])

    def leave(self, builder):
        """The values that change from step to step: each with its first and its next."""
        moved = [self.hide(builder, offset(builder, place, self.step)) for place in self.fours]
        return list(zip(self.fours, self.start, moved, strict=True))


class _ByAddress:
    """A[r, k] is element k of the row whose address is in place r of a list.

    Beside that, at every eighth byte, two cache lines are moved, of one row after the other.
    Another list names rows that will be read soon: a line of one of them is asked for, so that
    nobody need wait for memory then. And one of the rows at hand is copied, to rows `to_row` apart.
    soon_bytes, copied : bytes of a row that are asked for, and copied (whole lines); 0 for none.
    """

    arguments = 6

    def __init__(self, builder, a, rows: int, vectors: int, itemsize: int) -> None:
        places, soon, self.soon_bytes, to, self.to_row, self.copied = a
        self.places, self.soon, self.to = (
            builder.inttoptr(p, ir.PointerType()) for p in (places, soon, to)
        )
        self.size, self.count = itemsize, rows
        more = builder.icmp_unsigned(">", self.copied, self.soon_bytes)
        self.moved = builder.select(more, self.copied, self.soon_bytes)
        self.rows = [self._entry(builder, self.places, _number(8 * r)) for r in range(rows)]

    @staticmethod
    def _entry(builder, places, at):
        return builder.load(offset(builder, places, at), typ=ir.PointerType(), align=8)

    def enter(self, builder):
        self.at = builder.phi(I64)

    def accompany(self, builder):
        # Before the step's own loads: a store after them would keep them all in registers.
        eighth = builder.icmp_unsigned("==", builder.and_(self.at, _number(7)), _number(0))
        moves = builder.icmp_unsigned("<", self.at, self.moved)
        with builder.if_then(builder.and_(eighth, moves), likely=False):
            self._move(builder)

    def place(self, builder, r: int):
        return offset(builder, self.rows[r], self.at)

    def leave(self, builder):
        return [(self.at, _number(0), builder.add(self.at, _number(self.size)))]

    def _move(self, builder):
        """Line `at // LINE_BYTES` of row `at // 8 % ADDRESSED_ROWS`."""
        entry = builder.and_(self.at, _number(8 * (ADDRESSED_ROWS - 1)))
        line = builder.and_(self.at, _number(-LINE_BYTES))
        with builder.if_then(builder.icmp_unsigned("<", self.at, self.soon_bytes)):
            ask_for(builder, offset(builder, self._entry(builder, self.soon, entry), line))
        here = builder.icmp_unsigned("<", entry, _number(8 * self.count))
        copies = builder.icmp_unsigned("<", self.at, self.copied)
        with builder.if_then(builder.and_(here, copies)):
            vec = ir.VectorType(FLOAT[self.size], LINE_BYTES // self.size)
            source = offset(builder, self._entry(builder, self.places, entry), line)
            row = builder.mul(builder.lshr(entry, _number(3)), self.to_row)
            to = offset(builder, offset(builder, self.to, row), line)
            builder.store(builder.load(source, typ=vec, align=self.size), to, align=LINE_BYTES)


#: How A is read: through two strides, or row by row from a list of their addresses.
_READERS: dict[str, Any] = {"strided": _Strided, "by_address": _ByAddress}


def _merge(builder, sums, c, alpha, beta, fused: bool):
    """C = alpha * sums + beta * C, C's first row at c[0], its rows c[1] bytes apart."""
    vec = sums[0][0].type
    lanes, width = vec.count, vec.count * (4 if vec.element == FLOAT[4] else 8)
    alphas, betas = splat(builder, alpha, lanes), splat(builder, beta, lanes)
    places = [
        (total, offset(builder, offset(builder, c[0], row), _number(v * width)))
        for r, totals in enumerate(sums)
        for row in [builder.mul(c[1], _number(r))]
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


def _tile_function(module, target: Target, itemsize: int, rows: int, vectors: int, reading: str):
    """Emit one register tile as a private function.

    Its arguments: what its reader wants, then depth, B, C, alpha and beta.
    """
    name = f"nbmlp_tile_{reading}_{itemsize}_{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    scalar, lanes = FLOAT[itemsize], target.lanes(itemsize)
    vec, ptr = ir.VectorType(scalar, lanes), ir.PointerType()
    read = [I64] * _READERS[reading].arguments
    signature = ir.FunctionType(ir.VoidType(), [*read, I64, ptr, I64, ptr, I64, scalar, scalar])
    fn = ir.Function(module, signature, name)
    fn.linkage = "internal"
    fn.attributes.add("noinline")
    depth, b0, b_row, c0, c_row, alpha, beta = fn.args[len(read) :]
    entry, loop, done = (fn.append_basic_block(n) for n in ("entry", "loop", "done"))
    width = lanes * itemsize
    builder = ir.IRBuilder(entry)
    zero = ir.Constant(vec, [0.0] * lanes)
    a = _READERS[reading](builder, fn.args[: len(read)], rows, vectors, itemsize)
    builder.branch(loop)

    builder.position_at_end(loop)
    k, b = builder.phi(I64), builder.phi(ptr)
    acc = [[builder.phi(vec) for _ in range(vectors)] for _ in range(rows)]
    a.enter(builder)
    a.accompany(builder)
    bs = [
        builder.load(offset(builder, b, _number(v * width)), typ=vec, align=width)
        for v in range(vectors)
    ]
    new = []
    for r in range(rows):
        x = builder.load(a.place(builder, r), typ=scalar, align=itemsize)
        xs = splat(builder, x, lanes)
        new.append([fuse(builder, xs, bs[v], acc[r][v], target.fma) for v in range(vectors)])
    k1 = builder.add(k, _number(1))
    moving = [(k, _number(0), k1), (b, b0, offset(builder, b, b_row))]
    moving += a.leave(builder)
    latch = builder.block
    builder.cbranch(builder.icmp_signed("<", k1, depth), loop, done)
    for phi, start, following in moving:
        phi.add_incoming(start, entry)
        phi.add_incoming(following, latch)
    for r in range(rows):
        for v in range(vectors):
            acc[r][v].add_incoming(zero, entry)
            acc[r][v].add_incoming(new[r][v], latch)

    builder.position_at_end(done)
    _merge(builder, new, (c0, c_row), alpha, beta, target.fma)
    builder.ret_void()
    return fn


def make_tile_call(
    target: Target, itemsize: int, max_rows: tuple[int, ...], reading: str
) -> Callable[..., Any]:
    """The microkernel as a function ``tile(rows, vectors, A, k, B, b_row, C, c_row, alpha, beta)``.

    `rows` (1..max_rows[vectors-1]) and `vectors` are run-time values: one switch picks the tile.
    A is a tuple of what its reader wants: an address and the strides of rows and columns; or the
    addresses of two lists, the bytes of a row in the second, and where to copy rows: an address,
    a stride and the bytes of each. All are int64 and bytes; alpha and beta are of the element type.
    """
    scalar = NUMBA_FLOAT[itemsize]
    ptr, count = ir.PointerType(), _READERS[reading].arguments

    @intrinsic(prefer_literal=False)
    def tile(tyctx, rows, vectors, a, k, b, b_row, c, c_row, alpha, beta):
        integer = types.int64
        sig = types.void(
            integer, integer, types.UniTuple(integer, count), *([integer] * 5), scalar, scalar
        )

        def codegen(context, builder, sig, args):
            rows, vectors, a, k, b, b_row, c, c_row, alpha, beta = args
            a = cgutils.unpack_tuple(builder, a, count)
            b, c = (builder.inttoptr(p, ptr) for p in (b, c))
            after = builder.append_basic_block("tile.after")
            key = builder.add(builder.mul(vectors, _number(64)), rows)
            switch = builder.switch(key, after)
            for v, most in enumerate(max_rows, start=1):
                for r in range(1, most + 1):
                    case = builder.append_basic_block(f"tile.{r}x{v}")
                    switch.add_case(_number(v * 64 + r), case)
                    builder.position_at_end(case)
                    fn = _tile_function(builder.module, target, itemsize, r, v, reading)
                    builder.call(fn, [*a, k, b, b_row, c, c_row, alpha, beta])
                    builder.branch(after)
            builder.position_at_end(after)
            return context.get_dummy_value()

        return sig, codegen

    return tile

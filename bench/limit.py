"""What the machine can do: its peak of fused multiply-adds, and its copy bandwidth.

The peak is measured, not looked up, by a loop of independent vector FMAs that touches no memory.
It runs on plain threads without the GIL, so no threading layer's start-up is in the figure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nbmlp.tuning import Target, detect

__all__ = ["Limit", "bandwidth", "fma_gflops", "measure"]

#: A batch of loop rounds between two looks at the clock: about a millisecond.
ROUNDS = 200_000
COPY_BYTES = 64 << 20


def _accumulators(target: Target) -> int:
    """As many as the registers hold beside the two operands: 28 of 32, 12 of 16.

    Latency times throughput (4 cycles x 2 per cycle) asks for at least 8; a core with two
    FMA ports and 5 cycles for 10.
    """
    return 28 if target.name == "avx512" else 12


def flops_per_round(target: Target) -> int:
    """Single-precision operations of one round of the loop: a multiply and an add per lane."""
    return 2 * target.lanes(4) * _accumulators(target)


@cache
def _kernel() -> Callable[[int], float]:
    """Compile ``burn(rounds)``: acc <- acc*x + y in every accumulator, `rounds` times.

    With x = 0.5 and y = 1 every lane tends to 2: no overflow, no denormals. The sum is returned
    so that nothing is dead.
    """
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    target = detect()
    lanes, count = target.lanes(4), _accumulators(target)
    scalar, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    vec = ir.VectorType(scalar, lanes)

    def multiply_add(builder: Any, acc: Any, x: Any, y: Any) -> Any:
        if not target.fma:
            return builder.fadd(builder.fmul(acc, x), y)
        kind = ir.FunctionType(vec, [vec] * 3)
        name = f"llvm.fma.v{lanes}f32"
        fma = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(fma, [acc, x, y])

    @intrinsic
    def fma_rounds(tyctx: Any, rounds: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            x, y = ir.Constant(vec, [0.5] * lanes), ir.Constant(vec, [1.0] * lanes)
            entry = builder.block
            loop, done = (builder.append_basic_block(n) for n in ("fma.loop", "fma.done"))
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(i64)
            acc = [builder.phi(vec) for _ in range(count)]
            new = [multiply_add(builder, a, x, y) for a in acc]
            k1 = builder.add(k, ir.Constant(i64, 1))
            builder.cbranch(builder.icmp_signed("<", k1, args[0]), loop, done)
            k.add_incoming(ir.Constant(i64, 0), entry)
            k.add_incoming(k1, loop)
            for i, (a, following) in enumerate(zip(acc, new, strict=True)):
                # Unlike starts, none of them 2: LLVM folds equal ones and the fixed point.
                a.add_incoming(ir.Constant(vec, [3.0 + i] * lanes), entry)
                a.add_incoming(following, loop)
            builder.position_at_end(done)
            total = new[0]
            for value in new[1:]:
                total = builder.fadd(total, value)
            return builder.extract_element(total, ir.Constant(i32, 0))

        return types.float32(types.int64), codegen

    @njit(nogil=True)
    def burn(rounds: int) -> float:
        return fma_rounds(rounds)  # type: ignore[no-any-return]

    burn(1)
    return burn


def _together(work: Callable[[float], int], threads: int, seconds: float) -> float:
    """Run `work(deadline)` on several threads at once; the sum of their units per second."""
    done, clocks = [0] * threads, [(0.0, 0.0)] * threads
    start = threading.Barrier(threads)

    def body(i: int) -> None:
        start.wait()
        begin = time.perf_counter()
        done[i] = work(begin + seconds)
        clocks[i] = begin, time.perf_counter()

    workers = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return sum(done) / (max(end for _, end in clocks) - min(begin for begin, _ in clocks))


def fma_gflops(threads: int = 1, seconds: float = 0.1) -> float:
    """Peak of float32 fused multiply-adds, in GFLOP/s of all threads together.

    Parameters
    ----------
    threads : int
    seconds : float
        How long to measure.
    """
    burn = _kernel()

    def work(deadline: float) -> int:
        rounds = 0
        while time.perf_counter() < deadline:
            burn(ROUNDS)
            rounds += ROUNDS
        return rounds

    return _together(work, threads, seconds) * flops_per_round(detect()) / 1e9


def bandwidth(threads: int = 1, seconds: float = 0.1) -> float:
    """Memory copy bandwidth in GB/s of all threads together, bytes read plus bytes written."""
    size = COPY_BYTES // threads
    buffers = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(threads)]

    def work(deadline: float) -> int:
        source, target = buffers.pop()
        copied = 0
        while time.perf_counter() < deadline:
            np.copyto(target, source)
            copied += 2 * size
        return copied

    return _together(work, threads, seconds) / 1e9


@dataclass(frozen=True)
class Limit:
    """What one machine can do.

    Attributes
    ----------
    threads : int
        All that this process may use.
    one, all : float
        FMA peak in float32 GFLOP/s of one thread and of all.
    copy_one, copy_all : float
        Copy bandwidth in GB/s.
    target : str
        Instruction set of the loop.
    clock : float
        GHz that `one` implies at two vector multiply-adds per cycle: a figure far off the CPU's
        clock means another number of ports, or a disturbed measurement.
    """

    threads: int
    one: float
    all: float
    copy_one: float
    copy_all: float
    target: str
    clock: float


def measure(threads: int, seconds: float = 0.1) -> Limit:
    """Measure the limit, best of three.

    Parameters
    ----------
    threads : int
        How many make "all".
    seconds : float
        Of each single measurement.
    """

    def best(rate: Callable[[int, float], float], n: int) -> float:
        return max(rate(n, seconds) for _ in range(3))

    one, target = best(fma_gflops, 1), detect()
    per_cycle = 2 * 2 * target.lanes(4)
    return Limit(
        threads, one, best(fma_gflops, threads), best(bandwidth, 1), best(bandwidth, threads),
        target.name, one / per_cycle,
    )  # fmt: skip

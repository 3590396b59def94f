"""CPU features -> vector width, register tiles, blocking: the one table of machine numbers.

Everything here is integer arithmetic over strings; neither numba nor llvmlite is imported
until a target is asked for, so that ``import nbmlp`` stays light.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

__all__ = [
    "ALIGN",
    "PANEL_BYTES",
    "Target",
    "available_threads",
    "detect",
    "limit_threads",
    "target_features",
]

#: Rows of every matrix are padded to whole panels of this many bytes (16 float32, 8 float64).
PANEL_BYTES = 64
#: Alignment of every arena and buffer, in bytes.
ALIGN = 64
#: Bytes of a cache line.
LINE_BYTES = 64
#: Rows that one thread takes through all layers before the next rows (activations stay in L2).
ROW_BLOCK = 96
#: Rows of one sub-batch: a larger batch accumulates its gradient over several of them.
SUB_BATCH = 512
#: Floating-point operations of a sub-batch: Ctrl-C waits for its end (0.1 s on a slow core).
SUB_BATCH_FLOPS = 4_000_000_000
#: Rows of a step up to which threads share the columns of even layers instead of the rows ...
COLUMN_ROWS = 300
#: ... and the share of a step that columns cost more than rows even then.
COLUMN_COST = 0.01
#: Panels that each thread needs for that; a layer with fewer is cut by rows.
COLUMN_PANELS = 3
#: Parts of the units below outputs of one panel whose products are added up at last: so many
#: threads, if they cut the layer below by columns, have a part each.
CHUNKS = 2
#: Panels of units from which outputs are summed in parts.
CHUNKED_PANELS = 12
#: Most units of an output layer whose products run along the other axis.
NARROW = 4
#: Sparse rows of so many columns, of which at most one in so many has a value, are multiplied value
#: by value.
THIN_COLUMNS, THIN_SHARE = 64, 16
#: Panels of inputs from which rows are multiplied where they lie.
ADDRESSED_PANELS = 8
#: Most rows of a tile that reads rows by their addresses; it asks memory for as many behind it.
ADDRESSED_ROWS = 8
#: Rows of the first layer's W that threads share out as one: those of a tile.
BLOCK_ROWS = 8
#: Rows of tables of categories that threads share out as one.
TABLE_ROWS = 64
#: Elements of weights whose gradient is computed in one product before they are updated.
GRADIENT_BLOCK = 65536
#: Seconds that one parallel region may take: Ctrl-C, progress and callbacks wait for its end.
REGION_SECONDS = 0.15
#: Floating-point operations of a step below which a further thread does not pay.
FLOPS_PER_THREAD = 60_000


@dataclass(frozen=True)
class Target:
    """What the microkernel generator needs to know of one instruction set.

    Attributes
    ----------
    name : str
        ``"avx512"``, ``"avx2"`` or ``"generic"``.
    vector_bytes : int
        Width of one vector register in bytes.
    fma : bool
        Fused multiply-add exists; else separate multiply and add are emitted.
    max_rows : tuple of int
        ``max_rows[v - 1]`` rows fit a register tile of ``v`` vectors: ``rows*v`` accumulators,
        ``v`` registers for B and at least one for the broadcast element of A.
    """

    name: str
    vector_bytes: int
    fma: bool
    max_rows: tuple[int, ...]

    def lanes(self, itemsize: int) -> int:
        """Elements of one vector for elements of `itemsize` bytes."""
        return self.vector_bytes // itemsize


# AVX-512 has 32 registers: 8x3 = 24, 14x2 = 28, 16x1 accumulators; 16 in the others.
AVX512 = Target("avx512", 64, True, (16, 14, 8))
AVX2 = Target("avx2", 32, True, (8, 6))
GENERIC = Target("generic", 16, False, (8, 6))


def target_features() -> frozenset[str]:
    """Names of the CPU features that the compiled code may use.

    ``NUMBA_CPU_FEATURES`` (``"+avx2,-avx512f"``) replaces the machine's own, as in Numba.
    """
    forced = os.environ.get("NUMBA_CPU_FEATURES")
    if forced is not None:
        return frozenset(f[1:] for f in forced.split(",") if f.startswith("+"))
    from llvmlite import binding

    return frozenset(name for name, on in binding.get_host_cpu_features().items() if on)


@functools.cache
def detect() -> Target:
    """The target of this process. An intrinsic that the CPU lacks would kill it: gate here."""
    features = target_features()
    if {"avx512f", "fma"} <= features or {"avx512f", "avx512vl"} <= features:
        return AVX512
    if {"avx2", "fma"} <= features:
        return AVX2
    return GENERIC


_limit: int | None = None


def limit_threads(most: int | None) -> None:
    """Let this process use no more threads than that, for good; None takes the limit away.

    ``NUMBA_NUM_THREADS`` must not be changed once Numba has started its threads.
    """
    global _limit
    _limit = most


def granted_threads() -> int | None:
    """The limit, or ``NUMBA_NUM_THREADS``, which joblib sets for its processes; None without."""
    given = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    granted = max(1, int(given)) if given.isdecimal() else None
    return min((n for n in (_limit, granted) if n is not None), default=None)


def available_threads() -> int:
    """Threads this process may use: CPU affinity, capped by the cgroup's quota and by grants."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        count = os.cpu_count() or 1
    return max(1, min(count, _cgroup_quota() or count, granted_threads() or count))


def _cgroup_quota() -> int | None:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as f:
            quota, period = f.read().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None

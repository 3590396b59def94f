"""The sum over processes that train together, by MPI's own functions, called by address.

Each process has summed whole subtrees of the tree over the shards (`plan/shards.py`). By one
Allgatherv all are told the losses of all shards and who cannot go on; one Alltoallv gives each its
slice of all subtrees, which it adds up by the upper end of the tree; one Allgatherv gives the sum
to all. An addition of the tree has the same bits wherever it is made.

Nothing here holds the interpreter's lock: threads of Python go on while a process waits for others.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from nbmlp.kernels import abi
from nbmlp.kernels._jit import inner, piece
from nbmlp.kernels._llvm import make_c_call
from nbmlp.kernels.records import TREE
from nbmlp.kernels.vecmath import vector_of

__all__: list[str] = []

_bytes, _counts, _words = vector_of("uint8"), vector_of("int32"), vector_of("int64")
_doubles, _trees = vector_of("float64"), vector_of(TREE)
_int = types.int64


@intrinsic
def _allgatherv(tyctx, address, sent, count, kind, got, counts, starts, kinds, comm):
    """Everybody gets what each has sent; returns MPI's code, 0 where all is well."""
    return _int(*[_int] * 9), make_c_call(8)


@intrinsic
def _alltoallv(tyctx, address, sent, to, at, kind, got, counts, starts, kinds, comm):
    """Everybody gets what each has sent to it; returns MPI's code, 0 where all is well."""
    return _int(*[_int] * 10), make_c_call(9)


@inner
def _tell_losses(own, lost):
    """Losses and weights of all shards; returns how many cannot go on, if MPI says no error."""
    said, sums = _doubles(own.said, own.n_said), _doubles(own.shard_sums, 2 * own.shards)
    for i in range(own.n_said - 1):
        said[i] = sums[2 * own.first_shard + i]
    said[own.n_said - 1] = lost
    own.code = _allgatherv(
        own.allgatherv, own.said, own.n_said, own.doubles, own.heard, own.heard_counts,
        own.heard_starts, own.doubles, own.comm,
    )  # fmt: skip
    if own.code != 0:
        return 1.0
    counts, heard, at, to, total = _counts(own.heard_counts, own.processes), own.heard, 0, 0, 0.0
    for k in range(own.processes):
        values = _doubles(heard + at * 8, counts[k])
        for i in range(counts[k] - 1):
            sums[to + i] = values[i]
        total += values[counts[k] - 1]
        at += counts[k]
        to += counts[k] - 1
    return total


@inner
def _copy_together(own):
    """Slices of all subtrees here, each process's one after the other."""
    lengths, starts = _counts(own.lengths, own.processes), _counts(own.starts, own.processes)
    to = own.sent
    for k in range(own.processes):
        n = lengths[k] * own.size
        for part in range(own.n_parts):
            given = _bytes(own.parts + part * own.arena + starts[k] * own.size, n)
            taken = _bytes(to, n)
            for i in range(n):
                taken[i] = given[i]
            to += n


@inner
def _add_up(own):
    """The upper end of the tree, of this process's slice; its sum is the first row then."""
    pairs, row = _words(own.additions, 2 * own.n_additions), own.length * own.size
    for k in range(own.n_additions):
        to, other = own.got + pairs[2 * k] * row, own.got + pairs[2 * k + 1] * row
        abi.add(own.add, g=to, other=other, rows=1, row=row, panels=own.length // own.panel)


@inner
def _hand_out(own, gradient):
    """The sum takes the gradient's place: all of it, or this process's slice."""
    if own.whole != 0:
        own.code = _allgatherv(
            own.allgatherv, own.got, own.length, own.elements, gradient, own.lengths, own.starts,
            own.elements, own.comm,
        )  # fmt: skip
        return
    n = own.length * own.size
    given, taken = _bytes(own.got, n), _bytes(gradient + own.start * own.size, n)
    for i in range(n):
        taken[i] = given[i]


@piece("exchange.tree", abi.exchange, typed=False)
def _make(_: type) -> Any:
    def tree(context: int, gradient: int, n: int, sums: int) -> int:
        own, said = _trees(context, 1)[0], _doubles(sums, 2)
        own.met = 1
        said[1] = _tell_losses(own, said[1])
        if said[1] > 0.0:
            return 0
        if own.n_parts > 1:
            _copy_together(own)
        own.code = _alltoallv(
            own.alltoallv, own.sent, own.sent_counts, own.sent_starts, own.elements, own.got,
            own.got_counts, own.got_starts, own.elements, own.comm,
        )  # fmt: skip
        if own.code == 0:
            _add_up(own)
            _hand_out(own, gradient)
        if own.code != 0:
            said[1] = 1.0
        return 0

    return tree


@piece("collect.slices", abi.collect, typed=False)
def _make_collect(_: type) -> Any:
    def collect(context: int, what: int, sums: int) -> int:
        own, said = _trees(context, 1)[0], _doubles(sums, 2)
        entry = _words(own.collected + what * 32, 4)
        own.code = _allgatherv(
            own.allgatherv, own.in_place, 0, entry[3], entry[0], entry[1], entry[2], entry[3],
            own.comm,
        )  # fmt: skip
        if own.code != 0:
            said[1] = 1.0
        return 0

    return collect

"""The sum of all gradients at every update: each process adds up a slice of it, by the tree."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import NbmlpError
from nbmlp.kernels import abi, records
from nbmlp.kernels.pieces import in_order, piece_address, piece_function
from nbmlp.plan import Shards
from nbmlp.state import address
from nbmlp.train.exchange import Exchange
from nbmlp.train.hosts import native
from nbmlp.train.hosts.slices import Partners, SharedSlots, Slices
from nbmlp.workspace import Workspace
from nbmlp.workspace.table import Table

__all__ = ["TreeSum", "Unreachable"]

_TREE = "exchange.tree"


class Unreachable(NbmlpError):
    """MPI has failed, so that others can be told nothing."""


class TreeSum(Exchange):
    """The sum over all processes: each adds up a slice of the gradient of all, by the tree.

    The sum is made by a compiled piece (`kernels/tree.py`); what it works on is laid out here.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    shards : int
        Of all; each process has as many of them that follow each other as any other, or one more.
    hosts : Partners
        All processes.
    """

    paced = True

    def __init__(self, comm: Any, shards: int, hosts: Partners) -> None:
        self._comm, self._hosts = comm, hosts
        self._rank, size = comm.Get_rank(), comm.Get_size()
        bounds = [k * shards // size for k in range(size + 1)]
        self._all = [Shards(shards, *bounds[k : k + 2]) for k in range(size)]
        self.shards = self._all[self._rank]
        self._slots: SharedSlots | None = None
        hosts.agree()  # who has failed does not come to what all have to call
        self._native = native.native_of(comm)
        self._kept: list[NDArray[Any]] = []

    def common(self, rows: int) -> int:
        """The fewest that anybody wants to take next."""
        fewest = int(min(self._hosts.agree(rows)))
        self._table.set(0, met=0)
        return fewest

    def all(self, here: bool) -> bool:
        """See :class:`Exchange`."""
        return all(self._hosts.agree(here))

    def make_whole(self) -> None:
        """See :class:`Exchange`."""
        if self._slots is not None:
            self._slots.make_whole()

    def give_up(self) -> None:
        """Let the others' region end, which this process has not begun."""
        if not self._table.records["met"][0]:
            self._sums[:] = 0.0, 1.0
            at = self._table.address, address(self._sums)
            told = in_order(_TREE, context=at[0], gradient=0, n=0, sums=at[1])
            piece_function(_TREE, np.float64)(*told)

    @property
    def error(self) -> Exception | None:
        """What MPI could not do."""
        code = int(self._table.records["code"][0])
        told = self._native.describe(code)
        return Unreachable(f"MPI could not sum the gradients of all: {told}.") if code else None

    def bind(self, work: Workspace) -> None:
        """See :class:`Exchange`."""
        self._table = Table(records.TREE, 1, work.element)
        self._kept, self._sums = [], np.zeros(2)
        native, dtype = self._native, work.gradient.dtype
        self._table.set(
            0, allgatherv=native.allgatherv, alltoallv=native.alltoallv, comm=native.comm,
            doubles=native.types[np.dtype(np.float64)], elements=native.types[dtype],
            processes=len(self._all), size=dtype.itemsize,
            panel=tuning.PANEL_BYTES // dtype.itemsize, in_place=native.in_place,
        )  # fmt: skip
        slices, apart = Slices.of(work, len(self._all)), work.job.updates_apart
        self._lay_out_losses(work)
        self._lay_out_sums(work, slices.lengths)
        self._table.set(0, start=slices.starts[self._rank], whole=not apart)
        if apart:
            self._share_updates(work, slices)
        piece = piece_address(_TREE, np.float64, abi.exchange)
        work.job.exchange_by(piece, self._sums, self._table.address)

    def _keep(self, array: NDArray[Any]) -> int:
        """The address of an array that stays where it is."""
        self._kept.append(array)
        return address(array)

    def _counts(self, counts: list[int]) -> tuple[int, int]:
        """Addresses of counts, and of where each begins, as MPI takes them."""
        starts = [0, *accumulate(counts[:-1])]
        return self._keep(np.array(counts, np.intc)), self._keep(np.array(starts, np.intc))

    def _lay_out_losses(self, work: Workspace) -> None:
        counts = [2 * (own.end - own.first) + 1 for own in self._all]
        at, starts = self._counts(counts)
        own = counts[self._rank]
        self._table.set(
            0, shard_sums=address(work.buffers.shard_sums), shards=self.shards.count,
            first_shard=self.shards.first, said=self._keep(np.empty(own)), n_said=own,
            heard=self._keep(np.empty(sum(counts))), heard_counts=at, heard_starts=starts,
        )  # fmt: skip

    def _share_updates(self, work: Workspace, slices: Slices) -> None:
        """Each process updates its slice, and all get what it has made of that."""
        types, dtype = self._native.types, work.gradient.dtype
        doubles, counts = types[np.dtype(np.float64)], slices.block_counts
        entries = [
            (address(work.state.theta), *self._counts(slices.lengths), types[dtype]),
            (address(work.norms), *self._counts(counts), doubles),
            (address(work.lengths), *self._counts([2 * n for n in counts]), doubles),
        ]
        self._table.set(0, collected=self._keep(np.array(entries, np.int64)))
        self._slots = SharedSlots(self._comm, self._hosts, work, slices)
        work.job.collect_by("collect.slices")

    def _lay_out_sums(self, work: Workspace, lengths: list[int]) -> None:
        n, dtype = work.gradient.size, work.gradient.dtype
        own, parts = lengths[self._rank], len(self.shards.subtrees)
        got = [len(other.subtrees) * own for other in self._all]
        at, starts = self._counts(lengths)
        sent_at, sent_starts = self._counts([length * parts for length in lengths])
        got_at, got_starts = self._counts(got)
        gradients = work.buffers.gradients
        sent = self._keep(np.empty(n * parts, dtype)) if parts > 1 else address(gradients)
        additions = np.array(self._additions(), np.int64).reshape(-1, 2)
        self._table.bind(0, add="add")
        self._table.set(
            0, parts=address(gradients), n_parts=parts, arena=work.gradient.nbytes,
            sent=sent, sent_counts=sent_at, sent_starts=sent_starts,
            got=self._keep(np.empty(sum(got), dtype)), got_counts=got_at, got_starts=got_starts,
            additions=self._keep(additions), n_additions=len(additions),
            lengths=at, starts=starts, length=own,
        )  # fmt: skip

    def _additions(self) -> list[tuple[int, int]]:
        """The upper end of the tree: which subtree is added to which, counted over all processes.

        What is added stands where its first shard's subtree does.
        """
        count, found = self.shards.count, []
        subtrees = [tree for own in self._all for tree in own.subtrees]

        def add(first: int, span: int) -> int:
            end = min(first + span, count)
            if (first, end) in subtrees:
                return subtrees.index((first, end))
            to, middle = add(first, span // 2), first + span // 2
            if middle < count:
                found.append((to, add(middle, span // 2)))
            return to

        add(0, 1 << (count - 1).bit_length())
        return found

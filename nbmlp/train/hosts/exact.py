"""The sum of all gradients at every update: each process adds up a slice of it, by the tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from nbmlp.errors import NbmlpError
from nbmlp.kernels import abi
from nbmlp.kernels.pieces import in_order, piece_address, piece_function
from nbmlp.plan import Shards
from nbmlp.state import address
from nbmlp.train.exchange import Exchange
from nbmlp.train.hosts import native
from nbmlp.train.hosts.slices import Partners, SharedSlots, Slices
from nbmlp.workspace import TreeTable, Workspace

__all__ = ["TreeSum", "Unreachable"]

_TREE = "exchange.tree"


class Unreachable(NbmlpError):
    """MPI has failed, so that others can be told nothing."""


class TreeSum(Exchange):
    """The sum over all processes: each adds up a slice of the gradient of all, by the tree.

    The sum is made by a compiled piece (`kernels/tree.py`) on what a :class:`TreeTable` lays out.

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
        self._all = Shards.among(shards, size)
        self.shards = self._all[self._rank]
        self._slots: SharedSlots | None = None
        hosts.agree()  # who has failed does not come to what all have to call
        self._native = native.native_of(comm)

    def common(self, rows: int) -> int:
        """The fewest that anybody wants to take next."""
        fewest = int(min(self._hosts.agree(rows)))
        self._table.begin()
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
        if not self._table.met:
            self._sums[:] = 0.0, 1.0
            at = self._table.address, address(self._sums)
            told = in_order(_TREE, context=at[0], gradient=0, n=0, sums=at[1])
            piece_function(_TREE, np.float64)(*told)

    @property
    def error(self) -> Exception | None:
        """What MPI could not do."""
        code = self._table.code
        told = self._native.describe(code)
        return Unreachable(f"MPI could not sum the gradients of all: {told}.") if code else None

    def bind(self, work: Workspace) -> None:
        """See :class:`Exchange`."""
        self._sums = np.zeros(2)
        self._table = table = TreeTable(work, self._native, self._all, self._rank)
        slices, apart = Slices.of(work, len(self._all)), work.job.updates_apart
        table.share_sums(slices.lengths, slices.starts[self._rank], whole=not apart)
        if apart:
            table.share_updates(slices.lengths, slices.block_counts)
            self._slots = SharedSlots(self._comm, self._hosts, work, slices)
            work.job.collect_by("collect.slices")
        piece = piece_address(_TREE, np.float64, abi.exchange)
        work.job.exchange_by(piece, self._sums, self._table.address)

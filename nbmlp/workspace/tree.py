"""What the sum over several processes works on (`kernels/tree.py`): addresses, counts, the tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.plan import Shards
from nbmlp.state import address
from nbmlp.workspace.table import Table
from nbmlp.workspace.workspace import Workspace

__all__ = ["TreeTable"]


class TreeTable:
    """One record of the sum over several processes.

    Parameters
    ----------
    work : Workspace
    native : object
        MPI's functions and handles, as compiled code takes them: allgatherv, alltoallv, comm,
        in_place, and types by dtype.
    shards : sequence of Shards
        Of each process.
    rank : int
        Of this process.
    """

    def __init__(self, work: Workspace, native: Any, shards: Sequence[Shards], rank: int) -> None:
        self._work, self._types, self._all, self._rank = work, native.types, shards, rank
        self._own, self._kept = shards[rank], list[NDArray[Any]]()
        self._table, dtype = Table(records.TREE, 1, work.element), work.gradient.dtype
        self._table.set(
            0, allgatherv=native.allgatherv, alltoallv=native.alltoallv, comm=native.comm,
            doubles=native.types[np.dtype(np.float64)], elements=native.types[dtype],
            processes=len(shards), size=dtype.itemsize,
            panel=tuning.PANEL_BYTES // dtype.itemsize, in_place=native.in_place,
        )  # fmt: skip
        self._lay_out_losses()

    @property
    def address(self) -> int:
        """Of the record."""
        return self._table.address

    @property
    def met(self) -> bool:
        """Whether this process has come to a sum since :meth:`begin`."""
        return bool(self._table.records["met"][0])

    @property
    def code(self) -> int:
        """What MPI has answered; 0 where all is well."""
        return int(self._table.records["code"][0])

    def begin(self) -> None:
        """Before a region: nobody has come to a sum."""
        self._table.set(0, met=0)

    def _keep(self, array: NDArray[Any]) -> int:
        """The address of an array that stays where it is."""
        self._kept.append(array)
        return address(array)

    def _counts(self, counts: list[int]) -> tuple[int, int]:
        """Addresses of counts, and of where each begins, as MPI takes them."""
        starts = [0, *accumulate(counts[:-1])]
        return self._keep(np.array(counts, np.intc)), self._keep(np.array(starts, np.intc))

    def _lay_out_losses(self) -> None:
        counts = [2 * len(own) + 1 for own in self._all]
        at, starts = self._counts(counts)
        own = counts[self._rank]
        self._table.set(
            0, shard_sums=address(self._work.buffers.shard_sums), shards=self._own.count,
            first_shard=self._own.first, said=self._keep(np.empty(own)), n_said=own,
            heard=self._keep(np.empty(sum(counts))), heard_counts=at, heard_starts=starts,
        )  # fmt: skip

    def share_sums(self, lengths: list[int], start: int, *, whole: bool) -> None:
        """Of each process, parameters whose sum it makes; this one's begin at `start`.

        whole: all get the sum of all, else each its own alone.
        """
        work = self._work
        n, dtype = work.gradient.size, work.gradient.dtype
        own, parts = lengths[self._rank], len(self._own.subtrees)
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
            lengths=at, starts=starts, length=own, start=start, whole=whole,
        )  # fmt: skip

    def share_updates(self, lengths: list[int], counts: list[int]) -> None:
        """Each process updates its slice, of so many blocks; all get what it has made of that."""
        work, types = self._work, self._types
        doubles, dtype = types[np.dtype(np.float64)], work.gradient.dtype
        entries = [
            (address(work.state.theta), *self._counts(lengths), types[dtype]),
            (address(work.norms), *self._counts(counts), doubles),
            (address(work.lengths), *self._counts([2 * n for n in counts]), doubles),
        ]
        self._table.set(0, collected=self._keep(np.array(entries, np.int64)))

    def _additions(self) -> list[tuple[int, int]]:
        """The upper end of the tree: which subtree is added to which, counted over all processes.

        What is added stands where its first shard's subtree does.
        """
        count, found = self._own.count, []
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

"""The sum of all gradients at every update: each process adds up a slice of it, by the tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.plan import Shards
from nbmlp.train.exchange import Exchange
from nbmlp.workspace import Workspace

__all__ = ["TreeSum"]


class TreeSum(Exchange):
    """The sum over all processes: each adds up a slice of the gradient of all, by the tree.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    shards : int
        Of all; each process has as many of them that follow each other as any other, or one more.
    """

    def __init__(self, comm: Any, shards: int) -> None:
        super().__init__(self._sum)
        rank, size = comm.Get_rank(), comm.Get_size()
        self._comm, self._rank = comm, rank
        bounds = [k * shards // size for k in range(size + 1)]
        self._all = [Shards(shards, *bounds[k : k + 2]) for k in range(size)]
        self.shards, self.paced = self._all[rank], True

    def common(self, rows: int) -> int:
        """The fewest that anybody wants to take next."""
        return int(min(self._comm.allgather(rows)))

    def bind(self, work: Workspace) -> None:
        """See :class:`Exchange`."""
        super().bind(work)
        n, size = work.gradient.size, len(self._all)
        self._parts = work.buffers.gradients.reshape(-1, n)[: len(self.shards.subtrees)]
        self._shard_sums = work.buffers.shard_sums
        panel = tuning.PANEL_BYTES // work.gradient.itemsize
        ends = [k * (n // panel) // size * panel for k in range(size)] + [n]
        self._slices = [slice(*ends[k : k + 2]) for k in range(size)]
        lengths = np.diff(ends)
        mine = int(lengths[self._rank])
        self._sent = np.empty(self._parts.size, work.gradient.dtype)
        self._sent_counts = lengths * len(self._parts)
        counts = np.array([len(own.subtrees) for own in self._all])
        self._got = np.empty((int(counts.sum()), mine), work.gradient.dtype)
        self._got_counts, self._lengths = counts * mine, lengths

    def _sum(self, gradient: NDArray[Any], sums: NDArray[np.float64]) -> None:
        if lost := self._gather_losses(sums[1]):
            sums[1] = lost
            return
        self._send_parts()
        total = self._added()
        gradient[self._slices[self._rank]] = total
        self._comm.Allgatherv(
            [total, self._lengths[self._rank]], [gradient, (self._lengths, _starts(self._lengths))]
        )

    def _gather_losses(self, lost: float) -> float:
        """Everybody's sums of losses; returns how many cannot go on."""
        own = self._shard_sums[self.shards.first : self.shards.end]
        counts = np.array([2 * (s.end - s.first) + 1 for s in self._all])
        got = np.empty(counts.sum())
        self._comm.Allgatherv(np.append(own.ravel(), lost), [got, (counts, _starts(counts))])
        ends = np.cumsum(counts)
        self._shard_sums[:] = np.delete(got, ends - 1).reshape(-1, 2)
        return float(got[ends - 1].sum())

    def _send_parts(self) -> None:
        """Each process gets its slice of all subtrees here."""
        starts = _starts(self._sent_counts)
        for start, own in zip(starts, self._slices, strict=True):
            parts = self._parts[:, own]
            self._sent[start : start + parts.size] = parts.ravel()
        self._comm.Alltoallv(
            [self._sent, (self._sent_counts, starts)],
            [self._got.ravel(), (self._got_counts, _starts(self._got_counts))],
        )

    def _added(self) -> NDArray[Any]:
        """The upper end of the tree, of this process's slice."""
        subtrees = [tree for own in self._all for tree in own.subtrees]
        parts = dict(zip(subtrees, self._got, strict=True))
        count = self.shards.count

        def add(first: int, span: int) -> NDArray[Any]:
            end = min(first + span, count)
            if (first, end) in parts:
                part: NDArray[Any] = parts[first, end]
                return part
            left = add(first, span // 2)
            if first + span // 2 < count:
                left += add(first + span // 2, span // 2)
            return left

        return add(0, 1 << (count - 1).bit_length())


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts)[:-1]))

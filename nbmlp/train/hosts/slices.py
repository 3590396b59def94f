"""What each process updates of the parameters, and the optimizer's vectors of that."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nbmlp.state import aligned
from nbmlp.workspace import Workspace

__all__ = ["Partners", "SharedSlots", "Slices"]


class Partners(Protocol):
    """All who train together, as far as they are asked here."""

    answer: Callable[[list[int]], None]

    def agree(self, value: Any = None) -> list[Any]:
        """What each says."""

    def ask(self) -> None:
        """Let all answer."""


class Slices(NamedTuple):
    """Parts of the parameters that follow each other, one of each process.

    Attributes
    ----------
    starts : list of int (processes + 1,)
        The first parameter of each, padding counted, and the end of the last.
    blocks : list of int (processes + 1,)
        The first update block of each, counted over all parameters, and the end of the last.
    """

    starts: list[int]
    blocks: list[int]

    @classmethod
    def of(cls, work: Workspace, size: int) -> Slices:
        """As equal as update blocks allow, of which norms are added up."""
        edges = [
            block.offset + k * own.rows * block.row
            for block, own in zip(work.plan.blocks, work.strategy.blocks, strict=True)
            for k in range(own.count)
        ]
        n = work.gradient.size
        blocks = [bisect_left(edges, k * n // size) for k in range(size)] + [len(edges)]
        edges.append(n)
        return cls([0] + [edges[b] for b in blocks[1:]], blocks)

    @property
    def lengths(self) -> list[int]:
        """Parameters of each."""
        return np.diff(self.starts).tolist()

    @property
    def block_counts(self) -> list[int]:
        """Update blocks of each."""
        return np.diff(self.blocks).tolist()


class SharedSlots:
    """The optimizer's vectors, of which each process keeps those of its slice.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    hosts : Partners
    work : Workspace
        Of a state that has all of them; has its own part from now on.
    slices : Slices
    """

    def __init__(self, comm: Any, hosts: Partners, work: Workspace, slices: Slices) -> None:
        self._comm, self._hosts, self._state = comm, hosts, work.state
        self._slices, self._rank = slices, comm.Get_rank()
        state, (start, end) = work.state, slices.starts[self._rank : self._rank + 2]
        self._shape = state.slots.shape
        own = self._empty(end - start)
        own[:] = state.slots[:, start:end]
        state.slots, state.collect = own, self._ask
        work.update_only(slices.blocks[self._rank], slices.blocks[self._rank + 1], own, start)
        hosts.answer = self._answer
        self._asked: NDArray[Any] | None = None

    def _empty(self, length: int) -> NDArray[Any]:
        kind, count = self._state.slots.dtype.type, self._shape[0]
        return aligned(count * length, kind).reshape(count, length)

    def _ask(self) -> NDArray[Any]:
        """All of them, for this process alone."""
        self._asked = whole = self._empty(self._shape[1])
        try:
            self._hosts.ask()
        finally:
            self._asked = None
        return whole

    def _answer(self, ranks: list[int]) -> None:
        counts = self._slices.lengths, self._slices.starts[:-1]
        for rank in ranks:
            for k, own in enumerate(self._state.slots):
                asked = self._asked if rank == self._rank else None
                to = None if asked is None else [asked[k], counts]
                self._comm.Gatherv([own, len(own)], to, root=rank)

    def make_whole(self) -> None:
        """Let all processes have all of them; called by all."""
        if self._state.collect is None:
            return
        whole = self._empty(self._shape[1])
        self._hosts.agree()  # who has no memory for it does not come to what all have to call
        counts = self._slices.lengths, self._slices.starts[:-1]
        for own, to in zip(self._state.slots, whole, strict=True):
            self._comm.Allgatherv([own, len(own)], [to, counts])
        self._state.slots, self._state.collect = whole, None

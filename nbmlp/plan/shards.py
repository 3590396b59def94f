"""Shards of the data, and the binary tree by which their sums are added up.

Row r of n belongs to shard floor(r * count / n). Each update takes rows of all shards, sums each
shard's gradient on its own, and adds these sums by a tree over the shards that depends on their
number alone: neighbours 0 + 1, 2 + 3, ..., then these sums likewise; who has no neighbour waits for
the next round. So whoever sums some shards that follow each other, one of several hosts for
instance, can add up all subtrees that it has as a whole, and the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

__all__ = ["NO_SHARDS", "Merge", "Shards"]


@dataclass(frozen=True)
class Merge:
    """What becomes of one shard's gradient.

    Attributes
    ----------
    arena : int
        Of those that :class:`Shards` counts, the one that it is summed in.
    joins : bool
        The shard before it is summed there, and it is added to that.
    others : int
        A bit for each waiting sum that is added then, the lowest one for the first such arena.
    """

    arena: int
    joins: bool
    others: int


@dataclass(frozen=True)
class Shards:
    """The shards that are summed by one process.

    Attributes
    ----------
    count : int
        Of all the data.
    first, end : int
        The first one that is summed here, and the one behind the last; all of them by default.
    """

    count: int = 1
    first: int = 0
    end: int = -1

    def __post_init__(self) -> None:
        if self.end < 0:
            object.__setattr__(self, "end", self.count)

    @classmethod
    def among(cls, count: int, processes: int) -> list[Shards]:
        """Those of each process: as many that follow each other as any other has, or one more."""
        ends = [k * count // processes for k in range(processes + 1)]
        return [cls(count, first, end) for first, end in pairwise(ends)]

    def __len__(self) -> int:
        """How many are summed here."""
        return self.end - self.first

    def rows(self, n: int) -> tuple[int, int]:
        """Of so many rows, the first one of the shards here, and the one behind their last."""
        return -(-self.first * n // self.count), -(-self.end * n // self.count)

    @cached_property
    def subtrees(self) -> tuple[tuple[int, int], ...]:
        """Whole subtrees of the shards here, as few as there can be: first and end of each."""
        return tuple(self._whole(0, 1 << (self.count - 1).bit_length()))

    def _whole(self, first: int, span: int) -> Iterator[tuple[int, int]]:
        end = min(first + span, self.count)
        if self.first <= first < end <= self.end:
            yield first, end
        elif span > 1 and first < self.end and self.first < end:
            yield from self._whole(first, span // 2)
            yield from self._whole(first + span // 2, span // 2)

    @property
    def waiting(self) -> int:
        """The first arena of sums that wait for others; before it, each subtree has one."""
        return max(1, len(self.subtrees))

    @property
    def spare(self) -> int:
        """An arena for what cannot be added while it is computed."""
        longest = max((end - first for first, end in self.subtrees), default=1)
        return self.waiting + _last_pair(longest).bit_length()

    @property
    def arenas(self) -> int:
        """How many there are, the gradient's own among them."""
        return self.spare + 1 if self.count > 1 else 1

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """What becomes of each shard here, in their order."""
        return tuple(
            self._merge(k, shard - first, end - first)
            for k, (first, end) in enumerate(self.subtrees)
            for shard in range(first, end)
        )

    def _merge(self, subtree: int, shard: int, size: int) -> Merge:
        """Pairs are counted as a binary counter does it, whose carries are additions."""
        pair, last = shard // 2, _last_pair(size)
        carries = (~pair & (pair + 1)).bit_length() - 1
        arena = subtree if pair == last else self.waiting + carries
        whole = shard % 2 == 1 or shard == size - 1
        others = 0 if not whole else pair if pair == last else (1 << carries) - 1
        return Merge(arena, shard % 2 == 1, others)


NO_SHARDS = Shards()


def _last_pair(size: int) -> int:
    return (size - 1) // 2

"""What each process trains on where weights are averaged: rows of its shards, in batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbmlp.errors import SpecError
from nbmlp.plan import Shards
from nbmlp.spec import TrainSpec

__all__ = ["Part", "divide", "rate_of_all", "seed_of"]


@dataclass(frozen=True)
class Part:
    """What one process trains on.

    Attributes
    ----------
    first, shards : int
        Its first shard, and how many it has.
    start, end : int
        Its first row, and the one behind its last.
    batch : int
        Rows of its updates.
    """

    first: int
    shards: int
    start: int
    end: int
    batch: int

    @property
    def steps(self) -> int:
        """Updates of its epochs."""
        return -(-(self.end - self.start) // self.batch)


def divide(train: TrainSpec, rows: int, size: int) -> list[Part]:
    """Who trains on what.

    Batches are as long as the setting says where all have as many shards; else in proportion to
    them, so that each process has its share of the rows of every update and of the mean.

    Raises
    ------
    SpecError
        There are too few rows for all to have some.
    """
    whole, parts = _batch_alone(train, rows), []
    for own in Shards.among(train.shards, size):
        start, end = own.rows(rows)
        if start == end:
            raise SpecError(
                f"{rows} rows are too few for {train.shards} shards on {size} processes."
            )
        share = round(whole * size * len(own) / train.shards)
        parts.append(Part(own.first, len(own), start, end, min(max(1, share), end - start)))
    return parts


def _batch_alone(train: TrainSpec, rows: int) -> int:
    """Rows of an update of one process that has all rows."""
    return min(train.batch_size or rows, rows)


def rate_of_all(train: TrainSpec, rows: int, parts: list[Part]) -> float:
    """Learning rate of updates on the batches of all, by the rule of `base_batch`.

    A mean of steps is as long as one of them, so that rates of summed losses need the rule, too.
    """
    alone = _batch_alone(train, rows)
    together = sum(part.batch for part in parts)
    factor = float((together / alone) ** train.optimizer.batch_power)
    return train.learning_rate_for(alone) * factor


def seed_of(seed: int, part: Part) -> int:
    """Of a process's orders and masks, which are others than those of others."""
    if part.first == 0:
        return seed
    return int(np.random.SeedSequence((seed, part.first)).generate_state(1)[0])

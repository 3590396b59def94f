"""What shards cost on one machine: net B, 784-300-10, whose batches are summed shard by shard."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .common import all_threads, problem, samples_per_second


@lru_cache(maxsize=2)
def ready(shards: int, batch: int) -> tuple[Any, Any, Any]:
    """A compiled model with its rows and labels."""
    from nbmlp import MLP

    task = problem("784-300-10", batch)
    model = MLP(
        300, activation="logistic", optimizer="adam", batch_size=batch, shards=shards,
        threads=all_threads(),
    )  # fmt: skip
    return model.partial_fit(task.X, task.labels), task.X, task.labels


class Shards:
    """One shard is a training without any."""

    param_names = ("shards", "batch_size")
    params = ([1, 2, 8, 32], [100, 1000])
    timeout = 120
    warmup_time = 0.05
    repeat = (3, 10, 1.0)

    def setup(self, shards: int, batch_size: int) -> None:
        self.model, self.X, self.y = ready(shards, batch_size)

    def time_epoch(self, shards: int, batch_size: int) -> None:
        self.model.partial_fit(self.X, self.y)

    def track_samples_per_second(self, shards: int, batch_size: int) -> int:
        return samples_per_second(lambda: self.model.partial_fit(self.X, self.y), len(self.X))

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]

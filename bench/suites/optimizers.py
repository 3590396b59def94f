"""What each update rule costs: 784-300-10 in batches of 100."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .common import all_threads, problem, samples_per_second

BATCH = 100


@lru_cache(maxsize=1)
def ready(optimizer: str) -> tuple[Any, Any, Any]:
    """A compiled model with its rows and labels."""
    from nbmlp import MLP

    task = problem("784-300-10", BATCH)
    model = MLP(
        300, activation="logistic", optimizer=optimizer, batch_size=BATCH, threads=all_threads()
    )
    return model.partial_fit(task.X, task.labels), task.X, task.labels


class Optimizers:
    """Every rule that works on batches, at its default settings."""

    param_names = ("optimizer",)
    params = (["sgd", "sgd(momentum=0.9)", "rmsprop", "rmsprop_gains", "adagrad", "adam", "adamw"],)
    timeout = 120
    warmup_time = 0.05
    repeat = (3, 10, 1.0)

    def setup(self, optimizer: str) -> None:
        self.model, self.X, self.y = ready(optimizer)

    def time_epoch(self, optimizer: str) -> None:
        self.model.partial_fit(self.X, self.y)

    def track_samples_per_second(self, optimizer: str) -> int:
        return samples_per_second(lambda: self.model.partial_fit(self.X, self.y), len(self.X))

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]

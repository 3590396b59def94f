"""Prediction: how long one row takes, and how many rows a second many of them make."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bench.peers import OURS, load_peer

from .common import NET_BY_SIZES, all_threads, problem, samples_per_second

ROWS = 20_000


@lru_cache(maxsize=1)
def ready(sizes: str) -> tuple[Any, Any]:
    """A model of the net's first weights, all code for one row and for many compiled; its rows."""
    task = problem(sizes, ROWS)
    peer: Any = load_peer(OURS)
    peer.prepare(task, 100, all_threads(), shuffle=True)
    X = task.X[:ROWS]
    peer.model.predict(X)
    peer.model.predict(X[:1])
    return peer.model, X


class _Prediction:
    param_names = ("net",)
    params = (list(NET_BY_SIZES),)
    timeout = 120
    warmup_time = 0.05

    def setup(self, net: str) -> None:
        self.model, self.X = ready(net)


class OneRow(_Prediction):
    """Latency."""

    def setup(self, net: str) -> None:
        super().setup(net)
        self.row = self.X[:1]

    def time_predict(self, net: str) -> None:
        self.model.predict(self.row)


class ManyRows(_Prediction):
    """20,000 at once."""

    repeat = (3, 10, 1.0)

    def time_predict(self, net: str) -> None:
        self.model.predict(self.X)

    def track_samples_per_second(self, net: str) -> int:
        return samples_per_second(lambda: self.model.predict(self.X), len(self.X))

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]

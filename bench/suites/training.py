"""Epochs of the nets of bench.nets through the public API, over the commits.

The clock's figure is the gate; samples per second are shown beside it (asv reads a higher
`track_*` as worse).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# At the end: an installed nbmlp, the commit under test, must win over the one beside this folder.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from bench.nets import NETS, make_problem
from bench.peers import OURS, load_peer

ROWS = 20_000
TURN = 0.3


class Training:
    """Nets by number (0 = A ... 4 = E), batch sizes, plain SGD in float32, all threads."""

    param_names = ("net", "batch_size")
    params = ([0, 1, 3, 4], [20, 100, 1000, 10_000])
    timeout = 300
    warmup_time = 0.0

    def setup(self, net: int, batch_size: int) -> None:
        from nbmlp.tuning import available_threads

        self.peer = load_peer(OURS)
        problem = make_problem(list(NETS.values())[net].with_rows(ROWS))
        self.peer.prepare(problem, batch_size, available_threads(), shuffle=True)
        self.peer.epoch()  # compile or load from the cache

    def time_epoch(self, net: int, batch_size: int) -> None:
        self.peer.epoch()

    def track_samples_per_second(self, net: int, batch_size: int) -> float:
        epochs, start = 0, time.perf_counter()
        while time.perf_counter() - start < TURN:
            self.peer.epoch()
            epochs += 1
        return epochs * ROWS / (time.perf_counter() - start)

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]

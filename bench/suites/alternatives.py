"""Training throughput beside what comes with nbmlp's own dependencies: 784-300-10.

``python -m bench.compare`` has more peers, and rounds that take turns.
"""

from __future__ import annotations

from itertools import product

from bench.peers import OURS, PEERS, Variant
from bench.worker import Worker

from .common import (
    BATCHES,
    NET_BY_SIZES,
    TURN,
    all_threads,
    rows_of_epoch,
    samples_per_second,
    trainer,
)

NET = "784-300-10"
OTHERS = ["numpy", "sklearn"]
Rates = dict[tuple[str, int], int]


def variants(name: str) -> list[Variant]:
    """Each number of threads, with the kernels that OpenBLAS chooses."""
    return [v for v in PEERS[name].variants(all_threads()) if v.note in ("", "default")]


def others_rates(name: str) -> Rates:
    """Samples per second of a peer at each batch size, at its best number of threads."""
    net, rates = NET_BY_SIZES[NET], {}
    for variant in variants(name):
        worker = Worker(name, variant)
        try:
            for batch in BATCHES:
                worker.prepare(net.with_rows(rows_of_epoch(net, batch)), batch)
                rate = round(worker.run(TURN).rate)
                rates[name, batch] = max(rate, rates.get((name, batch), 0))
        finally:
            worker.close()
    return rates


class Alternatives:
    """Plain SGD in float32, everyone at their best number of threads."""

    param_names = ("peer", "batch_size")
    params = ([OURS, *OTHERS], BATCHES)

    def setup_cache(self) -> Rates:
        rates = {key: rate for name in OTHERS for key, rate in others_rates(name).items()}
        # In this process: in a worker's, the nbmlp beside this folder would win.
        for batch, threads in product(BATCHES, {1, all_threads()}):
            peer, rows = trainer(NET, batch, threads)
            rate = samples_per_second(peer.epoch, rows)
            rates[OURS, batch] = max(rate, rates.get((OURS, batch), 0))
        return rates

    setup_cache.timeout = 300  # type: ignore[attr-defined]

    def track_samples_per_second(self, rates: Rates, peer: str, batch_size: int) -> int:
        return rates[peer, batch_size]

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]

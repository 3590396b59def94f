"""Training throughput against batch size: plain SGD in float32, shuffled epochs, the public API."""

from __future__ import annotations

from itertools import product

from .common import BATCHES, NET_BY_SIZES, all_threads, samples_per_second, trainer

#: Samples per second by net, batch size and threads; GFLOP/s of all threads.
Measured = tuple[dict[tuple[str, int, int], float], float]


class _Rates:
    """Measures every rate once per commit, and the machine's limit in the same minute."""

    param_names = ("net", "batch_size")
    params = (list(NET_BY_SIZES), BATCHES)

    def setup_cache(self) -> Measured:
        from bench.limit import measure

        limit = measure(all_threads()).all
        rates = {}
        for net, batch, threads in product(NET_BY_SIZES, BATCHES, {1, all_threads()}):
            peer, rows = trainer(net, batch, threads)
            rates[net, batch, threads] = samples_per_second(peer.epoch, rows)
        return rates, limit

    setup_cache.timeout = 600  # type: ignore[attr-defined]


class Throughput(_Rates):
    """All threads."""

    def track_samples_per_second(self, measured: Measured, net: str, batch_size: int) -> float:
        rates, _ = measured
        return rates[net, batch_size, all_threads()]

    def track_fraction_of_peak(self, measured: Measured, net: str, batch_size: int) -> float:
        """Matrix products only, of the limit measured in the same minute."""
        rates, limit = measured
        flops = rates[net, batch_size, all_threads()] * NET_BY_SIZES[net].flops_per_sample
        return round(flops / (limit * 1e9), 3)

    track_samples_per_second.unit = "samples/s"  # type: ignore[attr-defined]
    track_fraction_of_peak.unit = "of the FMA limit"  # type: ignore[attr-defined]


class Threads(_Rates):
    """What all threads gain over one."""

    def track_speedup(self, measured: Measured, net: str, batch_size: int) -> float:
        rates, _ = measured
        return round(rates[net, batch_size, all_threads()] / rates[net, batch_size, 1], 2)

    track_speedup.unit = "times one thread"  # type: ignore[attr-defined]


class Epoch:
    """The gate: one epoch by the clock, all threads."""

    param_names = _Rates.param_names
    params = _Rates.params
    timeout = 300
    warmup_time = 0.05
    sample_time = 0.05
    repeat = (3, 10, 1.0)

    def setup(self, net: str, batch_size: int) -> None:
        self.peer, _ = trainer(net, batch_size, all_threads())

    def time_epoch(self, net: str, batch_size: int) -> None:
        self.peer.epoch()

"""What the suites share: nets by their sizes, epochs of bearable length, a rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from statistics import median

from bench.nets import NETS, Net, Problem, make_problem
from bench.peers import OURS, Peer, load_peer

__all__ = [
    "BATCHES",
    "NET_BY_SIZES",
    "all_threads",
    "problem",
    "rows_of_epoch",
    "samples_per_second",
    "trainer",
]

BATCHES = [1, 8, 20, 100, 256, 1000, 2000, 10_000]
#: ``"784-300-10"`` -> net B, and so on.
NET_BY_SIZES = {"-".join(map(str, net.sizes)): net for net in NETS.values()}

#: Seconds for which a rate is measured.
TURN = 0.3
#: Updates of one epoch where they are slow for their few rows, and its fewest rows.
UPDATES, FEWEST_ROWS = 1000, 2000


def all_threads() -> int:
    """Of this process."""
    from nbmlp.tuning import available_threads

    return available_threads()


@lru_cache(maxsize=1)
def _whole(sizes: str) -> Problem:
    return make_problem(NET_BY_SIZES[sizes])


def rows_of_epoch(net: Net, batch: int) -> int:
    """Of about `UPDATES` updates, if the net's own epoch has more."""
    return min(net.rows, max(FEWEST_ROWS, UPDATES * batch))


def problem(sizes: str, batch: int) -> Problem:
    """A net's data, cut to the rows of an epoch.

    Parameters
    ----------
    sizes : str
        Key of `NET_BY_SIZES`.
    batch : int
    """
    whole = _whole(sizes)
    rows = rows_of_epoch(whole.net, batch)
    return replace(
        whole, net=whole.net.with_rows(rows),
        X=whole.X[:rows], Y=whole.Y[:rows], labels=whole.labels[:rows],
    )  # fmt: skip


@lru_cache(maxsize=1)
def trainer(sizes: str, batch: int, threads: int) -> tuple[Peer, int]:
    """A net ready for timed epochs, all its code compiled, and the rows of an epoch.

    Kept from call to call: asv sets up again before every sample.
    """
    task = problem(sizes, batch)
    peer = load_peer(OURS)
    peer.prepare(task, batch, threads, shuffle=True)
    peer.epoch()
    return peer, task.net.rows


def samples_per_second(work: Callable[[], object], rows: int) -> int:
    """Rows over the median time of `work`, which handles `rows` of them and is called again and
    again, at least once, until :data:`TURN` seconds are over.
    """
    times: list[float] = []
    while sum(times) < TURN:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(rows / median(times))

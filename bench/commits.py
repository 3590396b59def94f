"""``python -m bench.commits OLD [NEW]``: two checkouts beside each other, turn by turn.

OLD and NEW are folders with a checkout each (``git worktree add OLD COMMIT``), both run by this
Python. While one trains, the other sleeps; who begins a pair changes. A cell's figure is the median
of new / old over the pairs, with a 95 % interval of that median (bootstrap). Rates: more is better;
times and memory: less is.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from bench import startup
from bench.nets import NETS
from bench.options import names_of, whole
from bench.peers import Variant
from bench.worker import ROOT, Worker
from nbmlp.tuning import available_threads

__all__ = ["main"]

Pair = tuple[float, float]
SECONDS = 0.3
#: One row by a net of 784-300-10: microseconds of a call, the quickest of 30 rounds.
ONE_ROW = """
import time
import numpy as np
from nbmlp import MLP
X = np.random.default_rng(0).random((500, 784), np.float32)
net = MLP(300, epochs=1, seed=0).fit(X, np.arange(500) % 10)
row, best = X[:1], np.inf
for _ in range(30):
    start = time.perf_counter()
    for _ in range(300):
        net.outputs(row)
    best = min(best, time.perf_counter() - start)
print(best / 300 * 1e6)
"""
#: Peak of memory in MB: training, then predictions, of a net of 784-300-10.
MEMORY = """
import resource
import numpy as np
from nbmlp import MLP
X = np.random.default_rng(0).random((20_000, 784), np.float32)
net = MLP(300, epochs=1, batch_size=100, seed=0).fit(X, np.arange(20_000) % 10)
net.outputs(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Of their median, 95 %."""
    rng = np.random.default_rng(0)
    draws = rng.choice(np.asarray(ratios), (4000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return float(low), float(high)


def _pairs(count: int, old: Callable[[], float], new: Callable[[], float]) -> list[Pair]:
    found = []
    for k in range(count):
        if k % 2:
            second = new()
            found.append((old(), second))
        else:
            found.append((old(), new()))
    return found


def _line(what: str, pairs: Sequence[Pair], digits: int = 0) -> float:
    """Print a row of the table; returns the median ratio."""
    ratios = [new / old for old, new in pairs]
    low, high = _interval(ratios)
    old, new = (f"{median(side):,.{digits}f}" for side in zip(*pairs, strict=True))
    ratio = median(ratios)
    print(f"| {what} | {old} | {new} | {ratio:.3f} | {low:.3f} to {high:.3f} |", flush=True)
    return ratio


def _rate(worker: Worker) -> float:
    return worker.run(SECONDS).rate


def _trainings(old: Path, new: Path, names: Sequence[str], batches: Sequence[int], n: int) -> None:
    print("| net, batch | old, rows/s | new, rows/s | new / old | 95 % |\n|---|---|---|---|---|")
    variant = Variant(available_threads(), {}, "")
    workers = [Worker("nbmlp", variant, root) for root in (old, new)]
    ratios = []
    for name in names:
        for batch in batches:
            for worker in workers:
                worker.prepare(NETS[name], batch)
            turns = [partial(_rate, worker) for worker in workers]
            ratios.append(_line(f"{NETS[name]}, {batch:,}", _pairs(n, *turns)))
            for worker in workers:
                worker.release()
    for worker in workers:
        worker.close()
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"\ngeometric mean of {len(ratios)} medians: {mean:.3f}\n")


def _printed(root: Path, code: str, cache: str | None = None) -> float:
    """What a program prints that is run in a checkout."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env |= {"NUMBA_CACHE_DIR": cache} if cache else {}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, check=True, capture_output=True, text=True
    )
    return float(ran.stdout.split()[-1])


def _timed(code: str) -> str:
    """The program with a clock around it that has run since the interpreter started."""
    clock = "import time; begin = time.perf_counter()\n"
    return f"{clock}{code}\nprint(time.perf_counter() - begin)\n"


def _cold(root: Path) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return _printed(root, _timed(startup.FIRST_EPOCH), cache)


def _processes(old: Path, new: Path, n: int) -> None:
    print("| in a process of its own | old | new | new / old | 95 % |\n|---|---|---|---|---|")
    rows: list[tuple[str, Callable[[Path], float], int, int]] = [
        ("one row, us", lambda root: _printed(root, ONE_ROW), n, 2),
        ("warm first epoch, s", lambda root: _printed(root, _timed(startup.FIRST_EPOCH)), n, 2),
        ("cold first epoch, s", _cold, max(3, n // 3), 1),
        ("memory, MB", lambda root: _printed(root, MEMORY), 3, 0),
    ]
    for what, run, count, digits in rows:
        run(old), run(new)  # what is compiled once
        _line(what, _pairs(count, partial(run, old), partial(run, new)), digits)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.commits", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--pairs", type=whole, default=15)
    parser.add_argument("--nets", type=partial(names_of, valid=[*NETS]), default=sorted(NETS))
    parser.add_argument("--batches", default="20,100,1000,10000", help="none: no trainings")
    parser.add_argument("--no-processes", action="store_true")
    options = parser.parse_args(argv)
    old, new = options.old.resolve(), options.new.resolve()
    print(f"{options.pairs} pairs, {available_threads()} threads\n")
    if options.batches != "none":
        batches = [int(batch) for batch in options.batches.split(",")]
        _trainings(old, new, options.nets, batches, options.pairs)
    if not options.no_processes:
        _processes(old, new, options.pairs)


if __name__ == "__main__":
    main()

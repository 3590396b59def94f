"""``python -m bench.shards``: what shards cost on one machine, beside a training without any.

Net B, 784-300-10 with Adam, on all cores; turns of one after the other, which comes first
alternates. A figure is the median of the turns' ratios, with their quartiles: above 1, shards are
faster.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import quantiles

from bench import machine
from bench.options import whole
from bench.results import machine_lines, markdown
from bench.suites.shards import ready

__all__ = ["main", "ratios"]

#: Calls of `partial_fit` in a turn.
_CALLS = 2


def _seconds(shards: int, batch: int) -> float:
    """Of a turn."""
    model, X, y = ready(shards, batch)
    began = time.perf_counter()
    for _ in range(_CALLS):
        model.partial_fit(X, y)
    return time.perf_counter() - began


def ratios(shards: int, batch: int, turns: int) -> list[float]:
    """Seconds without shards over seconds with them, of each turn."""
    found = []
    for turn in range(-1, turns):  # the first one warms up
        order = (1, shards) if turn % 2 else (shards, 1)
        seconds = {count: _seconds(count, batch) for count in order}
        found.append(seconds[1] / seconds[shards])
    return found[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.shards", description=__doc__)
    parser.add_argument("--shards", type=whole, default=8)
    parser.add_argument("--turns", type=whole, default=25)
    given = parser.parse_args(argv)
    facts, rows = machine.describe(), [["batch", f"shards={given.shards} beside 1", "quartiles"]]
    for batch in (100, 1000):
        low, middle, high = quantiles(ratios(given.shards, batch, max(2, given.turns)), n=4)
        rows.append([f"{batch}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}"])
        print(".", end="", file=sys.stderr, flush=True)
    print(f"\n{machine_lines(facts)}\n\n{markdown(rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

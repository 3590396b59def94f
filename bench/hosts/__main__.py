"""``python -m bench.hosts``: two hosts made of this machine, at 1 Gb/s and without a limit.

Each host is a network namespace with one core. Three questions, all on 784-300-10 with Adam: what a
step of exact mode costs beside computing, in bare transfers of what it moves; how many more rows a
second periodic mode trains on than one host; what accuracy both reach on MNIST (of the folder
NBMLP_DATA; without it rows are drawn at random, and accuracy is left out). Needs root, iproute2 and
mpiexec. With --json it goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.hosts.network import Failed, Network, alone, missing
from bench.hosts.results import Results
from bench.hosts.work import images
from bench.options import names_of, whole
from bench.results import machine_lines

__all__ = ["PARTS", "main"]

MODULE, PARTS = "bench.hosts.work", ("transfer", "exact", "periodic", "accuracy")


def _numbers(text: str) -> list[int]:
    """Whole numbers with commas between them; 0 among them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give whole numbers, e.g. 1000,0.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.hosts", description=__doc__)
    parser.add_argument("--only", type=lambda text: names_of(text, PARTS), default=list(PARTS),
                        help=f"Parts: {', '.join(PARTS)}.")  # fmt: skip
    parser.add_argument("--hosts", type=whole, default=2)
    parser.add_argument("--networks", type=_numbers, default=[1000, 0],
                        help="Mb/s of each host; 0 for no limit.")  # fmt: skip
    parser.add_argument("--batches", type=_numbers, default=[1000, 8000],
                        help="Rows of a step of exact mode.")  # fmt: skip
    parser.add_argument("--batch", type=whole, default=100,
                        help="Rows of an update of each host in periodic mode.")  # fmt: skip
    parser.add_argument("--epochs", type=whole, default=5, help="Of those that are timed.")
    parser.add_argument("--long", type=whole, default=20, help="Epochs where accuracy is told.")
    parser.add_argument("--seeds", type=whole, default=3)
    parser.add_argument("--rounds", type=whole, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="To write, and to go on from.")
    return parser


class _Bench:
    """Measures what is wanted and not yet known, turn by turn."""

    def __init__(self, given: argparse.Namespace, results: Results) -> None:
        self._given, self._results = given, results

    def all(self) -> None:
        """Everything, network by network."""
        for rate in self._given.networks:
            with Network(self._given.hosts, rate) as network:
                for turn in range(self._given.rounds):
                    self._timed(network, turn)
        if "accuracy" in self._given.only:
            with Network(self._given.hosts, self._given.networks[0]) as network:
                for seed in range(self._given.seeds):
                    self._right(network, seed)

    def _once(self, key: str, measure: Callable[..., Any], kind: str, **settings: Any) -> None:
        words = kind, json.dumps(settings)
        self._results.once(key, lambda: measure(MODULE, *words))
        print(".", end="", file=sys.stderr, flush=True)

    def _timed(self, network: Network, turn: int) -> None:
        """One turn of each; what is compared follows each other."""
        given, rate = self._given, network.rate
        if {"transfer", "exact"} & set(given.only):
            self._once(f"transfer {rate} {turn}", network.run, "transfer")
        for batch in given.batches if "exact" in given.only else ():
            settings = {"batch": batch, "epochs": given.epochs}
            self._once(f"computing {rate} {batch} {turn}", network.run, "computing", **settings)
            self._once(f"exact {rate} {batch} {turn}", network.run, "exact", **settings)
        if "periodic" in given.only:
            settings = {"batch": given.batch, "epochs": given.epochs}
            self._once(f"alone {turn}", alone, "periodic", **settings)
            self._once(f"periodic {rate} {turn}", network.run, "periodic", **settings)

    def _right(self, network: Network, seed: int) -> None:
        given = self._given
        settings = {"batch": given.batch, "epochs": given.long, "hosts": given.hosts, "seed": seed}
        self._once(f"accuracy exact {seed}", alone, "accuracy", **settings)
        summed = settings | {"batch": given.batch * given.hosts, "base": given.batch}
        self._once(f"accuracy summed {seed}", alone, "accuracy", **summed)
        self._once(f"accuracy periodic {seed}", network.run, "accuracy", **settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print tables."""
    given = _parser().parse_args(arguments)
    if lacking := missing(given.hosts):
        print(f"SKIPPED, {lacking}", file=sys.stderr)
        return 0
    if images("train") is None:
        print("no MNIST in NBMLP_DATA: rows are drawn at random.", file=sys.stderr)
        given.only = [part for part in given.only if part != "accuracy"]
    settings = {name: value for name, value in vars(given).items() if name not in ("only", "json")}
    results = Results(given.json, machine.describe(), settings)
    results.take_up()
    try:
        _Bench(given, results).all()
    except Failed as error:
        print(f"\nbench.hosts: {error}", file=sys.stderr)
        return 1
    finally:
        print(file=sys.stderr)
    print(f"{machine_lines(results.machine)}\n{given.hosts} hosts, a core each\n\n{results}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that namespaces are removed
    raise SystemExit(main())

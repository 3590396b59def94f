"""``python -m bench.compare``: nbmlp beside its peers, one interleaved run, one table.

Each peer runs in child processes, one per configuration; while one trains, all others sleep. A
first short pass finds every peer's fastest configurations, a check compares their weights with
NumPy's after a few batches, then the rounds go from one to the next so that a disturbance hits all
alike. A peer's figure is that of the configuration with the best median.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import limit as fma
from bench import machine
from bench.nets import NETS, Layer, Net, draw_nets, make_problem
from bench.options import names_of, whole
from bench.peers import PEERS, Variant
from bench.results import Cell, Result, Run, header, notes, summary, table
from bench.worker import PeerError, Worker
from nbmlp.tuning import available_threads

__all__ = ["Bench", "main"]

#: Weights may be this far from NumPy's, relative to the way that they moved in an epoch ...
TOLERANCE = 1e-3
#: ... and with units that have a kink: a z that is 0 but for rounding is taken for positive by one
#: library and for negative by another. One such z of 300,000 moves all layers below by 2e-3.
KINK_TOLERANCE = 1e-2
#: Rows of an epoch in the first pass, which only ranks configurations.
SCREEN_ROWS = 5_000
SCREEN_TURNS = 3
#: Configurations of a peer that stay in the rounds, if they came this close to the fastest.
FINALISTS, CLOSE = 2, 0.7
#: Whole batches of the epoch that is compared; a left-over one follows. Over hundreds of updates
#: even two builds of OpenBLAS part by 1e-2 on a ReLU net: rounding decides at the kinks.
COMPARED_BATCHES = 5


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """The children, and the measurements made with them.

    Parameters
    ----------
    peers : sequence of str
        Names in ``PEERS``.
    rounds : int
        Turns of each peer on each net and batch size.
    seconds : float
        Length of a turn; at least one epoch.
    """

    def __init__(self, peers: Sequence[str], rounds: int, seconds: float) -> None:
        self.rounds, self.seconds = rounds, seconds
        self.workers: dict[str, list[Worker]] = {name: [] for name in peers}
        self.reasons: dict[str, str] = {}
        self.reference = Worker("numpy", Variant(1, {"OPENBLAS_NUM_THREADS": "1"}, "reference"))
        for name in peers:
            self._start(name)

    def _start(self, name: str) -> None:
        for variant in PEERS[name].variants(available_threads()):
            try:
                self.workers[name].append(Worker(name, variant))
            except PeerError as reason:
                say(f"{name} ({variant}): {reason}")
                self.reasons[name] = str(reason)
                if "ModuleNotFoundError" in str(reason):
                    return

    def close(self) -> None:
        """End all children."""
        for worker in [self.reference, *(w for group in self.workers.values() for w in group)]:
            worker.close()

    def measure(self, net: Net, batch: int) -> Cell:
        """One cell of the table."""
        cell = Cell(net, batch)
        finalists: list[Worker] = []
        for name in self.workers:
            try:
                finalists += self._finalists(name, net, batch)
            except PeerError as reason:
                cell.skipped[name] = str(reason)
        short = net.with_rows(min(net.rows, COMPARED_BATCHES * batch + batch // 2 + 1))
        expected, _ = self.reference.check(short, batch)
        found = {w: Result(str(w.variant), w.variant.threads) for w in finalists}
        for worker, result in found.items():
            try:
                self._compare(worker, short, batch, expected, result)
                worker.prepare(net, batch)
            except PeerError as reason:
                result.wrong = str(reason)
        self._rounds(found, cell)
        for name in self.workers:
            results = [result for worker, result in found.items() if worker.name == name]
            if results:  # a wrong one is shown before a fast one
                cell.results[name] = max(results, key=lambda r: (bool(r.wrong), r.rate))
        return cell

    def _finalists(self, name: str, net: Net, batch: int) -> list[Worker]:
        """The fastest configurations of a peer, found on a shorter epoch, in interleaved turns."""
        short = net.with_rows(min(net.rows, max(SCREEN_ROWS, 2 * batch)))
        seconds = self.seconds / SCREEN_TURNS / 2
        ready = self._each(self.workers[name], lambda w: w.prepare(short, batch))
        turns = [self._each(ready, lambda w: w.run(seconds).rate) for _ in range(SCREEN_TURNS)]
        released = self._each(ready, Worker.release)
        sound = [w for w in released if all(w in turn for turn in turns)]
        rates = {w: max(turn[w] for turn in turns) for w in sound}
        if not rates:
            raise PeerError(self.reasons.get(name, "no configuration"))
        ranked = sorted(rates, key=lambda worker: -rates[worker])
        return [w for w in ranked[:FINALISTS] if rates[w] > CLOSE * rates[ranked[0]]]

    def _each(
        self, workers: Iterable[Worker], work: Callable[[Worker], object]
    ) -> dict[Worker, Any]:
        """What `work` returns for each worker; who fails is left out, with a line about it."""
        done = {}
        for worker in workers:
            try:
                done[worker] = work(worker)
            except PeerError as reason:
                self.reasons[worker.name] = str(reason)
                say(f"{worker.name} ({worker.variant}): {reason}")
        return done

    def _compare(
        self, worker: Worker, net: Net, batch: int, expected: list[Layer], result: Result
    ) -> None:
        found, result.unlike = worker.check(net, batch)
        if result.unlike is None:
            result.deviation = deviation(found, expected, make_problem(net.with_rows(1)).layers)
            if not result.deviation <= tolerance(net):
                result.wrong = f"weights differ from NumPy's by {result.deviation:.1e}"

    def _rounds(self, found: dict[Worker, Result], cell: Cell) -> None:
        workers = list(found)
        for i in range(self.rounds if workers else 0):
            # Another one starts each round: no peer always follows the same neighbour.
            for worker in workers[i % len(workers) :] + workers[: i % len(workers)]:
                if not found[worker].wrong:
                    self._turn(worker, found[worker], cell)
        for worker, result in found.items():
            try:
                worker.release()
            except PeerError as reason:
                result.wrong = result.wrong or str(reason)

    def _turn(self, worker: Worker, result: Result, cell: Cell) -> None:
        before, start = machine.busy_seconds(), time.perf_counter()
        try:
            turn = worker.run(self.seconds)
        except PeerError as reason:
            result.wrong = str(reason)
            return
        after, wall = machine.busy_seconds(), time.perf_counter() - start
        result.rates.append(turn.rate)
        result.cores.append(turn.cores)
        if before is not None and after is not None:
            cell.others.append(max(0.0, (after - before - turn.cpu) / wall))


def tolerance(net: Net) -> float:
    """The greatest :func:`deviation` of a peer that computes the same."""
    return KINK_TOLERANCE if net.hidden == "relu" else TOLERANCE


def deviation(found: list[Layer], expected: list[Layer], first: list[Layer]) -> float:
    """The greatest ||found - expected|| / ||expected - first|| over the parameter arrays."""
    shares = [
        np.linalg.norm(got - want) / np.linalg.norm(want - start)
        for layers in zip(found, expected, first, strict=True)
        for got, want, start in zip(*layers, strict=True)
        if want is not None
    ]
    return float(np.max(shares))  # unlike max(), NaN if any is


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    p.add_argument(
        "--nets", default="A,B,C,D,E", type=lambda t: names_of(t, [*NETS, "random"]),
        help="letters, or 'random' for nets and batches drawn from the seed",
    )  # fmt: skip
    p.add_argument("--seed", default=0, type=int, help="of the random nets")
    p.add_argument("--count", default=12, type=whole, help="number of random nets")
    p.add_argument(
        "--batches", default="20,100,1000,10000", type=lambda t: [whole(b) for b in t.split(",")]
    )
    p.add_argument("--peers", default=",".join(PEERS), type=lambda t: names_of(t, list(PEERS)))
    p.add_argument("--rounds", default=5, type=whole, help="turns of each peer")
    p.add_argument("--seconds", default=0.3, type=float, help="length of a turn")
    p.add_argument("--rows", type=whole, help="rows of an epoch, if not the net's own number")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    p.add_argument("--png", type=Path, metavar="FILE", help="draw throughput against batch size")
    return p


def run(args: argparse.Namespace) -> Run:
    """Measure everything that was asked for."""
    threads = available_threads()
    outcome = Run(
        machine.describe(), fma.measure(threads), {"rounds": args.rounds, "seconds": args.seconds}
    )
    say(header(outcome))
    bench = Bench(args.peers, args.rounds, args.seconds)
    try:
        for net, batch in cells_of(args):
            outcome.cells.append(bench.measure(net, batch))
            # A neighbour only ever lowers a peak: keep the highest.
            peak = max(outcome.limit.all, fma.fma_gflops(threads))
            outcome.limit = replace(outcome.limit, all=peak)
            say(table(Run(outcome.machine, outcome.limit, {}, outcome.cells[-1:])))
    finally:
        bench.close()
    return outcome


def cells_of(args: argparse.Namespace) -> list[tuple[Net, int]]:
    """Nets and batch sizes to measure."""
    cells = [(NETS[name], batch) for name in args.nets if name in NETS for batch in args.batches]
    if "random" in args.nets:
        cells += draw_nets(args.seed, args.count)
    return [(net.with_rows(args.rows) if args.rows else net, batch) for net, batch in cells]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a peer's weights were wrong, else 0."""
    args = parser().parse_args(argv)
    outcome = run(args)
    print(header(outcome), table(outcome), summary(outcome), notes(outcome), sep="\n\n")
    if args.json:
        args.json.write_text(json.dumps(outcome.to_dict(), indent=1) + "\n", encoding="utf-8")
    if args.png:
        from bench.plot import draw

        draw(outcome, args.png)
    return int(any(r.wrong for cell in outcome.cells for r in cell.results.values()))


if __name__ == "__main__":
    sys.exit(main())

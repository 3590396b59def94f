"""``python -m bench.latency``: how long one row's prediction takes, and how many rows a second.

The same weights in each library, their answers compared first; turns of one after the other in one
process, medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench import limit as fma
from bench import machine
from bench.nets import NETS, Net, Problem, make_problem
from bench.options import names_of, whole
from bench.peers import OURS
from bench.results import machine_lines, markdown, thousands
from nbmlp.tuning import available_threads

__all__ = ["Timing", "main"]

ROWS = 10_000
THREADS = available_threads()
#: Libraries compute in another order: answers may differ by so much.
TOLERANCE = 1e-4
Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """One library's time for one call.

    Attributes
    ----------
    net, method, who : str
    rows, threads : int
    seconds : list of float
        Per call, one value per round.
    share : float
        Of the FMA limit of so many threads.
    """

    net: str
    method: str
    who: str
    rows: int
    threads: int
    seconds: list[float]
    share: float

    def over(self, ours: Timing) -> float:
        """How many times as long as ours, median over the rounds."""
        return median(a / b for a, b in zip(self.seconds, ours.seconds, strict=True))


def classifier(net: Net) -> Net:
    """The same layers as all libraries have them: a classifier, or a regression of one output."""
    if net.sizes[-1] > 1:
        return replace(net, output="softmax", loss="cross_entropy", bias=True, rows=ROWS)
    return replace(net, output="identity", loss="squared_error", bias=True, rows=ROWS)


def ours(problem: Problem, method: str, threads: int) -> Callable[[Any], Any]:
    from bench.peers.nbmlp_net import make_model

    return getattr(make_model(problem, 100, threads), method)  # type: ignore[no-any-return]


def sklearn(problem: Problem, method: str, threads: int) -> Callable[[Any], Any]:
    from bench.peers.sklearn_net import Competitor

    peer = Competitor()
    peer.prepare(problem, 100, threads, shuffle=False)
    return getattr(peer.model, method)  # type: ignore[no-any-return]


def torch(problem: Problem, method: str, threads: int) -> Callable[[Any], Any]:
    import torch as t

    from bench.peers.torch_net import build

    module = build(problem).eval()

    def predict(X: Any) -> Any:
        t.set_num_threads(threads)
        with t.inference_mode():
            out = module(t.from_numpy(X))
            if method == "predict_proba":
                return t.softmax(out, dim=1).numpy()
            return out.argmax(dim=1).numpy() if problem.net.output == "softmax" else out.numpy()

    return predict


LIBRARIES = {OURS: ours, "sklearn": sklearn, "torch": torch}


def answers(problem: Problem, method: str, X: Any, threads: int) -> dict[str, Call]:
    """A call for each library that is installed; their answers are the same."""
    calls: dict[str, Call] = {}
    expected = None
    for name, make in LIBRARIES.items():
        try:
            predict = make(problem, method, threads)
        except ImportError as reason:
            print(f"{name} skipped: {reason}", file=sys.stderr)
            continue
        found = np.asarray(predict(X)).reshape(len(X), -1)
        expected = found if expected is None else expected
        wrong = np.abs(found.astype(float) - expected).max(axis=1) > TOLERANCE
        if wrong.mean() > (0.001 if found.dtype.kind == "i" else 0):  # classes: near ties
            raise RuntimeError(f"{name} answers otherwise in {wrong.sum()} of {len(X)} rows.")
        calls[name] = lambda predict=predict: predict(X)
    return calls


def timed(call: Call, seconds: float) -> float:
    """Seconds of one call: the mean over about `seconds`, the clock read every few calls."""
    call()
    start = time.perf_counter()
    call()
    several = max(1, int(seconds / 10 / max(1e-7, time.perf_counter() - start)))
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(several):
            call()
        calls += several
    return (time.perf_counter() - start) / calls


def measure(
    net: Net, method: str, rows: int, threads: int, args: argparse.Namespace
) -> list[Timing]:
    problem = make_problem(classifier(net))
    X = problem.X[:rows]
    flops = 2 * rows * sum(a * b for a, b in zip(net.sizes, net.sizes[1:], strict=False))
    with threadpool_limits(threads):
        calls = answers(problem, method, X, threads)
        times: dict[str, list[float]] = {name: [] for name in calls}
        limits = []
        for _ in range(args.rounds):
            limits.append(fma.fma_gflops(threads, args.seconds))
            for name, call in calls.items():
                times[name].append(timed(call, args.seconds))
    return [
        Timing(str(net), method, name, rows, threads, seconds,
               median(flops / s / 1e9 / peak for s, peak in zip(seconds, limits, strict=True)))
        for name, seconds in times.items()
    ]  # fmt: skip


def tables(timings: Sequence[Timing]) -> str:
    """Markdown: one row's latency in microseconds, many rows as throughput."""
    first = {(t.net, t.method, t.rows, t.threads): t for t in timings if t.who == OURS}
    rows = [["net", "method", "rows", "threads", "library", "time", "of the limit", "over ours"]]
    for t in timings:
        us = median(t.seconds) * 1e6
        text = f"{us:.1f} us" if t.rows == 1 else f"{thousands(t.rows / us * 1e6)} k rows/s"
        ratio = t.over(first[t.net, t.method, t.rows, t.threads])
        rows.append([t.net, t.method, str(t.rows), str(t.threads), t.who, text,
                     f"{t.share:.0%}" if t.rows > 1 else "", f"{ratio:.1f}"])  # fmt: skip
    return markdown(rows)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    p.add_argument("--one", default="A,C", type=lambda t: names_of(t, list(NETS)),
                   help="nets of which one row is predicted")  # fmt: skip
    p.add_argument("--many", default="A,B,C,E", type=lambda t: names_of(t, list(NETS)),
                   help=f"nets of which {ROWS:,} rows are predicted")  # fmt: skip
    p.add_argument("--rounds", default=7, type=whole)
    p.add_argument("--seconds", default=0.1, type=float, help="length of a turn")
    p.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    facts, timings = machine.describe(), []
    for name in args.one:
        methods = ["predict", "predict_proba"] if NETS[name].sizes[-1] > 1 else ["predict"]
        for method in methods:
            timings += measure(NETS[name], method, 1, 1, args)
    for name in args.many:
        for threads in sorted({1, THREADS}):
            timings += measure(NETS[name], "predict", ROWS, threads, args)
    print(machine_lines(facts), tables(timings), sep="\n\n")
    if args.json:
        report = {"machine": facts, "timings": [asdict(t) for t in timings]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

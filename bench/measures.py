"""``python -m bench.measures``: what nbmlp makes of this machine, without peers.

Everything that is timed takes turns in one process, the machine's limit too; a share or a ratio is
the median of those of the rounds. Start-up and memory are measured in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import limit as fma
from bench import machine, startup
from bench.memory import peak
from bench.nets import NETS, Net, Problem, make_problem
from bench.options import names_of, whole
from bench.results import machine_lines, markdown, thousands
from nbmlp.tuning import AVX2, available_threads, detect

__all__ = ["Case", "Figure", "Rounds", "main"]

ROWS = 20_000
THREADS = available_threads()
#: Unit of a share of the FMA limit.
SHARE = "of the limit"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """One training that is timed: a net, how, and on how many threads."""

    net: str
    batch: int
    threads: int = THREADS
    dtype: str = "float32"
    inputs: str = "float32"
    optimizer: str = "sgd"

    @property
    def shape(self) -> Net:
        net = NETS[self.net]
        return net.with_rows(min(net.rows, ROWS))

    def __str__(self) -> str:
        return f"{self.shape}, batch {self.batch}"


@dataclass(frozen=True)
class Figure:
    """One line of the result; `value` is in `unit`."""

    section: str
    what: str
    value: float
    unit: str

    def __str__(self) -> str:
        if self.unit == "samples/s":
            return f"{thousands(self.value)} thousand samples/s"
        if self.unit == SHARE:
            return f"{self.value:.1%} {self.unit}"
        return f"{self.value:.3g} {self.unit}"


@dataclass
class Rounds:
    """Rates (samples/s) of every case and limits (GFLOP/s, all threads), a value per round."""

    rates: dict[Case, list[float]]
    limits: list[float] = field(default_factory=list)

    def rate(self, case: Case) -> float:
        return median(self.rates[case])

    def share(self, case: Case) -> float:
        """Of the FMA limit: matrix products only."""
        flops = case.shape.flops_per_sample / 1e9
        return median(
            r * flops / peak for r, peak in zip(self.rates[case], self.limits, strict=True)
        )

    def ratio(self, case: Case, other: Case) -> float:
        return median(a / b for a, b in zip(self.rates[case], self.rates[other], strict=True))


@cache
def _problem(net: Net) -> Problem:
    return make_problem(net)


@cache
def _inputs(net: Net, kind: str) -> Any:
    X = _problem(net).X
    return (X * 255).astype(np.uint8) if kind == "uint8" else X.astype(kind, copy=False)


def ready(case: Case) -> Callable[[], object]:
    """An epoch of the case, all its code compiled."""
    from bench.peers.nbmlp_net import make_model, targets

    problem, X = _problem(case.shape), _inputs(case.shape, case.inputs)
    settings = {} if case.optimizer == "sgd" else {"optimizer": case.optimizer}
    model = make_model(problem, case.batch, case.threads, dtype=case.dtype, **settings)
    y = targets(problem) if problem.net.output == "softmax" else problem.Y.astype(case.dtype)
    model.partial_fit(X, y)
    return lambda: model.partial_fit(X, y)


def turn(epoch: Callable[[], object], rows: int, seconds: float) -> float:
    """Samples per second of whole epochs for about so long, after an untimed one."""
    epoch()
    start, epochs = time.perf_counter(), 0
    while not epochs or time.perf_counter() - start < seconds:
        epoch()
        epochs += 1
    return epochs * rows / (time.perf_counter() - start)


def measure(cases: Sequence[Case], rounds: int, seconds: float) -> Rounds:
    """All cases and the limit in turns."""
    epochs = {case: ready(case) for case in cases}
    outcome = Rounds({case: [] for case in epochs})
    for _ in range(rounds if epochs else 0):
        outcome.limits.append(fma.fma_gflops(THREADS, seconds))
        for case, epoch in epochs.items():
            outcome.rates[case].append(turn(epoch, case.shape.rows, seconds))
    return outcome


# -- what is timed, and what is made of it

SHARES = [
    *(Case(net, batch) for net in "BE" for batch in (20, 100, 1000)),
    Case("A", 1000, inputs="uint8"),
]
SCALING = [(Case(n, b), Case(n, b, 1)) for n in "BE" for b in (20, 1000) if THREADS > 1]
DOUBLES = [
    (Case(n, b, dtype="float64", inputs="float64"), Case(n, b))
    for n in "ABCDE"
    for b in (100, 1000)
]
ADAM = [(Case("B", 100, optimizer="adam"), Case("B", 100))]
PAIRS = {
    "threads": (SCALING, f"times one thread ({THREADS} threads)"),
    "float64": (DOUBLES, "times float32"),
    "adam": (ADAM, "times plain SGD"),
}


def timed_cases(sections: Sequence[str]) -> list[Case]:
    """Without repetition, in a fixed order."""
    cases = list(SHARES) if "limit" in sections else []
    for name, (pairs, _) in PAIRS.items():
        cases += [case for pair in pairs for case in pair if name in sections]
    return list(dict.fromkeys(cases))


def timed_figures(sections: Sequence[str], outcome: Rounds) -> list[Figure]:
    figures = []
    if "limit" in sections:
        figures.append(
            Figure(
                "limit",
                f"FMA, float32, {detect().name}, {THREADS} threads",
                median(outcome.limits),
                "GFLOP/s",
            )
        )
        for case in SHARES:
            what = f"{case}{'' if case.inputs == 'float32' else ', ' + case.inputs}"
            figures.append(Figure("limit", what, outcome.rate(case), "samples/s"))
            figures.append(Figure("limit", what, outcome.share(case), SHARE))
    for name, (pairs, unit) in PAIRS.items():
        if name in sections:
            figures += [Figure(name, str(a), outcome.ratio(a, b), unit) for a, b in pairs]
    return figures


def avx2_figures(args: argparse.Namespace) -> list[Figure]:
    """The shares of the limit again, and the limit, with machine code for a CPU without AVX-512."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    if not features.get("avx2"):
        print("avx2: SKIPPED, this CPU has none", file=sys.stderr)
        return []
    beyond = ("avx512", "avx10", "amx", "prefer-256")
    text = ",".join(
        ("+" if on and not name.startswith(beyond) else "-") + name for name, on in features.items()
    )
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "avx2.json"
        command = [
            sys.executable,
            "-m",
            "bench.measures",
            "--only",
            "limit",
            "--json",
            str(report),
            "--rounds",
            str(args.rounds),
            "--seconds",
            str(args.seconds),
        ]
        env = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": text}
        subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(report.read_text(encoding="utf-8"))["figures"]
    figures = [Figure(**values | {"section": "avx2"}) for values in found]
    assert AVX2.name in figures[0].what
    return figures


def memory_figures(args: argparse.Namespace) -> list[Figure]:
    figures = []
    for optimizer in ("sgd", "adam"):
        for batch in (100, 1000, 10_000):
            case = Case("E", batch)
            found = peak(case.shape, batch, THREADS, optimizer)
            what = f"{case}, {optimizer}: "
            figures += [
                Figure("memory", what + part, value, "MB")
                for part, value in (
                    ("training grows by", found.grown),
                    ("parameters, slots, snapshot", found.parameters),
                    ("gradient, transposed weights, workspace", found.workspace),
                )
            ]
    return figures


def start_figures(args: argparse.Namespace) -> list[Figure]:
    def warm(code: str, *extra: str) -> float:
        startup.run(code, *extra)  # fills the cache
        return median(startup.seconds(code, *extra) for _ in range(args.rounds))

    def cold() -> float:
        with tempfile.TemporaryDirectory() as empty:
            return startup.seconds(startup.FIRST_EPOCH, cache=empty)

    figures = [
        Figure("start", "python -c pass", warm("pass"), "s"),
        Figure("start", "import nbmlp", warm(startup.IMPORT), "s"),
        Figure("start", "to the end of a first epoch, 60,000 x 784, cold cache", cold(), "s"),
        Figure("start", "the same, warm cache", warm(startup.FIRST_EPOCH), "s"),
    ]
    folder = startup.mnist_folder()
    if folder.is_dir():
        seconds = warm(startup.MNIST_EPOCH, str(folder))
        figures.append(Figure("start", "to the end of MNIST's first epoch, warm", seconds, "s"))
    else:
        print(
            f"MNIST: SKIPPED, no {folder}; NBMLP_DATA names the folder of mnist/", file=sys.stderr
        )
    return figures


FRESH = {"avx2": avx2_figures, "memory": memory_figures, "start": start_figures}
SECTIONS = ["limit", *PAIRS, *FRESH]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.measures", description=__doc__)
    p.add_argument(
        "--only",
        default=",".join(SECTIONS),
        type=lambda t: names_of(t, SECTIONS),
        help="which of " + ", ".join(SECTIONS),
    )
    p.add_argument("--rounds", default=7, type=whole)
    p.add_argument("--seconds", default=0.15, type=float, help="length of a turn")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    facts = machine.describe()
    figures = timed_figures(args.only, measure(timed_cases(args.only), args.rounds, args.seconds))
    for name, section in FRESH.items():
        figures += section(args) if name in args.only else []
    rows = [["", "what", "figure"], *([f.section, f.what, str(f)] for f in figures)]
    print(machine_lines(facts), markdown(rows), sep="\n\n")
    if args.json:
        report = {"machine": facts, "figures": [asdict(f) for f in figures]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench.sklearn_compare``: the drop-in estimators beside scikit-learn's own.

The same settings and seeds; each library in processes of its own, scikit-learn once for each number
of BLAS threads; turns of one after the other, medians over the rounds, ratios paired by round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import machine
from bench.options import names_of, whole
from bench.peers import OURS, Variant, openblas, thread_counts
from bench.results import machine_lines, markdown
from bench.startup import mnist_folder
from nbmlp.tuning import available_threads

__all__ = ["TASKS", "Outcome", "main"]

THEIRS = "sklearn"
#: What a task's `work` returns: a score, or NaN where there is none.
Work = Callable[[], float]


def _estimators(package: str) -> Any:
    if package == OURS:
        import nbmlp

        return nbmlp
    import sklearn.neural_network

    return sklearn.neural_network


def mnist(package: str) -> Work:
    """784-300-10, batch 200, adam, float32, 5 epochs; accuracy on the test images."""
    import nbmlp

    data = nbmlp.read(mnist_folder())
    X, X_test = (np.asarray(A, np.float32) / 255 for A in (data.X, data.test.X))
    settings = {"hidden_layer_sizes": (300,), "batch_size": 200, "max_iter": 5, "random_state": 0}

    def work() -> float:
        model = _estimators(package).MLPClassifier(**settings).fit(X, data.y)
        work.score = lambda: model.score(X_test, data.test.y)  # type: ignore[attr-defined]
        return np.nan

    return work


def digits(package: str) -> Work:
    """scikit-learn's digits, all settings at their defaults; accuracy on a quarter held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)

    def work() -> float:
        model = _estimators(package).MLPClassifier(random_state=0).fit(X, y)
        work.score = lambda: model.score(X_test, y_test)  # type: ignore[attr-defined]
        return np.nan

    return work


def regression(package: str) -> Work:
    """5-50-1, batch 20, 1,500 rows, 20 epochs; R2."""
    rng = np.random.default_rng(0)
    X = rng.random((1500, 5))
    y = np.sin(X.sum(axis=1)) + 0.1 * rng.normal(size=len(X))
    settings = {"hidden_layer_sizes": (50,), "batch_size": 20, "max_iter": 20, "random_state": 0}

    def work() -> float:
        model = _estimators(package).MLPRegressor(**settings).fit(X, y)
        work.score = lambda: model.score(X, y)  # type: ignore[attr-defined]
        return np.nan

    return work


def one_row(package: str) -> Work:
    """1,000 times `predict` of one row, 784-45-16."""
    rng = np.random.default_rng(0)
    X, y = rng.random((400, 784)), rng.integers(0, 16, 400)
    model = _estimators(package).MLPClassifier((45,), max_iter=1, random_state=0).fit(X, y)
    row = X[:1].copy()

    def work() -> float:
        for _ in range(1000):
            model.predict(row)
        return np.nan

    return work


def grid(package: str) -> Work:
    """GridSearchCV of 20 nets of 30 units on the digits, 100 epochs each, n_jobs=1; best score."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    X, y = load_digits(return_X_y=True)
    model = _estimators(package).MLPClassifier((30,), max_iter=100, random_state=0)
    settings = {"alpha": np.logspace(-5, -1, 5), "learning_rate_init": [0.001, 0.01]}

    def work() -> float:
        return float(GridSearchCV(model, settings, cv=2, refit=False).fit(X / 16, y).best_score_)

    return work


TASKS: dict[str, Callable[[str], Work]] = {
    "mnist": mnist, "digits": digits, "regression": regression, "one_row": one_row, "grid": grid,
}  # fmt: skip


@dataclass
class Outcome:
    """One task: seconds and scores of each library, a value per round."""

    task: str
    what: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def best_of_theirs(self) -> str:
        """The number of threads at which scikit-learn is fastest."""
        return min((n for n in self.seconds if n != OURS), key=lambda n: median(self.seconds[n]))

    def ratio(self) -> float:
        """How many times as long as ours scikit-learn takes."""
        theirs = self.seconds[self.best_of_theirs()]
        return median(a / b for a, b in zip(theirs, self.seconds[OURS], strict=True))


# -- in the children


@cache
def _ready(task: str, package: str) -> Work:
    warnings.simplefilter("ignore")
    work = TASKS[task](package)
    work()  # compiled, loaded
    return work


def _turn(task: str, package: str) -> tuple[float, float]:
    work = _ready(task, package)
    start = time.perf_counter()
    score = work()
    seconds = time.perf_counter() - start
    return seconds, getattr(work, "score", lambda: score)()


# -- in the parent


@contextmanager
def children() -> Iterator[dict[str, Any]]:
    """A process for ours, and one for each number of threads of scikit-learn's BLAS."""
    context, pools = multiprocessing.get_context("spawn"), {}
    cores = available_threads()
    variants = [v for v in openblas(cores) if v.note == "default"]
    assert len(variants) == len(thread_counts(cores))
    for name, variant in [(OURS, Variant(cores)), *((f"{THEIRS} {v}", v) for v in variants)]:
        before = dict(os.environ)
        os.environ.update(variant.env)
        pools[name] = context.Pool(1)
        pools[name].apply(os.getpid)  # it has started, with this environment
        os.environ.clear()
        os.environ.update(before)
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.terminate()


def measure(task: str, pools: dict[str, Any], rounds: int) -> Outcome:
    what = (TASKS[task].__doc__ or "").strip().rstrip(".")
    outcome = Outcome(task, what, {name: [] for name in pools})
    for _ in range(rounds):
        for name, pool in pools.items():
            seconds, score = pool.apply(_turn, (task, name.split()[0]))
            outcome.seconds[name].append(seconds)
            outcome.scores[name] = score
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [["task", "scikit-learn", "nbmlp", "times sooner", "scores"]]
    for o in outcomes:
        theirs = o.best_of_theirs()
        scores = f"{o.scores[theirs]:.4f}, {o.scores[OURS]:.4f}"
        rows.append(
            [
                o.what, f"{median(o.seconds[theirs]):.3g} s ({theirs.split()[-1]})",
                f"{median(o.seconds[OURS]):.3g} s", f"{o.ratio():.1f}",
                "" if np.isnan(o.scores[OURS]) else scores,
            ]
        )  # fmt: skip
    return markdown(rows)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.sklearn_compare", description=__doc__)
    p.add_argument("--tasks", default=",".join(TASKS), type=lambda t: names_of(t, list(TASKS)))
    p.add_argument("--rounds", default=9, type=whole)
    p.add_argument("--json", type=Path, metavar="FILE", help="write every time measured")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if "mnist" in args.tasks and not mnist_folder().is_dir():
        print(f"mnist: SKIPPED, no {mnist_folder()}; NBMLP_DATA names the folder of mnist/",
              file=sys.stderr)  # fmt: skip
        args.tasks.remove("mnist")
    facts = machine.describe()
    with children() as pools:
        outcomes = [measure(task, pools, args.rounds) for task in args.tasks]
    print(machine_lines(facts), table(outcomes), sep="\n\n")
    if args.json:
        report = {"machine": facts, "tasks": [asdict(o) for o in outcomes]}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

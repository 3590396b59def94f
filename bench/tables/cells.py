"""Cells: one contestant on one table with one seed, in a fresh process; finished ones are kept.

``python -m bench.tables.cells`` is that process: it reads a cell from standard input and writes
what was found to standard output, both JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.machine import busy_seconds, describe, installed
from bench.tables.data import CLASSES, Split, Table, load
from bench.tables.peers import CONTESTANTS, OURS
from bench.tables.problem import make_problem, scores

__all__ = ["Key", "Outcome", "Store", "measure", "run_in_child", "run_missing"]

PACKAGES = (OURS, "numpy", "numba", "pandas", "scikit-learn", "lightgbm", "catboost", "optuna",
            "pytabkit", "torch")  # fmt: skip
#: Training rows, besides one of each class, that kernels are compiled on.
WARM_ROWS = 256
#: What libraries read before they start their threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
           "LOKY_MAX_CPU_COUNT")  # fmt: skip


class Key(NamedTuple):
    """What tells cells apart."""

    table: str
    contestant: str
    seed: int
    development: bool = False
    cores: int = 2
    #: For those that take as long as they are given, else 0.
    limit: float = 0.0

    def __str__(self) -> str:
        split = "development, " if self.development else ""
        return f"{self.table}, {self.contestant}, {split}seed {self.seed}"


@dataclass
class Outcome:
    """What came of it.

    Attributes
    ----------
    key : Key
    error : float or None
        Share of wrong classes, or RMSE over the target's deviation; None where it failed.
    log_loss : float or None
        Of classes.
    rows : int
        Test rows.
    fit, predict : float
        Seconds of the clock.
    fit_cpu, predict_cpu : float
        Seconds of all processors, child processes included.
    others : float or None
        Cores that other processes used during `fit`, where the system tells.
    mebibytes : float
        The most memory that the process held.
    failed : str
        Why there is no error.
    versions, machine : dict
    """

    key: Key
    error: float | None = None
    log_loss: float | None = None
    rows: int = 0
    fit: float = 0.0
    predict: float = 0.0
    fit_cpu: float = 0.0
    predict_cpu: float = 0.0
    others: float | None = None
    mebibytes: float = 0.0
    failed: str = ""
    versions: dict[str, str] | None = None
    machine: dict[str, Any] | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**self.key._asdict(), **{k: v for k, v in asdict(self).items()
                                                    if k != "key"}})  # fmt: skip

    @classmethod
    def from_json(cls, line: str) -> Outcome:
        """Read what `to_json` wrote."""
        values = json.loads(line)
        key = Key(**{name: values.pop(name) for name in Key._fields})
        return cls(key, **values)


# -- in the child


class Clock(NamedTuple):
    """Seconds of the clock and of all processors; cores that other processes used meanwhile."""

    wall: float
    cpu: float
    others: float | None


def timed(work: Callable[..., Any], *args: Any) -> tuple[Any, Clock]:
    """What it returns, and how long it took."""
    busy, cpu, start = busy_seconds(), cpu_seconds(), time.perf_counter()
    found = work(*args)
    cpu, wall, after = cpu_seconds() - cpu, time.perf_counter() - start, busy_seconds()
    known = busy is not None and after is not None
    return found, Clock(wall, cpu, max(0.0, (after - busy - cpu) / wall) if known else None)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def few(table: Table, split: Split) -> Split:
    """A small part of the training rows, with all their classes: to compile on."""
    rows = np.arange(min(WARM_ROWS, len(split.train)))
    if table.task == CLASSES:
        rows = np.union1d(rows, np.unique(table.target[split.train], return_index=True)[1])
    return Split(split.train[rows], split.val[:WARM_ROWS], split.test[:1])


def measure(key: Key) -> Outcome:
    """Fit, predict, score."""
    table, contestant = load(key.table), CONTESTANTS[key.contestant]
    split = table.split(key.seed, key.development)
    seconds = key.limit
    if contestant.warm:
        contestant.fit(make_problem(table, few(table, split), key.seed, key.cores, seconds)[0])
    problem, X, y = make_problem(table, split, key.seed, key.cores, seconds)
    predict, fit = timed(contestant.fit, problem)
    predicted, asked = timed(predict, X)
    return Outcome(
        key, **scores(table, y, predicted), rows=len(y), fit=fit.wall, predict=asked.wall,
        fit_cpu=fit.cpu, predict_cpu=asked.cpu, others=fit.others,
        mebibytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        versions={p: v for p in PACKAGES if (v := installed(p))}, machine=describe(),
    )  # fmt: skip


def main() -> None:
    """The child: one cell."""
    # Libraries may print: what they write to standard output must not mix with the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    key = Key(**json.load(sys.stdin))
    warnings.simplefilter("ignore")
    try:
        outcome = measure(key)
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        outcome = Outcome(key, failed=f"{type(error).__name__}: {first[0]}")
    answer.write(outcome.to_json())
    answer.close()


# -- in the parent


def run_in_child(key: Key) -> Outcome:
    """Measure in a fresh process that has as many cores as the key says."""
    env = os.environ | {name: str(key.cores) for name in THREADS}
    command = [sys.executable, "-m", "bench.tables.cells"]
    done = subprocess.run(
        command, input=json.dumps(key._asdict()), env=env, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: keep_to(key.cores),
    )  # fmt: skip
    try:
        return Outcome.from_json(done.stdout)
    except ValueError:
        return Outcome(key, failed=f"its process ended with {done.returncode}")


def keep_to(cores: int) -> None:
    """Allow this process so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


class Store:
    """JSON lines, one a cell; of two with the same key the later one counts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "cells.jsonl"

    def read(self) -> dict[Key, Outcome]:
        """All that was kept; a line that was cut off while it was written is none."""
        found: dict[Key, Outcome] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    outcome = Outcome.from_json(line)
                except (ValueError, KeyError, TypeError):
                    continue
                found[outcome.key] = outcome
        return found

    def add(self, outcome: Outcome) -> None:
        """Write it down at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a", encoding="utf-8") as f:
            f.write(("" if whole else "\n") + outcome.to_json() + "\n")


def run_missing(
    keys: Iterable[Key], store: Store, limit: int | None = None,
    run: Callable[[Key], Outcome] = run_in_child, anew: bool = False,
) -> Iterator[Outcome]:  # fmt: skip
    """Measure and keep cells that are not there or have failed; `limit` of them at most."""
    kept = {} if anew else store.read()
    missing = [key for key in keys if key not in kept or kept[key].failed]
    for key in missing[:limit]:
        outcome = run(key)
        store.add(outcome)
        yield outcome


if __name__ == "__main__":
    main()

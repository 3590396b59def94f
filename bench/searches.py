"""``python -m bench.searches``: 40 small fits by one worker of a Dask cluster and by two.

A grid search with five folds over the digits, on clusters of processes with one thread each: by
``nbmlp.dask.parallel`` on two, as a single task on one (joblib would keep it in the program). Turns
of one after the other, which comes first alternates; the speed-up is the median over the rounds.
Scores must be those of one process, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.options import whole
from bench.results import machine_lines, markdown

__all__ = ["Outcome", "main", "measure"]

#: Candidates, each fitted on five folds.
_GRID = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2], "learning_rate_init": [0.001, 0.003]}
_FOLDS = 5
#: Workers of the clusters that are compared.
_SIZES = (1, 2)


@dataclass
class Outcome:
    """Seconds of a search, by the number of workers, one for each round.

    Attributes
    ----------
    epochs : int
        Of each fit.
    seconds : dict of int to list of float
    same : bool
        All scores were those of one process.
    """

    epochs: int
    seconds: dict[int, list[float]] = field(default_factory=dict)
    same: bool = True

    @property
    def gains(self) -> list[float]:
        """How much faster two workers were than one, round by round."""
        return [one / two for one, two in zip(*(self.seconds[n] for n in _SIZES), strict=True)]


def _search(epochs: int) -> list[float]:
    """Scores of all candidates on all folds."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV

    from nbmlp import MLPClassifier

    X, y = load_digits(return_X_y=True)
    model = MLPClassifier(
        (100,), batch_size=50, max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = GridSearchCV(model, _GRID, cv=_FOLDS, refit=False).fit(X / 16, y).cv_results_
    return [float(score) for k in range(_FOLDS) for score in found[f"split{k}_test_score"]]


def measure(epochs: int, rounds: int) -> Outcome:
    """Turns of both clusters, after one each that is not counted."""
    from distributed import Client, LocalCluster

    import nbmlp.dask

    alone, outcome = _search(epochs), Outcome(epochs, {n: [] for n in _SIZES})

    def turn(client: Any) -> float:
        start = time.perf_counter()
        if len(client.nthreads()) == 1:
            found = client.submit(_search, epochs, pure=False).result()
        else:
            with nbmlp.dask.parallel(client):
                found = _search(epochs)
        seconds = time.perf_counter() - start
        outcome.same = outcome.same and found == alone
        return seconds

    with ExitStack() as stack:
        clients: dict[int, Any] = {}
        for n in _SIZES:
            cluster = LocalCluster(
                n_workers=n, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            )
            clients[n] = stack.enter_context(Client(stack.enter_context(cluster)))
            nbmlp.dask.setup(clients[n])
            turn(clients[n])
        for i in range(rounds):
            for n in _SIZES if i % 2 else reversed(_SIZES):
                outcome.seconds[n].append(turn(clients[n]))
    return outcome


def table(outcome: Outcome) -> str:
    """Seconds, the speed-up, and whether the scores were the same."""
    fits = len(_GRID["alpha"]) * len(_GRID["learning_rate_init"]) * _FOLDS
    gain, rows = median(outcome.gains), [["workers", "seconds", "fits/s", "speed-up"]]
    for n, seconds in outcome.seconds.items():
        middle = median(seconds)
        shown = f"{gain:.2f}" if n > 1 else ""
        rows.append([str(n), f"{middle:.1f}", f"{fits / middle:.1f}", shown])
    verdict = "those of one process" if outcome.same else "NOT those of one process"
    return f"{markdown(rows)}\n\n{fits} fits of {outcome.epochs} epochs; scores: {verdict}."


def parser() -> argparse.ArgumentParser:
    """Of the command's options."""
    p = argparse.ArgumentParser(prog="python -m bench.searches", description=__doc__)
    p.add_argument("--epochs", type=whole, default=200, help="of each fit")
    p.add_argument("--rounds", type=whole, default=5)
    p.add_argument("--json", type=Path, metavar="FILE", help="write every turn measured")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a score differs."""
    args = parser().parse_args(argv)
    if machine.installed("distributed") is None:
        print('SKIPPED, distributed is missing: pip install "nbmlp[dask]"', file=sys.stderr)
        return 0
    facts, outcome = machine.describe(), measure(args.epochs, args.rounds)
    print(machine_lines(facts), table(outcome), sep="\n\n")
    if args.json:
        report = {"machine": facts, "outcome": asdict(outcome)}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if outcome.same else 1


if __name__ == "__main__":
    sys.exit(main())

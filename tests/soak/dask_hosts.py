"""A search and an ensemble on two hosts, of which one is lost on the way: run by a test.

``python -m tests.soak.dask_hosts SCHEDULER FOLDER COMMAND...`` prints a JSON object; the command
takes the other host away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, get_worker
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

import nbmlp.dask
from nbmlp import MLPClassifier, TabularClassifier
from tests.waiting import until

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1200, 10))
Y = (X[:, 0] + 0.5 * RNG.normal(size=1200) > 0).astype(int)
MODEL = MLPClassifier((16,), max_iter=60, tol=0.0, n_iter_no_change=60, random_state=0)
GRID = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}


class Losing:
    """A score that notes where it was computed, and with which the other host goes."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self.command = folder, command

    def __call__(self, model: Any, X: Any, y: Any) -> float:
        host = get_worker().address.split("//")[1].split(":")[0]
        (self.folder / f"host-{host}").touch()
        both = len([*self.folder.glob("host-*")]) == 2
        if both and self.command:
            try:
                (self.folder / "lost").touch(exist_ok=False)
                subprocess.run(self.command, check=True)
            except FileExistsError:
                pass
        return float(model.score(X, y))


def scores(scoring: Any = None) -> list[float]:
    search = GridSearchCV(MODEL, GRID, cv=5, refit=False, scoring=scoring)
    return [float(score) for score in search.fit(X, Y).cv_results_["mean_test_score"]]


def members(n_jobs: int | None = None) -> tuple[Any, bytes]:
    model = TabularClassifier(n_members=6, epochs=10, random_state=0, n_jobs=n_jobs).fit(X, Y)
    return model.members_, model.predict_proba(X).tobytes()


def main(scheduler: str, folder: Path, command: list[str]) -> dict[str, Any]:
    alone = scores(), members(1)
    with Client(scheduler, timeout="120s") as client:
        until(lambda: len(client.nthreads()) == 2)
        nbmlp.dask.setup(client)
        with parallel_config("dask"):
            same_members = members() == alone[1]
        with nbmlp.dask.parallel(client):
            same_scores = scores(Losing(folder, command)) == alone[0]
        left = len(client.nthreads())
    hosts = sorted(path.name for path in folder.glob("host-*"))
    return {"members": same_members, "scores": same_scores, "hosts": len(hosts), "left": left}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))

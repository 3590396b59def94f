"""Many small models at once: joblib's backends share the cores, end, and change no answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbmlp import MLPClassifier, tuning
from tests.waiting import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="multiprocessing forks here")

#: Run by a fresh Python: the parent has trained on all cores before its workers start.
SCRIPT = """
import json, sys, warnings
import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from nbmlp import MLP, Adam, MLPClassifier

def threads(seed):
    return MLPClassifier((8,), max_iter=2, random_state=seed).fit(X, y)._weights.threads

def scores():
    search = GridSearchCV(model, {"alpha": [1e-4, 1e-2]}, cv=2, n_jobs=2).fit(X, y)
    bag = BaggingClassifier(model, n_estimators=3, n_jobs=2, random_state=0).fit(X, y)
    grid = {"hidden": [8, (5, 4)], "optimizer": ["sgd", Adam(0.01)]}
    native = GridSearchCV(net, grid, cv=2, n_jobs=2).fit(X, y)
    return [
        *native.cv_results_["mean_test_score"],
        *search.cv_results_["mean_test_score"], *cross_val_score(model, X, y, cv=2, n_jobs=2),
        bag.score(X, y),
    ]

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 10))
    y = (X[:, 0] > 0).astype(int)
    model = MLPClassifier((8,), max_iter=3, random_state=0, batch_size=20)
    net = MLP(8, task="classes", epochs=3, batch_size=20)
    MLPClassifier((300,), max_iter=1).fit(X, y)
    with parallel_config(backend="sequential"):
        alone = scores()
    report = {}
    for backend in sys.argv[1:]:
        with parallel_config(backend=backend):
            found = scores()
            used = Parallel(n_jobs=2)(delayed(threads)(i) for i in range(2))
        report[backend] = {"same": found == alone, "threads": used}
    print(json.dumps(report))
"""
#: The first forks, as long as no other has left threads behind.
BACKENDS = ("multiprocessing", "threading", "loky")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    script = tmp_path_factory.mktemp("joblib") / "workers.py"
    script.write_text(SCRIPT)
    root = Path(__file__).resolve().parent.parent
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_NUM_THREADS"}
    path = os.pathsep.join([str(root), env.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), *BACKENDS], env=env | {"PYTHONPATH": path}, check=False,
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_workers_share_the_cores_and_the_answers(backend, report):
    found = report[backend]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert found["same"]
    assert all(threads <= max(1, cores // 2) for threads in found["threads"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("given", "most"), [("1", 1), ("0", 1), ("", None), ("many", None)])
def test_the_process_s_grant_is_respected(given, most, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    free = tuning.available_threads()
    monkeypatch.setenv("NUMBA_NUM_THREADS", given)
    assert tuning.available_threads() == min(free, most or free)
    model = MLPClassifier((8,), max_iter=1).fit([[0.0], [1.0]], [0, 1])
    assert model._weights.threads == tuning.available_threads()

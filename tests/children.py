"""Jobs that tests run in child processes of their own: other threads, layers, signals, forks.

``python -m tests.children NAME`` reads a JSON object of settings from standard input, calls the
function of that name and prints what it returns as the last line.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
JOBS: dict[str, Callable[..., Any]] = {}


def job(function: Callable[..., Any]) -> Callable[..., Any]:
    JOBS[function.__name__] = function
    return function


def start(name: str, env: dict[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
    """Start a job; it waits for nothing but its settings, which are sent."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.children", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(settings) + "\n")
    child.stdin.flush()
    return child


def result(child: subprocess.Popen[str], timeout: float = 120.0) -> Any:
    """What a job returned; AssertionError when it hangs, aborts or raises."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        raise AssertionError(f"the child hangs; {child.communicate()}") from None
    assert child.returncode == 0, f"child ended with {child.returncode}: {err[-1500:]}"
    return json.loads(out.splitlines()[-1])


def run(name: str, env: dict[str, str] | None = None, **settings: Any) -> Any:
    return result(start(name, env, **settings))


def digest(*arrays: np.ndarray) -> str:
    """Equal for equal bits only."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def share_out_everything() -> None:
    """Let even the smallest step run on as many threads as are asked for."""
    from nbmlp import tuning

    tuning.FLOPS_PER_THREAD = 1


# ------------------------------------------------------------------------ what is trained


def rows(n: int, columns: int = 20, kind: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and three classes that depend on them."""
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, columns))
    y = np.argmax(X[:, :3] + 0.3 * X[:, 3:6] ** 2, axis=1)
    return (X * 40 + 128).clip(0, 255).astype(np.uint8) if kind == "uint8" else X.astype(kind), y


#: What is trained in the tests of determinism: settings, rows, and what else fit is given.
CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float64": {"dtype": "float64", "kind": "float64", "activation": "tanh"},
    "left over": {"batch_size": 64, "n": 450, "hidden": (45, 17)},
    "fewer rows than threads": {"batch_size": 3, "n": 100},
    "sub-batches": {"batch_size": 2500, "n": 2600, "epochs": 5},
    "full batch": {"batch_size": None, "n": 1500, "optimizer": "rprop", "epochs": 5},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1, "hidden": (33, 15), "activation": "gelu"},
    "momentum, clip_norm": {
        "optimizer": "sgd(0.1, momentum=0.9, nesterov=True)",
        "clip_norm": 0.05,
    },
    "max_norm": {"max_norm": 0.5, "hidden": (40, 20)},
    "gradient norms, penalties": {"gradient_norms": True, "l1": 1e-4, "l2": 1e-3},
    "weights": {"weighted": True, "optimizer": "adamw", "clip_value": 0.01},
    "uint8, no bias": {"kind": "uint8", "bias": False, "optimizer": "rmsprop_gains"},
    "wide and odd": {"columns": 513, "hidden": (300, 1, 45), "activation": "silu", "n": 300},
    "many blocks": {"columns": 700, "hidden": (129,), "optimizer": "adagrad", "reduction": "sum"},
    "one unit": {"classes": 2, "label_smoothing": 0.1, "activation": "mish"},
    "regression": {"task": "regression", "loss": "huber", "optimizer": "rmsprop"},
    "lbfgs": {"optimizer": "lbfgs", "n": 1100},
}


def train(name: str, threads: int) -> tuple[Any, np.ndarray]:
    """The model of one case and its inputs."""
    from nbmlp import MLP

    settings = {"hidden": (24,), "batch_size": 50, "epochs": 3, "seed": 4, **CASES[name]}
    n, columns = settings.pop("n", 430), settings.pop("columns", 20)
    X, y = rows(n, columns, settings.pop("kind", "float32"))
    y = y % settings.pop("classes", 3)
    weight = np.random.default_rng(1).random(n) if settings.pop("weighted", False) else None
    model = MLP(threads=threads, **settings)
    model.fit(X, y, sample_weight=weight, validation=(X[:50], y[:50]))
    return model, X


def outcome(name: str, threads: int) -> dict[str, Any]:
    """All that must not depend on threads, and the number of threads that ran."""
    model, X = train(name, threads)
    records = [r.to_row() for r in model.history]
    clocks = ("samples_per_second", "seconds", "threads")
    return {
        "threads": [r["threads"] for r in records],
        "weights": digest(model.get_flat()),
        "predictions": digest(model.outputs(X)),
        "history": [[v for k, v in r.items() if k not in clocks] for r in records],
    }


@job
def outcomes(names: list[str], threads: list[int]) -> dict[str, list[dict[str, Any]]]:
    """Outcomes of some cases, each for some numbers of threads in turn."""
    share_out_everything()
    return {name: [outcome(name, t) for t in threads] for name in names}


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    print(json.dumps(JOBS[sys.argv[1]](**settings)), flush=True)


if __name__ == "__main__":
    main()

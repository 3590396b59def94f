"""What a user waits for before the first weights move, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["FIRST_EPOCH", "IMPORT", "MNIST_EPOCH", "mnist_folder", "run", "seconds"]

IMPORT = "import nbmlp"
#: The size of MNIST: the rows are noise, the work is the same.
FIRST_EPOCH = """
import numpy as np
from nbmlp import MLP
rng = np.random.default_rng(0)
X = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
MLP(300, batch_size=100, epochs=1, seed=0).fit(X, np.arange(60_000) % 10)
"""
#: The images themselves, read from the folder that is the first argument.
MNIST_EPOCH = """
import sys
import nbmlp
data = nbmlp.read(sys.argv[1])
nbmlp.MLP(300, batch_size=100, epochs=1, seed=0).fit(data.X, data.y)
"""


def mnist_folder() -> Path:
    """NBMLP_DATA's mnist, else the one in shared/data beside the checkout."""
    given = os.environ.get("NBMLP_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return (Path(given) if given else beside) / "mnist"


def run(code: str, *args: str, cache: str | None = None) -> None:
    """Run `code` in a fresh interpreter; `cache` is Numba's folder, if not the user's own."""
    env = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    subprocess.run([sys.executable, "-c", code, *args], env=env, check=True)


def seconds(code: str, *args: str, cache: str | None = None) -> float:
    """How long `run` takes, from the start of Python to its end."""
    start = time.perf_counter()
    run(code, *args, cache=cache)
    return time.perf_counter() - start

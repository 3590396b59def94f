"""What a user waits for before the first weights move, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

#: The size of MNIST: the rows are noise, the work is the same.
FIRST_EPOCH = """
import numpy as np
from nbmlp import MLP
rng = np.random.default_rng(0)
X = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
MLP(300, batch_size=100, epochs=1, seed=0).fit(X, np.arange(60_000) % 10)
"""


def first_epoch(cache: str | None = None) -> None:
    """From the start of Python to the end of the first epoch; `cache` is Numba's folder."""
    env = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    subprocess.run([sys.executable, "-c", FIRST_EPOCH], env=env, check=True)


class Start:
    """Process start to the end of the first epoch of 60,000 images, 784-300-10."""

    number = 1
    repeat = 2
    warmup_time = 0.0
    timeout = 120

    def setup_cache(self) -> None:
        """Fill the cache for the warm start."""
        first_epoch()

    def time_warm(self) -> None:
        first_epoch()

    def time_cold(self) -> None:
        """With an empty cache: compilation included."""
        with tempfile.TemporaryDirectory() as empty:
            first_epoch(empty)


class Import:
    """Imports in a fresh interpreter; Python's own start not counted."""

    def timeraw_package(self) -> str:
        return "import nbmlp"

    def timeraw_mlp(self) -> str:
        return "from nbmlp import MLP"

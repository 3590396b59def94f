"""What a user waits for before the first weights move, each in a process of its own."""

from __future__ import annotations

import tempfile

from bench.startup import FIRST_EPOCH, IMPORT, run


class Start:
    """Process start to the end of the first epoch of 60,000 images, 784-300-10."""

    number = 1
    repeat = 2
    warmup_time = 0.0
    timeout = 120

    def setup_cache(self) -> None:
        """Fill the cache for the warm start."""
        run(FIRST_EPOCH)

    def time_warm(self) -> None:
        run(FIRST_EPOCH)

    def time_cold(self) -> None:
        """With an empty cache: compilation included."""
        with tempfile.TemporaryDirectory() as empty:
            run(FIRST_EPOCH, cache=empty)


class Import:
    """Imports in a fresh interpreter; Python's own start not counted."""

    def timeraw_package(self) -> str:
        return IMPORT

    def timeraw_mlp(self) -> str:
        return "from nbmlp import MLP"

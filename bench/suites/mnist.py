"""How long it takes to learn MNIST to a test error of 2 %."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

ERROR, EPOCHS = 0.02, 15


def folder() -> Path:
    """NBMLP_DATA's mnist, else the one in shared/data beside the checkout."""
    given = os.environ.get("NBMLP_DATA")
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return (Path(given) if given else beside) / "mnist"


@cache
def images() -> Any:
    import nbmlp

    return nbmlp.read(folder())


def stop_at_the_goal(run: Any, record: Any) -> None:
    test = images().test
    if run.model.evaluate(test.X, test.y)["error"] <= ERROR:
        run.stop("goal reached")


class TwoPercent:
    """784-300-10, the defaults and a cosine of 15 epochs; the test images are looked at after each.

    Compiled beforehand; reading the files is not counted. Seconds of one training: the mean over
    seeds would take minutes.
    """

    number = 1
    repeat = 1
    rounds = 1
    warmup_time = 0.0
    timeout = 180

    def setup(self) -> None:
        from nbmlp import MLP

        if not folder().is_dir():
            print(f"SKIPPED: no {folder()}; NBMLP_DATA names the folder of mnist/", file=sys.stderr)
            raise NotImplementedError("no MNIST")
        data = images()
        self.new = lambda: MLP(300, batch_size=100, epochs=EPOCHS, seed=0)
        self.new().partial_fit(data.X, data.y).evaluate(data.test.X, data.test.y)

    def time_to_two_percent_error(self) -> None:
        data = images()
        net = self.new().fit(data.X, data.y, callbacks=[stop_at_the_goal])
        if net.evaluate(data.test.X, data.test.y)["error"] > ERROR:
            raise RuntimeError(f"more than {ERROR:.0%} of the test images missed: the goal is gone")

"""How long it takes to learn MNIST to a test error of 2 %."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from bench.startup import mnist_folder

ERROR, EPOCHS = 0.02, 15


@cache
def images() -> Any:
    import nbmlp

    return nbmlp.read(mnist_folder())


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

        if not mnist_folder().is_dir():
            print(
                f"SKIPPED: no {mnist_folder()}; NBMLP_DATA names the folder of mnist/",
                file=sys.stderr,
            )
            raise NotImplementedError("no MNIST")
        data = images()
        self.new = lambda: MLP(300, batch_size=100, epochs=EPOCHS, seed=0)
        self.new().partial_fit(data.X, data.y).evaluate(data.test.X, data.test.y)

    def time_to_two_percent_error(self) -> None:
        data = images()
        net = self.new().fit(data.X, data.y, callbacks=[stop_at_the_goal])
        if net.evaluate(data.test.X, data.test.y)["error"] > ERROR:
            raise RuntimeError(f"more than {ERROR:.0%} of the test images missed: the goal is gone")

"""Ctrl-C ends training soon, after a whole number of updates, and leaves a usable model."""

from __future__ import annotations

import json
import random
import signal
import statistics
import threading
import time
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.train.interrupt import Interrupt, Interrupted
from tests import children


def interrupt_often(
    name: str, times: int, seed: int, patience: float = 120.0
) -> list[dict[str, Any]]:
    """Reports of a child that gets SIGINT at so many seeded moments; with seconds until the end."""
    moments = random.Random(seed)
    child = children.start("interruptible", case=name)
    reports = []
    watchdog = threading.Timer(patience, child.kill)
    watchdog.start()
    try:
        with child:
            for turn in range(times):
                child.stdin.write("again\n")
                child.stdin.flush()
                assert child.stdout.readline() == "training\n"
                # The last comes late enough for a first update, on a busy machine, too.
                time.sleep(moments.uniform(0.0, 0.4) if turn + 1 < times else 1.2)
                asked = time.monotonic()
                child.send_signal(signal.SIGINT)
                report = json.loads(child.stdout.readline())
                reports.append({**report, "seconds": report["ended"] - asked})
    finally:
        watchdog.cancel()
    return reports


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("mini-batches", 20), ("one row each", 4), ("full batch, wide", 3),
        ("long validation", 4), ("lbfgs", 4),
    ],
)  # fmt: skip
def test_sigint(name, times):
    reports = interrupt_often(name, times, seed=times)
    assert [r["reason"] for r in reports] == ["interrupted"] * times
    assert [r["step"] for r in reports if not r["whole steps"]] == []
    assert all(r["usable"] for r in reports)
    assert name == "full batch, wide" or any(r["step"] for r in reports)
    seconds = [r["seconds"] for r in reports]
    # Half a second is the promise; a machine that is busy otherwise may be late now and then.
    assert statistics.median(seconds) < 0.5, seconds
    assert max(seconds) < 1.0, seconds


class TestInterrupt:
    def test_the_first_is_noted_and_the_second_raises(self):
        with Interrupt() as interrupt:
            interrupt.check()
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(Interrupted):
                interrupt.check()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_the_handler_is_put_back_after_an_error(self):
        with pytest.raises(ZeroDivisionError), Interrupt():
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_a_handler_of_others_stays(self):
        noted = []
        before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
        try:
            with Interrupt() as interrupt:
                signal.raise_signal(signal.SIGINT)
                interrupt.check()
        finally:
            signal.signal(signal.SIGINT, before)
        assert noted == [signal.SIGINT]

    def test_other_threads_leave_the_handler_alone(self):
        seen = []

        def enter() -> None:
            with Interrupt():
                seen.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert seen == [signal.default_int_handler]

    def test_second_fit_is_not_interrupted_by_the_first_ones_signal(self):
        X, y = children.rows(100)

        def press(run, record):
            if record.epoch == 2:
                signal.raise_signal(signal.SIGINT)

        model = MLP(5, epochs=4).fit(X, y, callbacks=[press])
        assert model.history.stop_reason == "interrupted"
        assert len(model.history) == 2
        assert model.fit(X, y).history.stop_reason == "epochs done"
        assert len(model.history) == 4
        assert np.isfinite(model.get_flat()).all()

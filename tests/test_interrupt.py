"""Ctrl-C ends training soon, after a whole number of updates, and leaves a usable model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.train.interrupt import Interrupt, Interrupted
from tests import children
from tests.ctrl_c import interrupt_often
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("mini-batches", 3), ("one row each", 2), ("full batch, wide", 1),
        ("long validation", 1), ("lbfgs", 1),
    ],
)  # fmt: skip
def test_sigint(name, times):
    """How soon it ends is measured by the soak, which interrupts five hundred times."""
    reports = interrupt_often(name, times, seed=times)
    assert [r["reason"] for r in reports] == ["interrupted"] * times
    assert [r["step"] for r in reports if not r["whole steps"]] == []
    assert all(r["usable"] for r in reports)
    assert reports[-1]["step"]


def test_children_hear_ctrl_c():
    program = "import signal; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=False)
    assert b"KeyboardInterrupt" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
def test_tests_pass_in_the_background():
    """As ``make test &`` in a script and nohup start them: SIGINT and SIGHUP are ignored there."""
    tests = ["test_children_hear_ctrl_c", "TestInterrupt"]
    command = [sys.executable, "-m", "pytest", *(f"{__file__}::{name}" for name in tests)]
    done = subprocess.run(
        ["sh", "-c", """trap '' INT HUP; exec "$@" < /dev/null""", "sh", *command],
        cwd=children.ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


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

    def test_a_signal_that_is_ignored_stays_so(self):
        """As in background jobs of a script, which a Ctrl-C in its terminal is not meant for."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with Interrupt() as interrupt:
                signal.raise_signal(signal.SIGINT)
                interrupt.check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)

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

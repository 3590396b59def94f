"""The tests of bits, threads and Ctrl-C again, over many more cases and for longer."""

from __future__ import annotations

import random
import statistics

import pytest

from tests import children
from tests.ctrl_c import interrupt_often
from tests.test_concurrency import environment, layer, together  # noqa: F401

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("seed", range(40))
def test_random_settings_on_any_number_of_threads(seed):
    """Settings that nobody chose, on 1 to 8 threads."""
    draw = random.Random(seed)
    threads = [1, *draw.sample(range(2, 9), 3)]
    found = children.run("random_outcomes", {"NUMBA_NUM_THREADS": "8"}, seed=seed, threads=threads)
    for case in found:
        for part in ("weights", "predictions", "history"):
            assert [o[part] for o in case] == [case[0][part]] * len(case), part


@pytest.mark.parametrize("turn", range(10))
def test_python_threads(layer, turn):  # noqa: F811
    child = children.start("four_at_once", environment(layer), rounds=100)
    found = children.result(child, timeout=600)
    assert found["layer"] == layer
    assert found["fits differ"] == found["predictions differ"] == []


@pytest.mark.parametrize("turn", range(20))
def test_forks_while_fitting(layer, turn):  # noqa: F811
    child = children.start("fork_while_fitting", environment(layer), forks=50)
    assert children.result(child, timeout=600)["differ"] == []


@pytest.mark.parametrize("name", children.INTERRUPTED)
def test_sigint_often(name):
    reports = interrupt_often(name, 100, seed=1, patience=600)
    assert {r["reason"] for r in reports} == {"interrupted"}
    assert [r["step"] for r in reports if not r["whole steps"]] == []
    seconds = sorted(r["seconds"] for r in reports)
    assert statistics.median(seconds) < 0.5
    assert seconds[-3] < 1.0  # others may have the cores at a moment or two

"""Python threads, forks, more threads than cores, each threading layer: no hang, the same bits."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from tests import children


def environment(layer: str) -> dict[str, str]:
    """More threads than cores, on a threading layer; pip puts tbb where the loader never looks."""
    libraries = f"{Path(sys.prefix) / 'lib'}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"
    return {
        "NUMBA_NUM_THREADS": "8", "NUMBA_THREADING_LAYER": layer, "LD_LIBRARY_PATH": libraries,
    }  # fmt: skip


@pytest.fixture(scope="module", params=["omp", "workqueue", "tbb"])
def together(request) -> dict[str, Any]:
    """What was found on a threading layer; skipped, visibly, where this machine has it not."""
    try:
        found = children.run("four_at_once", environment(request.param), rounds=2)
    except AssertionError as error:
        if request.param == "workqueue" or "threading layer" not in str(error):
            raise  # workqueue comes with Numba
        pytest.skip(f"{request.param} cannot be loaded here")
    assert found["layer"] == request.param
    return found


@pytest.fixture(scope="module")
def layer(together) -> str:
    return together["layer"]


def test_four_python_threads(together):
    assert together["fits differ"] == together["predictions differ"] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
class TestFork:
    def test_after_a_fit(self, layer):
        found = children.run("fork_after_fit", environment(layer))
        assert found["differ"] == []
        assert found["layer"] == layer

    def test_while_another_thread_fits(self, layer):
        found = children.run("fork_while_fitting", environment(layer), forks=3)
        assert found["differ"] == []

    def test_after_regions_of_other_numba_code(self, layer):
        found = children.run("fork_after_other_numba", environment(layer))
        assert found["found"] == found["expected"]
        assert found["layer"] == layer


@pytest.mark.skipif(find_library("gomp") is None, reason="no GNU OpenMP on this system")
@pytest.mark.parametrize("imported", [True, False])
def test_fork_after_regions_of_other_openmp_code(imported):
    """Its threads are not in the child, and a region there would wait for them for ever."""
    found = children.run("fork_after_foreign_openmp", environment("omp"), imported=imported)
    assert found["found"] == found["expected"]


def test_spawned_processes():
    """Those of joblib: test_joblib.py."""
    assert children.run("spawned")["differ"] == []


def test_openmp_is_taken_unless_the_user_chose():
    environment = {"NUMBA_THREADING_LAYER": "default", "NUMBA_NUM_THREADS": "2"}
    assert children.run("layer_taken", environment) == "omp"


def test_layers_agree(together):
    """Not only with themselves: with one thread and no layer at all."""
    shared, alone = together["alone"]
    assert shared["weights"] == alone["weights"]
    assert shared["threads"] != [1] * 5

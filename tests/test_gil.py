"""Other threads of Python go on while a region of a training runs: a worker's heartbeat, say."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from engine_twin import all_threads, problem, state_of
from numba import cfunc, int64

from nbmlp.kernels import _llvm
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.engine import Engine
from nbmlp.train.exchange import Added
from nbmlp.workspace import Workspace
from tests.waiting import PATIENCE, until

SPEC = ModelSpec(7, 3, (17,), ("tanh",), dtype="float64")
TRAIN = TrainSpec(optimizer="adam(0.01)", batch_size=24, shuffle=False, epochs=1)
GIVEN = problem(SPEC, 24)
#: What is written where the other one looks.
RUNNING, GO, NEVER = 1, 1, 2
#: Pauses after which nobody comes any more: some ten seconds of a core, and a minute where they are
#: long. A thread that yields instead would wait for hours where cores are busy.
LONG = 1_000_000_000


class Waiting(Added):
    """Compiled code within a region that waits for another thread of Python."""

    def __init__(self) -> None:
        super().__init__(lambda gradient, sums: None)
        self.said, self.told = np.zeros(1, np.int64), np.zeros(1, np.int64)
        said, told = self.said.ctypes.data, self.told.ctypes.data

        @cfunc(int64(int64, int64, int64, int64))
        def wait(context: int, gradient: int, n: int, sums: int) -> int:
            _llvm.atomic_store(said, RUNNING)
            for _ in range(LONG):
                if _llvm.atomic_load(told) == GO:
                    return 0
                _llvm.pause()
            _llvm.atomic_store(said, NEVER)
            return 0

        self.compiled = wait

    def bind(self, work: Workspace) -> None:
        work.job.exchange_by(self.compiled.address, self._sums)


@pytest.mark.parametrize("threads", [1, 2])
def test_python_goes_on_while_a_region_runs(threads: int) -> None:
    waiting = Waiting()
    rows = Rows(GIVEN.X, GIVEN.Y, GIVEN.weights, 1.0)
    state = state_of(SPEC, GIVEN.params, TRAIN)
    with all_threads():
        engine = Engine(SPEC, TRAIN, state, rows, threads, exchange=waiting)
    engine.start_epoch(np.full(engine.steps_per_epoch, 0.01))
    training = threading.Thread(target=engine.region)
    training.start()
    until(lambda: waiting.said[0])
    waiting.told[0] = GO
    training.join(PATIENCE)
    assert waiting.said[0] == RUNNING

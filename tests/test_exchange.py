"""Engines that train together: each has rows of its own of every batch, all make one update."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON, all_threads, problem, state_of

from nbmlp.errors import NonFiniteError
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.engine import Engine
from nbmlp.train.exchange import Added, Exchange
from tests.waiting import PATIENCE

SPEC = ModelSpec(7, 3, (17, 5), ("tanh", "gelu"), dtype="float64")
ROWS, BATCH = 72, 24
TRAIN = TrainSpec(
    optimizer="adam(0.01)", schedule="constant", batch_size=BATCH, shuffle=False, epochs=1
)
GIVEN = problem(SPEC, ROWS, weighted=True)


class Pair:
    """The sum over two engines in one process."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=PATIENCE)
        self.given: dict[int, tuple[Any, Any]] = {}
        self.calls = 0

    def member(self, rank: int) -> Exchange:
        def add(gradient: Any, sums: Any) -> None:
            self.calls += rank == 0
            self.given[rank] = gradient.copy(), sums.copy()
            self.barrier.wait()
            for k, mine in enumerate((gradient, sums)):
                np.add(self.given[0][k], self.given[1][k], out=mine)
            self.barrier.wait()

        return Added(add)


def part(rank: int, size: int, given: Any = GIVEN) -> Rows:
    """Every engine's rows of each batch, in their order."""
    at = np.arange(ROWS).reshape(-1, size, BATCH // size)[:, rank].ravel()
    return Rows(given.X[at], given.Y[at], given.weights[at], 1.0)


def end(engine: Engine, epochs: int = 3) -> np.ndarray:
    """The weights behind so many epochs."""
    for _ in range(epochs):
        rate = engine.train.optimizer.learning_rate
        engine.start_epoch(np.full(engine.steps_per_epoch, rate))
        while not engine.region():
            pass
        engine.state.epoch += 1
    return engine.state.get_flat()


def engine_of(rows: Rows, train: TrainSpec, threads: int, exchange: Exchange | None) -> Engine:
    state = state_of(SPEC, GIVEN.params, train)
    with all_threads():
        return Engine(SPEC, train, state, rows, threads, exchange=exchange)


def together(train: TrainSpec, threads: int = 1, given: Any = GIVEN) -> tuple[Pair, list[Any]]:
    """What becomes of two engines: their weights, or what they raise."""
    pair, half = Pair(), train.with_(batch_size=BATCH // 2)
    engines = [engine_of(part(k, 2, given), half, threads, pair.member(k)) for k in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(end, engine) for engine in engines]
        return pair, [run.exception() or run.result() for run in runs]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"optimizer": "sgd(0.1)"}, {"reduction": "sum", "optimizer": "sgd(0.001)"},
        {"l1": 0.01, "l2": 0.1, "clip_value": 0.05}, {"clip_norm": 0.02, "max_norm": 0.5},
        {"optimizer": "lamb(0.01)", "gradient_norms": True},
    ],
)  # fmt: skip
def test_two_engines_make_the_updates_of_one(settings, threads):
    """To rounding: the sum of two sums; of each other the same bits."""
    train = TRAIN.with_(**settings)
    pair, (first, second) = together(train, threads)
    assert pair.calls == 9
    assert np.array_equal(first, second)
    alone = end(engine_of(part(0, 1), train, threads, None))
    np.testing.assert_allclose(first, alone, rtol=1e-9, atol=1e-12)
    assert np.abs(first - GIVEN.params.flat()).max() > 1e-3


def test_gradients_that_follow_from_others_are_summed_before(monkeypatch):
    """Factors of inputs, whose gradient is a step of the update, and vectors of parameters."""
    spec = ModelSpec(7, 3, (9, 9), "tanh", dtype="float64", **FEATURES_ON)
    monkeypatch.setattr(sys.modules[__name__], "SPEC", spec)
    monkeypatch.setattr(sys.modules[__name__], "GIVEN", given := problem(spec, ROWS, weighted=True))
    for settings in ({}, {"clip_norm": 0.02}):
        train = TRAIN.with_(**settings)
        _, (first, second) = together(train, 2, given)
        assert np.array_equal(first, second)
        alone = end(engine_of(part(0, 1, given), train, 2, None))
        np.testing.assert_allclose(first, alone, rtol=1e-9, atol=1e-12)


def test_without_an_exchange_other_rows_make_other_weights():
    halves = [end(engine_of(part(k, 2), TRAIN, 1, None)) for k in (0, 1)]
    assert np.abs(halves[0] - halves[1]).max() > 1e-3


def test_one_that_cannot_go_on_ends_all():
    """The one that has the row says which; both are as they were before the update."""
    given = GIVEN._replace(X=GIVEN.X.copy())
    given.X[30, 2] = np.nan  # of the second batch, the first engine's
    _, (has, has_not) = together(TRAIN, given=given)
    assert "update 2" in str(has)
    assert has.step == has_not.step == 1
    assert "another of those who train together" in str(has_not)


def test_an_exchange_that_fails_is_told():
    def add(gradient: Any, sums: Any) -> None:
        raise ConnectionError("the other has gone")

    engine = engine_of(part(0, 2), TRAIN, 1, Added(add))
    with pytest.raises(ConnectionError, match="has gone"):
        end(engine)
    assert engine.state.step == 0
    assert np.array_equal(engine.state.get_flat(), GIVEN.params.flat())


def test_weights_that_leave_the_numbers_are_noticed_by_all():
    train = TRAIN.with_(optimizer="sgd(1e200)")
    _, errors = together(train)
    assert all(isinstance(error, NonFiniteError) for error in errors), errors
    assert errors[0].step == errors[1].step

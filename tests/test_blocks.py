"""Blocks of parameters: what they are called, and factors of their own on what an update does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_twin import problem, state_of

from nbmlp.plan import make_plan
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train import engine as engines
from nbmlp.train.engine import Engine

SPEC = ModelSpec(7, 3, (17, 5), "tanh", dtype="float64")
GIVEN = problem(SPEC, 24)
TRAIN = TrainSpec(schedule="constant", batch_size=24, shuffle=False)
BEFORE = GIVEN.params.blocks()


def changes(train: TrainSpec, monkeypatch: Any, which: int = 1, **factors: float) -> list[Any]:
    """What one update makes of W1, b1, W2, ..., with factors on one block of parameters."""

    def plan(spec: ModelSpec, batch: int) -> Any:
        made = make_plan(spec, batch)
        blocks = list(made.blocks)
        blocks[which] = replace(blocks[which], **factors)
        return replace(made, blocks=tuple(blocks))

    state = state_of(SPEC, GIVEN.params, train)
    with monkeypatch.context() as patch:
        patch.setattr(engines, "make_plan", plan)
        engine = Engine(SPEC, train, state, GIVEN.rows(), 1)
    engine.start_epoch(np.array([train.optimizer.learning_rate]))
    assert engine.region()
    return [values - old for (*_, values), old in zip(state.parts(), BEFORE, strict=True)]


def test_parts_have_names_and_places():
    state = state_of(SPEC, GIVEN.params)
    found = [(block.layer, part.name, part.symbol, v.shape) for block, part, v in state.parts()]
    assert found == [
        (0, "weight", "W", (7, 17)), (0, "bias", "b", (17,)), (1, "weight", "W", (17, 5)),
        (1, "bias", "b", (5,)), (2, "weight", "W", (5, 3)), (2, "bias", "b", (3,)),
    ]  # fmt: skip
    for (*_, values), given in zip(state.parts(), BEFORE, strict=True):
        assert np.array_equal(values, given)
    flat = np.concatenate([values.ravel() for *_, values in state.parts()])
    assert np.array_equal(flat, state.get_flat())
    assert sum(block.size for block in state.plan.blocks) == flat.size


def test_without_biases_there_are_none():
    spec = ModelSpec(7, 3, (5,), "tanh", dtype="float64", bias=False)
    state = state_of(spec, problem(spec, 3).params)
    assert [part.name for _, part, _ in state.parts()] == ["weight", "weight"]


@pytest.mark.parametrize(
    "optimizer", ["sgd(0.5)", "sgd(0.5, momentum=0.5)", "adam(0.5)", "lamb(0.5)"]
)
@pytest.mark.parametrize("more", [{}, {"clip_norm": 0.01}])
def test_the_rate_of_a_block(monkeypatch, optimizer, more):
    """Half of it, to the last bits of the weights; other blocks have the same bits."""
    train = TRAIN.with_(optimizer=optimizer, **more)
    whole, half = (changes(train, monkeypatch, rate=rate) for rate in (1.0, 0.5))
    for k, (one, other) in enumerate(zip(whole, half, strict=True)):
        if k in (2, 3):
            np.testing.assert_allclose(other, one / 2, rtol=1e-9)
        else:
            assert np.array_equal(other, one)


@pytest.mark.parametrize("penalty", [{"l2": 2.0}, {"l1": 0.5}, {"weight_decay": 0.5}])
def test_the_decay_of_a_block(monkeypatch, penalty):
    """With none the block moves as without penalties; others are pulled as ever."""
    train = TRAIN.with_(optimizer="sgd(0.5)", **penalty)
    pulled, free = changes(train, monkeypatch), changes(train, monkeypatch, decay=0.0)
    bare = changes(TRAIN.with_(optimizer="sgd(0.5)"), monkeypatch)
    np.testing.assert_allclose(free[2], bare[2], rtol=1e-9, atol=1e-15)
    assert np.abs(pulled[2] - free[2]).max() > 1e-3
    assert all(np.array_equal(pulled[k], free[k]) for k in (0, 1, 3, 4, 5))


def test_the_bounds_of_a_block(monkeypatch):
    """Entries of its gradient up to twice the bound, its norm up to half of it."""
    train = TRAIN.with_(optimizer="sgd(1.0)", clip_value=1e-4)
    found = changes(train, monkeypatch, clip=2.0)
    assert [np.abs(c).max() for c in found] == pytest.approx([1e-4, 1e-4, 2e-4, 2e-4, 1e-4, 1e-4])
    train = TRAIN.with_(optimizer="sgd(1.0)", clip_norm=1e-3)
    one, other = changes(train, monkeypatch), changes(train, monkeypatch, clip=0.5)
    np.testing.assert_allclose(other[2], one[2] / 2, rtol=1e-9)
    assert np.array_equal(other[0], one[0])


def test_the_penalty_in_the_loss_knows_the_decay_of_a_block():
    state = state_of(SPEC, GIVEN.params)
    train = TRAIN.with_(l2=0.5, optimizer="sgd")
    whole = Engine(SPEC, train, state, GIVEN.rows(), 1).penalty()
    free = tuple(replace(block, decay=0.0) for block in state.plan.blocks[:1])
    state.plan = replace(state.plan, blocks=free + state.plan.blocks[1:])
    rest = Engine(SPEC, train, state, GIVEN.rows(), 1).penalty()
    assert whole - rest == pytest.approx(0.25 * np.sum(BEFORE[0] ** 2))

"""The moving average of the weights: what a model has in the end, and what training goes on from.

That it is the right one, tests/test_oracle_training.py shows; that nothing is lost by resuming,
tests/test_resume_within.py.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP, EarlyStopping, SpecError
from nbmlp.optimizers import Adam
from nbmlp.plan import make_plan
from nbmlp.spec import ModelSpec
from nbmlp.state import State, new_state
from tests import children

SETTINGS = {
    "hidden": (19, 7), "batch_size": 20, "epochs": 3, "optimizer": "adam(0.01)", "ema": 0.9,
    "schedule": "constant",
}  # fmt: skip
SPEC = ModelSpec(3, 2, (4,))


# ------------------------------------------------------------------------------- the state


def state_with(trained: float, average: float) -> State:
    """A state between updates; two numbers stand for all weights."""
    state = new_state(make_plan(SPEC, 1), Adam())
    size = state.get_flat().size
    state.set_flat(np.full(size, trained))
    state.begin_updates(averaged=True)
    state.set_flat(np.full(size, average), state.average)
    return state


def seen(state: State) -> list[float]:
    """What stands for theta, and for the other arena."""
    return [state.get_flat()[0], state.get_flat(state.average)[0]]


def test_the_average_takes_the_place_of_the_weights_and_gives_it_back() -> None:
    state = state_with(trained=1.0, average=2.0)
    theta = state.theta
    with state.between_updates():
        assert seen(state) == [2.0, 1.0]
        assert state.trained is state.average
        state.end_updates()  # twice is once
        assert seen(state) == [2.0, 1.0]
        for twin in (copy.copy(state), pickle.loads(pickle.dumps(state))):
            twin.begin_updates(averaged=True)
            assert seen(twin) == [1.0, 2.0]
    assert seen(state) == [1.0, 2.0]
    assert state.theta is theta  # compiled code knows where it lies


def test_weights_changed_from_outside_are_gone_on_from() -> None:
    state = state_with(trained=1.0, average=2.0)
    with state.between_updates():
        state.weights()[0][:] = 5.0
    assert seen(state) == [5.0, 5.0]
    assert state.get_flat()[-1] == state.get_flat(state.average)[-1] == 2.0
    state.set_flat(np.full(state.get_flat().size, 7.0))
    assert seen(state) == [7.0, 7.0]


def test_an_average_that_is_not_wanted_any_more_is_what_training_goes_on_from() -> None:
    state = state_with(trained=1.0, average=2.0)
    state.end_updates()
    state.begin_updates(averaged=False)
    assert state.get_flat()[0] == 2.0
    assert not state.average.size
    state.end_updates()
    assert state.get_flat()[0] == 2.0


# ------------------------------------------------------------------------------- the model


def fitted(**changes: Any) -> MLP:
    return MLP(**SETTINGS | changes).fit(*children.rows(150))


def test_going_on_is_not_disturbed_by_the_average() -> None:
    X, y = children.rows(150)
    whole, parts = fitted(), MLP(**SETTINGS)
    for _ in range(SETTINGS["epochs"]):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y)))
    np.testing.assert_array_equal(parts.get_flat(), whole.get_flat())
    assert not np.array_equal(whole.get_flat(), fitted(ema=None).get_flat())


def test_a_file_has_the_average(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(MLP.load(tmp_path / "m").get_flat(), model.get_flat())


def test_the_average_of_weights_that_stay_is_what_they_are() -> None:
    X, y = children.rows(150)
    first = MLP(**SETTINGS).build(X, y).get_flat()
    model = MLP(**SETTINGS | {"learning_rate": 1e-30})
    np.testing.assert_allclose(model.fit(X, y).get_flat(), first, rtol=0, atol=1e-20)


def test_early_stopping_keeps_the_best_average() -> None:
    X, y = children.rows(60)
    held, best = children.rows(40), EarlyStopping("val_loss", patience=6)
    model = MLP(**SETTINGS | {"epochs": 80, "ema": 0.8})
    model.fit(X, y, validation=held, callbacks=[best])
    assert 1 < best.best_epoch < len(model.history)
    loss = model.history[best.best_epoch - 1].val_loss
    assert model.evaluate(*held)["loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ema": 1}, "ema=1 must be a number in (0, 1)."),
        ({"ema": 0.0}, "ema=0.0 must be a number in (0, 1)."),
        ({"optimizer": "lbfgs"}, "ema does not go with lbfgs, whose line search owns the step."),
    ],
)
def test_settings(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        MLP(**SETTINGS | changes)
    assert str(caught.value) == sentence

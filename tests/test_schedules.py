"""Learning-rate schedules against formulas written out here; see test_torch.py for PyTorch's."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbmlp.errors import SpecError
from nbmlp.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    CosineLog,
    Exponential,
    FlatCosine,
    InverseScaling,
    OneCycle,
    OnPlateau,
    PlateauState,
    Schedule,
    Step,
    as_schedule,
    warmup_factor,
)

PER_EPOCH, EPOCHS = 7, 9
TOTAL = PER_EPOCH * EPOCHS


def factors(schedule: Schedule, per_epoch: int = PER_EPOCH, total: int = TOTAL) -> np.ndarray:
    return schedule.factor(np.arange(total, dtype=np.float64), per_epoch, total)


def one_cycle(update: int, total: int, rise: float, start: float, end: float) -> float:
    peak = rise * total - 1
    if update < peak:
        return 1 / start + (1 - 1 / start) * math.sin(math.pi / 2 * update / peak) ** 2
    part = (update - peak) / (total - 1 - peak)
    return 1 / end + (1 - 1 / end) * math.cos(math.pi / 2 * part) ** 2


FORMULAS = [
    (Constant(), lambda t: 1.0),
    (InverseScaling(0.7), lambda t: math.exp(-0.7 * math.log(t + 1))),
    (Step(2, gamma=0.3), lambda t: math.prod([0.3] * (t // (2 * PER_EPOCH)))),
    (Step(1.5, gamma=0.3), lambda t: math.prod([0.3] * math.floor(t // PER_EPOCH / 1.5))),
    (Exponential(0.8), lambda t: math.exp(t / PER_EPOCH * math.log(0.8))),
    (Cosine(0.1), lambda t: 0.1 + 0.9 * math.cos(math.pi / 2 * t / TOTAL) ** 2),
    (CosineLog(), lambda t: math.sin(math.pi * math.log2(1 + 15 * t / TOTAL)) ** 2),
    (CosineLog(1), lambda t: math.sin(math.pi * math.log2(1 + t / TOTAL)) ** 2),
    (FlatCosine(), lambda t: math.sin(math.pi * max(0.5, t / TOTAL)) ** 2),
    (FlatCosine(0.0), lambda t: math.cos(math.pi / 2 * t / TOTAL) ** 2),
    (OneCycle(0.3, 25, 1e4), lambda t: one_cycle(t, TOTAL, 0.3, 25, 1e4)),
    (OneCycle(0.0, 25, 100), lambda t: one_cycle(t, TOTAL, 0.0, 25, 100)),
    (OnPlateau(), lambda t: 1.0),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=lambda v: getattr(v, "name", ""))
def test_formula(schedule, formula):
    expected = [formula(t) for t in range(TOTAL)]
    np.testing.assert_allclose(factors(schedule), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("schedule", [s for s, _ in FORMULAS], ids=lambda s: s.name)
@given(per_epoch=st.integers(1, 50), epochs=st.integers(1, 20))
def test_factor_is_a_pure_elementwise_function(schedule, per_epoch, epochs):
    total = per_epoch * epochs
    whole = factors(schedule, per_epoch, total)
    assert whole.shape == (total,)
    assert whole.dtype == np.float64
    assert ((whole >= 0) & (whole <= 1)).all()
    parts = [schedule.factor(np.array([float(t)]), per_epoch, total)[0] for t in range(total)]
    np.testing.assert_allclose(whole, parts, rtol=1e-14)


def test_every_schedule_has_a_formula_here():
    assert {s.name for s, _ in FORMULAS} == set(SCHEDULES)


@pytest.mark.parametrize("schedule", [Cosine(0.2), OneCycle(end=5)])
def test_stays_at_the_end_when_training_goes_on_past_the_plan(schedule):
    beyond = schedule.factor(np.array([TOTAL, TOTAL + 1.0, 10.0 * TOTAL]), PER_EPOCH, TOTAL)
    np.testing.assert_allclose(beyond, 0.2)


def test_warmup_rises_to_one_and_stays():
    steps = np.arange(6, dtype=np.float64)
    np.testing.assert_allclose(warmup_factor(steps, 4), [0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_array_equal(warmup_factor(steps, 0), np.ones(6))
    np.testing.assert_array_equal(warmup_factor(steps, 0.5), np.ones(6))


class TestOnPlateau:
    def follow(self, schedule: OnPlateau, losses: list[float]) -> list[float]:
        state, seen = PlateauState(), []
        for loss in losses:
            state = schedule.after_epoch(state, loss)
            seen.append(state.factor)
        return seen

    def test_waits_then_cuts_then_waits_again(self):
        schedule = OnPlateau(gamma=0.5, patience=2)
        losses = [3, 2, 2, 2, 2, 2, 2, 2, 1, 1]
        assert self.follow(schedule, losses) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]

    def test_too_small_a_gain_is_no_gain(self):
        schedule = OnPlateau(gamma=0.5, patience=0, threshold=0.01)
        assert self.follow(schedule, [1, 0.995, 0.98, 0.975]) == [1, 0.5, 0.5, 0.25]

    def test_negative_losses_improve_downwards(self):
        schedule = OnPlateau(gamma=0.5, patience=0, threshold=0.01)
        assert self.follow(schedule, [-1, -1.1, -1.105, -2]) == [1, 1, 0.5, 0.5]

    def test_floor(self):
        schedule = OnPlateau(gamma=0.1, patience=0, floor=0.05)
        assert self.follow(schedule, [1, 1, 1, 1]) == [1, 0.1, 0.05, 0.05]

    def test_nan_counts_as_no_improvement(self):
        schedule = OnPlateau(gamma=0.5, patience=0)
        assert self.follow(schedule, [1, math.nan, 0.5]) == [1, 0.5, 0.5]


class TestSettings:
    @pytest.mark.parametrize("schedule", [s for s, _ in FORMULAS], ids=lambda s: s.name)
    def test_round_trip_through_json(self, schedule):
        assert as_schedule(json.loads(json.dumps(schedule.to_dict()))) == schedule
        assert as_schedule(schedule) is schedule

    @pytest.mark.parametrize(
        ("text", "schedule"),
        [
            ("constant", Constant()),
            ("step(10, gamma=0.5)", Step(10.0, 0.5)),
            (" cosine( floor = .1 ) ", Cosine(0.1)),
            ("one_cycle(0.2, 10)", OneCycle(0.2, 10.0)),
            ("coslog(3)", CosineLog(3)),
            ("flat_cos(flat=0.25)", FlatCosine(0.25)),
            ("on_plateau(patience=3)", OnPlateau(patience=3)),
        ],
    )
    def test_written(self, text, schedule):
        assert as_schedule(text) == schedule

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ("cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
            ("step(evry=3)", "unknown setting of step 'evry': did you mean 'every'?"),
            ({"name": "step", "gama": 1}, "unknown setting of step 'gama': did you mean 'gamma'?"),
            ({"gamma": 1}, "unknown schedule ''"),
            ("constant(1)", "schedule constant takes no settings: 1 given."),
            ("constant(a=1)", "schedule constant takes no settings: 1 given."),
            ("step(1, 2, 3)", "schedule step takes every, gamma: 3 given."),
            ("step(5, every=6)", "schedule step: every is given twice."),
            ("step(0)", "step: every=0.0 must be a number in (0, inf)."),
            ("step('a')", "step: every='a' must be a number in [0, inf)."),
            ("exponential(-1)", "exponential: gamma=-1 must be a number in [0, inf)."),
            ("exponential(None)", "exponential: gamma=None must be a number in [0, inf)."),
            ("exponential(True)", "exponential: gamma=True must be a number in [0, inf)."),
            ("inverse_scaling(1e999)", "inverse_scaling: power=inf must be a number in [0, inf)."),
            ("cosine(2)", "cosine: floor=2.0 must be a number in [0, 1]."),
            ("flat_cos(1)", "flat_cos: flat=1.0 must be a number in [0, 1)."),
            ("coslog(0)", "coslog: cycles=0 must be a whole number, 1 or more."),
            ("coslog(40)", "coslog: cycles=40 must be a number in [0, 31)."),
            ("one_cycle(1)", "one_cycle: rise=1.0 must be a number in [0, 1)."),
            ("one_cycle(start=0)", "one_cycle: start=0.0 must be a number in [1, inf)."),
            ("one_cycle(end=0.5)", "one_cycle: end=0.5 must be a number in [1, inf)."),
            ("on_plateau(1)", "on_plateau: gamma=1.0 must be a number in [0, 1)."),
            ("on_plateau(patience=1.5)", "patience=1.5 must be a whole number, 0 or more."),
            (None, "schedule 'None' cannot be read"),
            ("cosine(", "schedule 'cosine(' cannot be read"),
        ],
    )
    def test_one_sentence(self, value, sentence):
        with pytest.raises(SpecError) as error:
            as_schedule(value)
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)

    def test_numbers_become_plain(self):
        schedule = Step(np.int64(3), np.float32(0.5))
        assert repr(schedule) == "Step(every=3.0, gamma=0.5)"
        assert schedule == Step(3, 0.5)
        assert hash(schedule) == hash(Step(3, 0.5))

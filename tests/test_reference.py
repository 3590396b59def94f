"""The oracle itself: against finite differences, against PyTorch, and by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import reference as ref

from nbmlp import names, optimizers
from nbmlp.schedules import SCHEDULES, OnPlateau
from nbmlp.spec import ModelSpec, TrainSpec

HIDDEN = [*names.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.7)"]
RESIDUAL = ["squared_error", "absolute_error", "huber(0.5)", "quantile(0.3)"]
LOGIT = ["binary_cross_entropy", "cross_entropy", "poisson"]
PLAIN = TrainSpec(optimizer="sgd(0.1)", schedule="constant", batch_size=None)
GAINS = optimizers.RMSpropGains(0.1, min_gain=0.4, max_gain=1.5)


def output_of(loss):
    """The output that goes with a loss, identity where it may be any."""
    return names.LOSSES[loss.split("(")[0]].canonical or "identity"


def problem(spec, rows=7, seed=0):
    """Random parameters, inputs and targets that suit the loss of `spec`."""
    rng = np.random.default_rng(seed)
    params = ref.random_params(spec, rng)
    X = rng.normal(size=(rows, spec.n_inputs))
    Y = rng.normal(size=(rows, spec.n_outputs))
    if spec.loss == "cross_entropy":
        Y = ref.one_hot(rng.integers(0, spec.n_outputs, rows), spec.n_outputs)
    elif spec.loss == "binary_cross_entropy":
        Y = rng.integers(0, 2, Y.shape).astype(float)
    elif spec.loss == "poisson":
        Y = rng.poisson(2.0, Y.shape).astype(float)
    return params, X, Y


def gradient_errors(spec, train=PLAIN, sample_weight=None, masks=None):
    """Per block |g - d| / (|g| + |d|) against central differences, and the share excluded."""
    params, X, Y = problem(spec)

    def parts(flat):
        p = ref.from_flat(spec, flat)
        return ref.loss_and_gradient(spec, train, p, X, Y, sample_weight, masks)

    estimate = ref.finite_difference(
        lambda flat: parts(flat).data + parts(flat).penalty,
        params.flat(),
        sides=lambda flat: ref.kinks(spec, train, ref.from_flat(spec, flat), X, Y, masks),
    )
    kept = np.isfinite(estimate)
    g = ref.from_flat(spec, np.where(kept, parts(params.flat()).gradient.flat(), 0.0))
    d = ref.from_flat(spec, np.where(kept, estimate, 0.0))
    pairs = zip(g.blocks(), d.blocks(), strict=True)
    errors = [
        np.linalg.norm(a - b) / max(np.linalg.norm(a) + np.linalg.norm(b), 1e-300) for a, b in pairs
    ]
    return errors, 1 - kept.mean()


def assert_gradient(spec, **settings):
    errors, excluded = gradient_errors(spec, **settings)
    assert max(errors) <= 1e-7
    assert excluded <= 0.1


def test_every_name_has_its_twin():
    assert set(ref.ACTIVATIONS) == set(names.ACTIVATIONS)
    assert {*ref.RESIDUAL_LOSSES, *ref.LOGIT_LOSSES} == set(names.LOSSES)
    assert set(ref.RULES) == set(optimizers.OPTIMIZERS) - {"lbfgs"}


# --- gradients against central differences ----------------------------------------------------


def paired(functions, losses):
    """Each function with two losses, and so each loss with some functions."""
    return [
        (function, losses[(i + shift) % len(losses)])
        for i, function in enumerate(functions)
        for shift in (0, len(losses) // 2)
    ]


@pytest.mark.parametrize(("activation", "loss"), paired(HIDDEN, RESIDUAL + LOGIT))
def test_gradient_of_hidden_activation(activation, loss):
    assert_gradient(
        ModelSpec(3, 2, hidden=(4, 3), activation=activation, output=output_of(loss), loss=loss)
    )


@pytest.mark.parametrize(("output", "loss"), paired([*HIDDEN, "softmax"], RESIDUAL))
def test_gradient_of_output(output, loss):
    assert_gradient(ModelSpec(3, 4, hidden=(5,), activation="tanh", output=output, loss=loss))


@pytest.mark.parametrize("hidden", [(), (1,), (2, 3, 1, 2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradient_of_depth_and_bias(hidden, bias):
    assert_gradient(ModelSpec(3, 2, hidden=hidden, activation="silu", bias=bias))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_gradient_with_label_smoothing(loss):
    assert_gradient(
        ModelSpec(3, 4, (5,), "tanh", output_of(loss), loss, label_smoothing=0.2),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_with_weights_and_penalty(reduction):
    train = PLAIN.with_(reduction=reduction, l1=0.01, l2=0.1)
    weight = np.array([0.0, 1.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    assert_gradient(ModelSpec(3, 2, (4,), "mish"), train=train, sample_weight=weight)


@pytest.mark.parametrize("scale_at", ["training", "predict"])
def test_gradient_with_dropout(scale_at):
    spec = ModelSpec(
        3,
        2,
        hidden=(6, 5),
        dropout=(0.5, 0.2),
        input_dropout=0.1,
        dropout_scale_at=scale_at,
    )
    rng = np.random.default_rng(5)
    masks = [rng.random((7, width)) < 0.7 for width in (3, 6, 5)]
    assert_gradient(spec, masks=masks)
    assert_gradient(spec)


# --- values and conventions by hand -----------------------------------------------------------


def test_derivatives_at_zero():
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    at_zero = lambda name: ref.times_derivative(name, zero, one).item()  # noqa: E731
    assert at_zero("relu") == 0
    assert at_zero("leaky_relu(0.2)") == 0.2
    assert at_zero("elu(0.7)") == 0.7
    assert at_zero("selu") == ref.SELU_SCALE * ref.SELU_ALPHA


@pytest.mark.parametrize("name", [*HIDDEN, "softmax"])
def test_activations_propagate_nan(name):
    assert np.isnan(ref.activate(name, np.array([[np.nan, np.nan]]))).all()


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_extreme_logits_stay_finite(loss):
    spec = ModelSpec(1, 3, (), output=output_of(loss), loss=loss, label_smoothing=0.1)
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    values, delta = ref.row_losses(spec, z, ref.one_hot(np.array([0, 0]), 3))
    assert np.isfinite(values).all()
    assert np.isfinite(delta).all()
    assert values[1] > 0.9 * 1e4


@pytest.mark.parametrize(
    ("loss", "residual", "value", "delta"),
    [
        ("squared_error", 2.0, 2.0, 2.0),
        ("absolute_error", -2.0, 2.0, -1.0),
        ("absolute_error", 0.0, 0.0, 0.0),
        ("huber(0.5)", 0.5, 0.125, 0.5),
        ("huber(0.5)", -2.0, 0.875, -0.5),
        ("quantile(0.3)", -2.0, 0.6, -0.3),
        ("quantile(0.3)", 2.0, 1.4, 0.7),
        ("quantile(0.3)", 0.0, 0.0, 0.0),
    ],
)
def test_residual_losses(loss, residual, value, delta):
    got = ref.row_losses(ModelSpec(1, 1, (), loss=loss), np.array([[residual]]), np.zeros((1, 1)))
    np.testing.assert_allclose([got[0].item(), got[1].item()], [value, delta])


def test_weight_two_is_the_row_twice():
    spec = ModelSpec(3, 2, (4,), "tanh")
    params, X, Y = problem(spec, rows=3)
    weighted = ref.loss_and_gradient(spec, PLAIN, params, X, Y, np.array([1.0, 2.0, 0.0]))
    twice = ref.loss_and_gradient(spec, PLAIN, params, X[[0, 1, 1]], Y[[0, 1, 1]])
    assert weighted.data == pytest.approx(twice.data, rel=1e-14)
    assert max(ref.block_errors(weighted.gradient, twice.gradient)) < 1e-14


def test_dropout_scales_in_training_or_in_prediction():
    X, mask = np.ones((1, 4)), np.array([[True, False, True, True]])
    inverted = ModelSpec(4, 1, (), input_dropout=0.5)
    original = replace(inverted, dropout_scale_at="predict")
    params = ref.Params([np.ones((4, 1))], [np.zeros(1)])
    outputs = [
        ref.forward(spec, params, X, masks).output.item()
        for spec, masks in itertools.product((inverted, original), ([mask], None))
    ]
    assert outputs == [6.0, 4.0, 3.0, 2.0]


def test_flat_and_back():
    spec = ModelSpec(3, 2, (4,))
    params, _, _ = problem(spec)
    flat = params.flat()
    assert len(flat) == spec.n_parameters
    assert ref.from_flat(spec, flat).flat().tolist() == flat.tolist()
    assert [block.shape for block in params.blocks()] == [(3, 4), (4,), (4, 2), (2,)]


def test_block_errors():
    one = ref.Params([np.array([[3.0, 4.0]])], [np.zeros(2)])
    other = ref.Params([np.array([[3.0, 9.0]])], [np.array([0.0, 2.0])])
    assert ref.block_errors(other, one) == [1.0, 2.0]


def test_finite_difference_excludes_kinks():
    estimate = ref.finite_difference(
        lambda x: float(np.abs(x).sum()), np.array([0.0, -2.0, 1e-9]), sides=np.sign
    )
    np.testing.assert_allclose(estimate, [np.nan, -1.0, np.nan], rtol=1e-9)


# --- the update -------------------------------------------------------------------------------


def run_updates(train, params, gradients):
    """Parameters after each of `gradients` (all of the weights' shape) in turn."""
    slots = ref.first_slots(train.optimizer, params)
    history = []
    for t, g in enumerate(gradients, 1):
        params = ref.update(train, params, g, slots, 1.0, t)
        history.append(params)
    return history, slots


def weights(*values):
    return ref.Params([np.array([values], dtype=float)], [])


def test_gains_follow_signs():
    signs = [(1, 1, 1), (2, -1, 0), (3, -1, 1), (3, 1, 1), (3, -1, 1)]
    grads = [weights(*s) for s in signs]
    history = [
        run_updates(PLAIN.with_(optimizer=GAINS), weights(0, 0, 0), grads[:n])[1][0]["gain"][0]
        for n in range(1, 6)
    ]
    expected = [[1, 1, 1], [1.3, 0.5, 1], [1.5, 0.65, 1], [1.5, 0.4, 1.3], [1.5, 0.4, 1.5]]
    np.testing.assert_allclose(history, expected, rtol=1e-14)


def test_gains_step():
    history, _ = run_updates(PLAIN.with_(optimizer=GAINS), weights(1), [weights(2), weights(3)])
    first = 1 - 0.1 * 2 / np.sqrt(0.1 * 4)
    second = first - 0.1 * 1.3 * 3 / np.sqrt(0.9 * 0.4 + 0.1 * 9)
    np.testing.assert_allclose([p.W[0].item() for p in history], [first, second], rtol=1e-7)


def test_rprop_skips_the_update_after_a_flip():
    train = PLAIN.with_(optimizer="rprop(0.1)")
    history, _ = run_updates(train, weights(0), [weights(g) for g in (1, 1, -1, -1, -1)])
    steps = np.diff([0.0, *(p.W[0].item() for p in history)])
    np.testing.assert_allclose(steps, [-0.1, -0.12, 0.0, 0.06, 0.072], atol=1e-15)


def test_rprop_takes_the_schedule_as_a_factor():
    train, params = PLAIN.with_(optimizer="rprop(0.1)"), weights(0)
    slots = ref.first_slots(train.optimizer, params)
    assert ref.update(train, params, weights(1), slots, 0.5, 1).W[0].item() == -0.05
    assert slots[0]["step"].item() == 0.1


def test_clips_by_value_then_by_norm_over_all_parameters():
    g = ref.Params([np.array([[30.0, -30.0]])], [np.array([3.0, 0.0])])
    train = PLAIN.with_(clip_value=4.0, clip_norm=1.0)
    assert np.linalg.norm(ref.clip(train, g).flat()) == pytest.approx(1.0)
    np.testing.assert_allclose(ref.clip(train, g).flat(), np.array([4, -4, 3, 0]) / 41**0.5)
    assert ref.clip(train.with_(clip_norm=7.0), g).flat().tolist() == [4, -4, 3, 0]


def test_decay_shrinks_weights_not_biases_before_the_rule():
    params = ref.Params([np.array([[2.0]])], [np.array([2.0])])
    g = ref.Params([np.array([[1.0]])], [np.array([1.0])])
    train = PLAIN.with_(weight_decay=0.5)
    after = ref.update(train, params, g, ref.first_slots(train.optimizer, params), 0.4, 1)
    np.testing.assert_allclose([after.W[0].item(), after.b[0].item()], [1.96 - 0.04, 2 - 0.04])


def test_max_norm_bounds_columns_after_the_update():
    params = ref.Params([np.array([[3.0, 0.3], [4.0, 0.4]])], [np.array([9.0, 9.0])])
    zero = params.map(np.zeros_like)
    (after,), _ = run_updates(PLAIN.with_(max_norm=2.0), params, [zero])
    np.testing.assert_allclose(after.W[0], [[1.2, 0.3], [1.6, 0.4]])
    assert after.b[0].tolist() == [9.0, 9.0]


# --- the loop ---------------------------------------------------------------------------------


def test_left_over_batch_divides_by_its_own_weight():
    spec, train = ModelSpec(2, 1, ()), PLAIN.with_(batch_size=3)
    params, X, Y = problem(spec)
    orders = [np.arange(7), np.arange(7)[::-1]]
    steps = list(ref.train(spec, train, params, X, Y, orders))
    assert len(steps) == 6
    r = ref.forward(spec, steps[1].params, X[6:]).output - Y[6:]
    assert steps[2].data == pytest.approx(0.5 * r.item() ** 2)
    assert len(list(ref.train(spec, train, params, X, Y, orders, n_steps=4))) == 4


def test_training_leaves_its_arguments_alone():
    spec = ModelSpec(2, 1, (3,))
    train = TrainSpec(optimizer="adamw", batch_size=3, l1=0.1, max_norm=0.5, clip_norm=0.1)
    params, X, Y = problem(spec)
    before = [a.copy() for a in (params.flat(), X, Y)]
    list(ref.train(spec, train, params, X, Y, [np.arange(7)]))
    for old, new in zip(before, (params.flat(), X, Y), strict=True):
        np.testing.assert_array_equal(old, new)


def test_loop_takes_masks_and_weights_of_its_rows():
    spec = ModelSpec(4, 1, (), bias=False, input_dropout=0.5)
    params, X, Y = problem(spec, rows=5)
    weight = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    order = np.array([4, 2, 0, 1, 3])
    rng = np.random.default_rng(1)
    masks = [[rng.random((n, 4)) < 0.5] for n in (2, 2, 1)]
    train = PLAIN.with_(batch_size=2)
    steps = list(ref.train(spec, train, params, X, Y, [order], masks, weight))
    r = (X[[0, 1]] * masks[1][0] * 2) @ steps[0].params.W[0] - Y[[0, 1]]
    assert steps[1].data == pytest.approx((0.5 * r[:, 0] ** 2) @ [1, 2] / 3)
    with pytest.raises(ValueError, match="masks"):
        next(ref.train(spec, train, params, X, Y, [order]))


@pytest.mark.parametrize("schedule", sorted(set(SCHEDULES) - {"on_plateau"}))
def test_loop_applies_schedule_and_warmup(schedule):
    spec = ModelSpec(1, 1, (), bias=False)
    train = PLAIN.with_(schedule=schedule, batch_size=1, epochs=3, warmup=2.0)
    X, Y = np.ones((2, 1)), np.zeros((2, 1))
    steps = list(ref.train(spec, train, weights(1), X, Y, [np.arange(2)] * 3))
    w = np.array([1.0, *(s.params.W[0].item() for s in steps)])
    schedule_only = train.schedule.factor(np.arange(6.0), 2, 6)
    expected = 0.1 * schedule_only * np.minimum(1, np.arange(1, 7) / 4)
    np.testing.assert_allclose(1 - w[1:] / w[:-1], expected, atol=1e-15)


def test_loop_lowers_the_rate_on_a_plateau():
    spec = ModelSpec(1, 1, (), bias=False)
    train = PLAIN.with_(schedule=OnPlateau(gamma=0.5, patience=0), batch_size=1)
    X, Y, losses = np.ones((1, 1)), np.zeros((1, 1)), iter([1.0, 1.0, 0.5, 0.5])
    watch = lambda params: next(losses)  # noqa: E731
    steps = list(ref.train(spec, train, weights(1), X, Y, [np.arange(1)] * 4, watch=watch))
    w = np.array([1.0, *(s.params.W[0].item() for s in steps)])
    np.testing.assert_allclose(1 - w[1:] / w[:-1], [0.1, 0.1, 0.05, 0.05])

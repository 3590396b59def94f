"""Whole trainings by the compiled engine against the oracle: the same weights after every epoch.

All in float64, over 12 updates or more, with the same orders and masks. Tolerance: 1e-10 of each
block's norm. A gradient agrees to about 1e-15, an update multiplies what the one before left (by
up to the curvature times the learning rate, and rules that divide by the gradient's own size
magnify the noise of small entries): 1e-10 leaves room for that and is far below what any wrong
formula would do.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from engine_twin import (
    FEATURES_ON,
    Problem,
    cuts_of,
    engine_outputs,
    engine_train,
    mean_loss,
    oracle_train,
    output_for,
    problem,
    targets_for,
    worst_error,
)

from nbmlp import MLP
from nbmlp.plan import make_plan, make_strategy
from nbmlp.schedules import SCHEDULES
from nbmlp.spec import ModelSpec, TrainSpec

TOLERANCE = 1e-10
ROWS = 50
SPEC = ModelSpec(7, 3, (17, 5), ("tanh", "gelu"), dtype="float64")
CLASSES = ModelSpec(16, 5, (33,), "relu", "softmax", "cross_entropy", dtype="float64")
#: Batches of 12, 12, 12, 12 and 2 rows, three times.
TRAIN = TrainSpec(
    optimizer="sgd(0.1)", schedule="constant", batch_size=12, epochs=3, seed=5, gradient_norms=True
)


def compare(spec, train, given, threads=1, validation=None, watch=None):
    """Train both ways and compare weights, losses and rates of every epoch.

    Returns the engine's training and the oracle's updates.
    """
    trained = engine_train(spec, train, given, threads, validation)
    epochs = oracle_train(spec, train, given, watch)
    assert sum(map(len, epochs)) >= 12
    for params, record, steps, cuts in zip(
        trained.params, trained.history, epochs, cuts_of(spec, train, len(given.X)), strict=True
    ):
        assert worst_error(params, steps[-1].shown) <= TOLERANCE
        data = mean_loss(train, given, steps, cuts)
        assert record.data_loss == pytest.approx(data, rel=TOLERANCE)
        last, exact = (params, 1e-12) if train.ema is None else (steps[-1].params, TOLERANCE)
        assert record.penalty == pytest.approx(ref.penalty(train, last), rel=exact, abs=1e-300)
        assert 1 <= record.threads <= threads  # on a busy machine one may come too late
    return trained, epochs


def matters(spec, train, given, **without):
    """The settings named change the oracle's weights: what was compared was at work."""
    ends = [oracle_train(spec, t, given)[-1][-1].shown for t in (train, train.with_(**without))]
    assert worst_error(*ends) > 1e-4


# ------------------------------------------------------------------------------ optimizers


OPTIMIZERS = [
    "sgd(0.2)",
    "sgd(0.1, momentum=0.9)",
    "sgd(0.1, momentum=0.9, nesterov=True)",
    "rmsprop(0.01)",
    "rmsprop(0.01, rho=0.5, epsilon=1e-3)",
    "rmsprop_gains(0.01)",
    "rmsprop_gains(0.01, increase=1.5, decrease=0.3, min_gain=0.5, max_gain=1.6)",
    "rprop(0.01)",
    "rprop(0.01, increase=1.5, decrease=0.3, min_step=0.004, max_step=0.02)",
    "adagrad(0.05)",
    "adam(0.01)",
    "adam(0.01, beta1=0.5, beta2=0.9, epsilon=1e-3)",
    "adamw(0.01, weight_decay=0.3)",
    "lamb(0.01)",
    "lamb(0.01, weight_decay=0.3, beta1=0.5, beta2=0.9, epsilon=1e-3)",
]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.kernels)])
@pytest.mark.parametrize("spec", [SPEC, CLASSES], ids=["numbers", "classes"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer(optimizer, spec, threads):
    compare(spec, TRAIN.with_(optimizer=optimizer), problem(spec, ROWS), threads)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_with_decay_of_weights_but_not_biases(optimizer):
    train = TRAIN.with_(optimizer=optimizer, weight_decay=0.2)
    compare(SPEC, train, problem(SPEC, ROWS))
    matters(SPEC, train, problem(SPEC, ROWS), weight_decay=0.0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "more",
    [
        {"clip_norm": 0.05}, {"max_norm": 0.5}, {"clip_value": 0.01, "l1": 0.01, "l2": 0.1},
        {"clip_norm": 0.05, "max_norm": 0.5, "gradient_norms": True},
    ],
)  # fmt: skip
def test_steps_as_long_as_their_block_with_what_else_waits(more, threads):
    train = TRAIN.with_(optimizer="lamb(0.01)", **more)
    compare(SPEC, train, problem(SPEC, ROWS), threads)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_without_biases(optimizer):
    spec = ModelSpec(7, 3, (17, 5), "tanh", bias=False, dtype="float64")
    compare(spec, TRAIN.with_(optimizer=optimizer, weight_decay=0.1), problem(spec, ROWS))


@pytest.mark.parametrize("optimizer", ["sgd(0.1, momentum=0.9)", "adam(0.01)"])
@pytest.mark.parametrize("hidden", [(), (1,), (2, 1, 2), (45, 16, 15)])
@pytest.mark.parametrize("ends", [(1, 1), (16, 17), (300, 2)])
def test_odd_shapes(optimizer, hidden, ends):
    spec = ModelSpec(*ends, hidden, "tanh", dtype="float64")
    compare(spec, TRAIN.with_(optimizer=optimizer, l2=0.01), problem(spec, ROWS), threads=2)


def test_long_training():
    """200 updates stay together."""
    train = TRAIN.with_(optimizer="adam(0.01)", epochs=40)
    compare(SPEC, train, problem(SPEC, ROWS))


# ------------------------------------------------------------------------------- schedules


SETTINGS = {
    "inverse_scaling": "inverse_scaling(0.7)", "step": "step(every=1, gamma=0.3)",
    "exponential": "exponential(0.5)", "cosine": "cosine(floor=0.1)",
    "one_cycle": "one_cycle(rise=0.4)",
}  # fmt: skip


@pytest.mark.parametrize("warmup", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"on_plateau"}))
@pytest.mark.parametrize("optimizer", ["sgd(0.2)", "adam(0.02)", "rprop(0.01)"])
def test_schedule(name, warmup, optimizer):
    train = TRAIN.with_(
        optimizer=optimizer, schedule=SETTINGS.get(name, name), warmup=warmup, weight_decay=0.1
    )
    trained, epochs = compare(SPEC, train, problem(SPEC, ROWS))
    per_epoch = len(epochs[0])
    for k, record in enumerate(trained.history, start=1):
        factor = ref.schedule_factor(train, k * per_epoch - 1, per_epoch)
        rate = train.optimizer.learning_rate * factor
        assert record.learning_rate == pytest.approx(rate, rel=1e-13)
    if name != "constant":
        matters(SPEC, train, problem(SPEC, ROWS), schedule="constant")
    if warmup:
        matters(SPEC, train, problem(SPEC, ROWS), warmup=0.0)


PLATEAU = TRAIN.with_(
    optimizer="sgd(0.3)", epochs=8, l2=0.01,
    schedule="on_plateau(gamma=0.5, patience=0, threshold=0.2)",
)  # fmt: skip


def test_on_plateau_watches_the_training_loss():
    given = problem(SPEC, ROWS)

    def watch(steps, cuts):
        return mean_loss(PLATEAU, given, steps, cuts) + ref.penalty(PLATEAU, steps[-1].params)

    trained, _ = compare(SPEC, PLATEAU, given, watch=watch)
    assert trained.state.plateau.factor < 0.5


def test_on_plateau_watches_the_validation_loss():
    given, held = problem(SPEC, ROWS), problem(SPEC, 31, seed=9)

    def val_loss(params):
        return ref.loss_and_gradient(SPEC, PLATEAU, params, *held.wide()).data

    trained, epochs = compare(
        SPEC, PLATEAU, given, validation=held,
        watch=lambda steps, cuts: val_loss(steps[-1].params),
    )  # fmt: skip
    assert trained.state.plateau.factor < 0.5
    for record, steps in zip(trained.history, epochs, strict=True):
        assert record.val_loss == pytest.approx(val_loss(steps[-1].params), rel=TOLERANCE)


# ----------------------------------------------------------------------------- regularisers


REGULARISERS = {
    "l1": {"l1": 0.02},
    "l2": {"l2": 0.1},
    "l1 and l2": {"l1": 0.02, "l2": 0.1},
    "clip_value": {"clip_value": 0.02},
    "clip_norm": {"clip_norm": 0.3},
    "both clips": {"clip_value": 0.05, "clip_norm": 0.3},
    "max_norm": {"max_norm": 0.9},
    "sum": {"reduction": "sum", "optimizer": "sgd(0.01)"},
    "all": {
        "l1": 0.02, "l2": 0.1, "clip_value": 0.05, "clip_norm": 0.3, "max_norm": 0.9,
        "weight_decay": 0.1, "optimizer": "sgd(0.1, momentum=0.9)",
    },
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spec", [SPEC, CLASSES], ids=["numbers", "classes"])
@pytest.mark.parametrize("changes", REGULARISERS.values(), ids=REGULARISERS)
def test_regulariser(changes, spec, weighted, threads):
    given, train = problem(spec, ROWS, weighted=weighted), TRAIN.with_(**changes)
    compare(spec, train, given, threads)
    plain = {name: getattr(TRAIN, name) for name in changes}
    matters(spec, train, given, **plain)


@pytest.mark.parametrize("name", ["clip_norm", "max_norm"])
def test_bounds_on_the_net_that_needs_many_update_blocks(name):
    """Norms are summed over blocks and columns are bounded across them."""
    spec = ModelSpec(300, 45, (300,), "tanh", dtype="float64")
    train = TRAIN.with_(epochs=3, **{name: 0.5})
    assert make_strategy(spec, make_plan(spec, 12), 2).n_blocks > 4
    compare(spec, train, problem(spec, ROWS), threads=2)
    matters(spec, train, problem(spec, ROWS), **{name: None})


@pytest.mark.parametrize("max_norm", [0.7, 1.0])
def test_max_norm_holds_for_every_unit(max_norm):
    trained = engine_train(SPEC, TRAIN.with_(max_norm=max_norm), problem(SPEC, ROWS))
    norms = np.concatenate([np.linalg.norm(W, axis=0) for W in trained.params[-1].W])
    assert norms.max() == pytest.approx(max_norm, rel=1e-12)


def test_a_batch_without_weight_changes_nothing():
    """Its gradient is zero, not 0/0."""
    given = problem(SPEC, 60, weighted=True)
    given.weights[12:24] = 0.0
    rest = np.delete(np.arange(60), np.s_[12:24])
    fewer = Problem(given.params, given.X[rest], given.Y[rest], given.weights[rest])
    train = TRAIN.with_(shuffle=False)
    with_it, without = engine_train(SPEC, train, given), engine_train(SPEC, train, fewer)
    np.testing.assert_array_equal(with_it.params[-1].flat(), without.params[-1].flat())
    assert with_it.history[-1].data_loss == without.history[-1].data_loss


# ------------------------------------------------------------------------------- factors


FURTHER = ModelSpec(7, 3, (17, 17), ("tanh", "gelu"), dtype="float64", **FEATURES_ON)
FACTORS = {
    "parts": {"rate_factors": {"bias": 0.1, "weight": 2}, "decay_factors": {"weight": 0.5}},
    "layers": {
        "rate_factors": {"layer2": 3, "layer1.bias": 0, "bias": 0.5},
        "decay_factors": {"layer1": 0, "layer3.weight": 4},
    },
    "words": {
        "rate_factors": {"weight": "1/sqrt(inputs)"}, "decay_factors": {"weight": "sqrt(inputs)"},
    },
    "further kinds": {
        "rate_factors": {
            "scale": 6, "alpha": 0.1, "gain": 2, "shift": 0.3, "embedding": 0.5,
            "embedding.phase": 3, "embedding.table2": 4, "weight": "1/sqrt(inputs)",
        },
        "decay_factors": {"embedding": 2},
    },
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd(0.05)", "adam(0.01)", "lamb(0.01, weight_decay=0.1)"])
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
def test_factors_of_parts(factors, optimizer, threads):
    spec = FURTHER if "scale" in factors["rate_factors"] else SPEC
    train = TRAIN.with_(optimizer=optimizer, weight_decay=0.3, **factors)
    compare(spec, train, problem(spec, ROWS), threads)
    for name in factors:
        matters(spec, train, problem(spec, ROWS), **{name: None})


@pytest.mark.parametrize("optimizer", ["sgd(0.1)", "lamb(0.01)"])
@pytest.mark.parametrize("more", [{}, {"clip_norm": 0.1, "max_norm": 0.9}])
def test_factors_of_a_net_that_needs_many_update_blocks(optimizer, more):
    spec = ModelSpec(300, 45, (300,), "tanh", dtype="float64")
    factors = {"bias": 0.1, "layer1": 2, "layer2.weight": 0.5}
    train = TRAIN.with_(optimizer=optimizer, rate_factors=factors, weight_decay=0.1, **more)
    compare(spec, train, problem(spec, ROWS), threads=2)


# -------------------------------------------------------------- schedules of dropout and decay


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd(0.1)", "adamw(0.02)"])
def test_schedules_of_dropout_and_decay(optimizer, threads):
    spec = ModelSpec(7, 3, (17, 5), "gelu", dtype="float64", dropout=(0.3, 0.6), input_dropout=0.1)
    schedules = {"dropout_schedule": "flat_cos(0.3)", "decay_schedule": "cosine(floor=0.2)"}
    train = TRAIN.with_(optimizer=optimizer, weight_decay=0.4, **schedules)
    compare(spec, train, problem(spec, ROWS), threads)
    for name in schedules:
        matters(spec, train, problem(spec, ROWS), **{name: None})


# ------------------------------------------------------------------------------- average


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adam(0.01)", "l2": 0.1}, {"gradient_norms": False},
        {"optimizer": "lamb(0.01)", "max_norm": 0.5}, {"clip_norm": 0.05, "weight_decay": 0.1},
    ],
)  # fmt: skip
def test_average_of_the_weights(more, threads):
    """Of all updates so far, and that is what is validated."""
    train, given, held = TRAIN.with_(ema=0.7, **more), problem(SPEC, ROWS), problem(SPEC, 31, 9)
    trained, epochs = compare(SPEC, train, given, threads, held)
    for record, steps in zip(trained.history, epochs, strict=True):
        found = ref.loss_and_gradient(SPEC, train, steps[-1].shown, *held.wide())
        assert record.val_loss == pytest.approx(found.data, rel=TOLERANCE)
    matters(SPEC, train, given, ema=None)


# ------------------------------------------------------------------------------- dropout


DROPS = {
    "hidden": {"dropout": 0.4},
    "one layer": {"dropout": (0.0, 0.5)},
    "input": {"input_dropout": 0.2},
    "both": {"dropout": (0.3, 0.6), "input_dropout": 0.1},
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("scale_at", ["training", "predict"])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "relu"])
@pytest.mark.parametrize("drops", DROPS.values(), ids=DROPS)
def test_dropout(drops, activation, scale_at, threads):
    """The masks are those drawn in NumPy; predictions use no mask but the right scale."""
    spec = ModelSpec(7, 3, (17, 5), activation, dtype="float64", dropout_scale_at=scale_at, **drops)
    given, held = problem(spec, ROWS), problem(spec, 31, seed=9)
    trained, _ = compare(spec, TRAIN, given, threads, held)
    expected = ref.loss_and_gradient(spec, TRAIN, trained.params[-1], *held.wide()).data
    assert trained.history[-1].val_loss == pytest.approx(expected, rel=TOLERANCE)


def test_masks_change_with_every_update():
    """Of one row trained on again and again, each time other units are dropped."""
    spec = ModelSpec(4, 2, (200,), "tanh", dtype="float64", dropout=0.5)
    given, train = problem(spec, 1), TRAIN.with_(optimizer="sgd(0.003)", batch_size=1, epochs=12)
    compare(spec, train, given)
    kept = [cut.masks[1] for cuts in cuts_of(spec, train, 1) for cut in cuts]
    assert len({mask.tobytes() for mask in kept}) == 12


# ---------------------------------------------------------------------- cuts, orders, norms


@pytest.mark.parametrize("size", [1, 7, 12, 25, 50, None])
@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_batch_sizes(size, shuffle):
    train = TRAIN.with_(batch_size=size, shuffle=shuffle, epochs=12 if size in (50, None) else 6)
    compare(SPEC, train, problem(SPEC, ROWS, weighted=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"clip_norm": 0.1}, {"max_norm": 0.8, "l1": 0.01}, {"ema": 0.6}]
)
def test_sub_batches_make_one_update(changes, threads):
    """Batches of 2500 rows and a left-over one of 100, each gathered in parts, with dropout."""
    spec = ModelSpec(7, 3, (17, 5), "gelu", "softmax", "cross_entropy", dtype="float64",
                     dropout=0.3, input_dropout=0.1)  # fmt: skip
    train = TRAIN.with_(batch_size=2500, epochs=4, optimizer="adam(0.01)", **changes)
    assert make_plan(spec, 2500).sub_batch < 2500
    compare(spec, train, problem(spec, 5100, weighted=True), threads)


@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 0.2}, {"clip_norm": 100.0}, {"l1": 0.01, "l2": 0.3}, {"reduction": "sum"}],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_gradient_norms(changes, threads):
    """Root mean square over an epoch's updates of each layer's norm, penalty in, before clipping
    by norm."""
    train = TRAIN.with_(optimizer="sgd(0.01)", **changes)
    given = problem(SPEC, ROWS, weighted=True)
    trained, epochs = compare(SPEC, train, given, threads)
    X, Y, weights = given.wide()
    params = given.params
    for record, steps, cuts in zip(
        trained.history, epochs, cuts_of(SPEC, train, ROWS), strict=True
    ):
        squares = []
        for step, cut in zip(steps, cuts, strict=True):
            r = cut.rows
            g = ref.loss_and_gradient(SPEC, train, params, X[r], Y[r], weights[r]).gradient
            squares.append([(W**2).sum() + (b**2).sum() for W, b in zip(g.W, g.b, strict=True)])
            params = step.params
        expected = np.sqrt(np.mean(squares, axis=0))
        np.testing.assert_allclose(record.gradient_norms, expected, rtol=TOLERANCE)


def test_gradient_norms_are_recorded_on_request_only():
    trained = engine_train(SPEC, TRAIN.with_(gradient_norms=False), problem(SPEC, ROWS))
    assert trained.history[-1].gradient_norms is None


# ------------------------------------------------------------------------------ predictions


@pytest.mark.parametrize("rows", [1, 95, 96, 97, 1000])
@pytest.mark.parametrize("output", ["identity", "softmax", "logistic", "exp", "gelu"])
def test_outputs_and_loss_of_a_prediction(rows, output):
    loss = {"softmax": "cross_entropy", "logistic": "binary_cross_entropy", "exp": "poisson"}
    spec = ModelSpec(
        7, 17, (33, 5), ("relu", "mish"), output, loss.get(output, "huber(0.5)"), dtype="float64"
    )
    given = problem(spec, rows, weighted=True)
    outputs, value = engine_outputs(spec, given.params, given.rows())
    X, Y, weights = given.wide()
    expected = ref.loss_and_gradient(spec, TRAIN, given.params, X, Y, weights)
    np.testing.assert_allclose(
        outputs, ref.forward(spec, given.params, X).output, rtol=1e-12, atol=1e-13
    )
    assert value == pytest.approx(expected.data, rel=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_public_class(loss):
    """fit, predict, evaluate and loss_and_gradient of MLP are those of the oracle."""
    spec = ModelSpec(7, 3, (17, 5), "tanh", output_for(loss), loss, dtype="float64")
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(ROWS, 7)), targets_for(spec, ROWS, rng)
    weights = rng.uniform(0.1, 3.0, ROWS)
    train = TRAIN.with_(l2=0.05, optimizer="adam(0.01)")
    settings = {name: getattr(train, name) for name in train.to_dict()}
    model = MLP(
        (17, 5), task="regression", activation="tanh", loss=loss, dtype="float64", **settings
    )
    model.fit(X, Y, sample_weight=weights)
    params = ref.from_flat(spec, model.get_flat())

    found, gradient = model.loss_and_gradient(X, Y, weights)
    expected = ref.loss_and_gradient(spec, train, params, X, Y, weights)
    assert found == pytest.approx(expected.data + expected.penalty, rel=1e-12)
    assert worst_error(ref.from_flat(spec, gradient), expected.gradient) <= 1e-12
    np.testing.assert_allclose(model.predict(X), ref.forward(spec, params, X).output, rtol=1e-12)
    assert model.evaluate(X, Y, weights)["loss"] == pytest.approx(expected.data, rel=1e-12)

"""Layer normalisation, ways past a layer, factors of activations and inputs, embeddings.

Against the oracle: gradients to 1e-12 of the analytic ones in float64, whole trainings to 1e-10,
whatever the cut. What they are beside the engine: test_features_whole.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from engine_twin import (
    FEATURES_ON,
    PLAIN,
    engine_gradient,
    engine_outputs,
    engine_train,
    oracle_train,
    problem,
    worst_error,
)

from nbmlp import names
from nbmlp.spec import FEATURES, ModelSpec, TrainSpec

ALL = FEATURES_ON
EACH = {name: {name: ALL[name]} for name in FEATURES} | {"all": ALL}
#: Rows in one block and cut by rows; wide layers of few rows, cut by columns; sub-batches.
CUTS = [
    ((9, 9, 5), 7, 1), ((17, 17), 100, 2), ((208, 208), 7, 2), ((208, 17, 17, 208), 20, 2),
    ((208, 208), 20, 1), ((16, 16), 1025, 2),
]  # fmt: skip


def tolerance(spec: ModelSpec) -> float:
    return 1e-12 if spec.dtype == "float64" else 1e-4


def check(spec: ModelSpec, train: TrainSpec = PLAIN, rows: int = 7, threads: int = 1) -> None:
    """Engine and oracle agree on loss and gradient of a random problem."""
    given = problem(spec, rows)
    expected = ref.loss_and_gradient(spec, train, given.params, *given.wide())
    loss, gradient = engine_gradient(spec, train, given, threads)
    total = expected.data + expected.penalty
    assert abs(loss - total) <= tolerance(spec) * (1.0 + abs(total))
    errors = ref.block_errors(gradient, expected.gradient)
    assert max(errors) <= tolerance(spec), errors


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("hidden", "rows", "threads"), CUTS)
@pytest.mark.parametrize(
    "features",
    [
        pytest.param(each, id=name, marks=pytest.mark.kernels if name == "all" else ())
        for name, each in EACH.items()
    ],
)
def test_gradients(features, hidden, rows, threads, dtype):
    spec = ModelSpec(23, 3, hidden, "tanh", dtype=dtype, **features)
    check(spec, rows=rows, threads=threads)


@pytest.mark.parametrize("activation", names.ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_every_activation_with_a_factor(activation, bias):
    for dtype in ("float64", "float32"):
        spec = ModelSpec(5, 2, (33, 33), activation, dtype=dtype, bias=bias, **ALL)
        check(spec)


@pytest.mark.parametrize("changes", [{"l2": 0.7}, {"l1": 0.03}, {"reduction": "sum"}])
def test_penalties_are_on_the_weights_alone(changes):
    check(ModelSpec(5, 2, (9, 9), "gelu", dtype="float64", **ALL), PLAIN.with_(**changes))


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize("features", EACH.values(), ids=EACH)
def test_predictions(features, rows):
    spec = ModelSpec(
        11, 3, (17, 17), "silu", "softmax", "cross_entropy", dtype="float64", **features
    )  # fmt: skip
    given = problem(spec, rows)
    outputs, loss = engine_outputs(spec, given.params, given.rows())
    expected = ref.forward(spec, given.params, given.X).output
    np.testing.assert_allclose(outputs, expected, rtol=1e-11, atol=1e-13)
    values, _ = ref.row_losses(spec, ref.forward(spec, given.params, given.X).z[-1], given.Y)
    assert loss == pytest.approx(values.mean(), rel=1e-12)


TRAININGS = {
    "sgd": {"optimizer": "sgd(0.1)"},
    "momentum": {"optimizer": "sgd(0.05, momentum=0.9)"},
    "adam, decay": {"optimizer": "adamw(0.01, weight_decay=0.1)", "l2": 0.1},
    "gains": {"optimizer": "rmsprop_gains(0.01)"},
    "by block": {"optimizer": "lamb(0.01)"},
    "norms": {"optimizer": "adam(0.01)", "clip_norm": 0.2, "gradient_norms": True},
    "bounds": {"optimizer": "sgd(0.1)", "clip_value": 0.01, "max_norm": 0.8, "l1": 0.01},
}


@pytest.mark.parametrize(
    ("features", "settings"),
    [(name, "momentum") for name in FEATURES] + [("all", name) for name in TRAININGS],
)
def test_trainings(features, settings):
    spec = ModelSpec(13, 2, (17, 17), "tanh", dtype="float64", **EACH[features])
    train = TrainSpec(schedule="constant", batch_size=12, epochs=3, **TRAININGS[settings])
    given = problem(spec, 40)
    expected = oracle_train(spec, train, given)[-1][-1].params
    for threads in (1, 2):
        trained = engine_train(spec, train, given, threads)
        assert worst_error(trained.params[-1], expected) < 1e-10


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
def test_trainings_with_dropout_by_columns(activation):
    """What comes in is kept once, by dropout or by the way past the layer."""
    drops = {"dropout": (0.3, 0.0, 0.2), "input_dropout": 0.1}
    spec = ModelSpec(13, 2, (208, 208, 208), activation, dtype="float64", **ALL, **drops)
    train = TrainSpec(optimizer="sgd(0.01)", schedule="constant", batch_size=7, epochs=2)
    given = problem(spec, 21)
    expected = oracle_train(spec, train, given)[-1][-1].params
    for threads in (1, 2):
        trained = engine_train(spec, train, given, threads)
        assert worst_error(trained.params[-1], expected) < 1e-10

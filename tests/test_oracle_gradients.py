"""Loss and gradient of the compiled engine against the oracle, block by block.

float64: ||g - g*|| <= 1e-12 ||g*|| per block. float32 reads the same float32 numbers as the oracle
and may lose a few roundings per layer: 2e-5 ||g*||, and 1e-5 ||g*|| more per hidden layer.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from engine_twin import PLAIN, Problem, engine_gradient, output_for, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from nbmlp import names
from nbmlp.spec import ModelSpec

#: Of those that depend on the instruction set: how products are cut, and how rows are read. That
#: the pieces of activations and losses are right is seen of each by itself (test_kernel_math.py).
kernels = pytest.mark.kernels

WIDTHS = st.sampled_from([1, 2, 15, 16, 17, 45, 300, 513])
BATCHES = st.sampled_from([1, 2, 7, 20, 100, 1025])
DEPTHS = st.integers(0, 5)
THREADS = st.sampled_from([1, 2])
DTYPES = ["float64", "float32"]
ACTIVATIONS = [*names.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.7)"]
RESIDUAL = ["squared_error", "absolute_error", "huber(0.5)", "quantile(0.3)"]
LOGIT = ["binary_cross_entropy", "cross_entropy", "poisson"]
PAIRS = [(loss, output) for loss in RESIDUAL for output in names.OUTPUTS]
PAIRS += [(loss, output_for(loss)) for loss in LOGIT]


def tolerance(spec):
    return 1e-12 if spec.dtype == "float64" else 2e-5 + 1e-5 * len(spec.hidden)


def check(spec, train=PLAIN, rows=7, seed=0, weighted=False, threads=1, scale=1.0):
    """Engine and oracle agree on loss and gradient of a random problem."""
    given = problem(spec, rows, seed, weighted, scale)
    expected = ref.loss_and_gradient(spec, train, given.params, *given.wide())
    loss, gradient = engine_gradient(spec, train, given, threads)
    allowed = tolerance(spec)
    total = expected.data + expected.penalty
    assert abs(loss - total) <= allowed * (1.0 + abs(total))
    for name, error, block in zip(
        block_names(spec), ref.block_errors(gradient, expected.gradient),
        expected.gradient.blocks(), strict=True,
    ):  # fmt: skip
        assert error <= allowed, f"{name}: {error:.2e} of {np.linalg.norm(block):.2e}"


def block_names(spec):
    layers = range(1, len(spec.hidden) + 2)
    return [f"{kind}{k}" for k in layers for kind in ("Wb" if spec.bias else "W")]


@st.composite
def shapes(draw, deepest=5):
    """(n_inputs, hidden, n_outputs, batch): any widths, but no net of many wide layers at once."""
    depth = draw(st.integers(0, deepest))
    n_inputs, *hidden, n_outputs = (draw(WIDTHS) for _ in range(depth + 2))
    return n_inputs, tuple(hidden), n_outputs, draw(BATCHES)


# ------------------------------------------------------------------- one thing, many shapes


@kernels
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40)
@given(shape=shapes(), bias=st.booleans(), threads=THREADS, seed=st.integers(0, 9))
def test_shapes(dtype, shape, bias, threads, seed):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(n_inputs, n_outputs, hidden, "tanh", bias=bias, dtype=dtype)
    check(spec, rows=rows, threads=threads, seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=6)
@given(shape=shapes(2), seed=st.integers(0, 9))
def test_activation_alone(activation, dtype, shape, seed):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(n_inputs, n_outputs, hidden, activation, dtype=dtype)
    check(spec, rows=rows, seed=seed, scale=0.5)  # exp of exp stays in range


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@settings(max_examples=5)
@given(shape=shapes(1), seed=st.integers(0, 9), dtype=st.sampled_from(DTYPES))
def test_loss_alone(loss, output, shape, seed, dtype):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(n_inputs, n_outputs, hidden, "tanh", output, loss, dtype=dtype)
    check(spec, rows=rows, seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@settings(max_examples=5)
@given(shape=shapes(1), smoothing=st.sampled_from([0.01, 0.1, 0.5]))
def test_label_smoothing_alone(loss, dtype, shape, smoothing):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(
        n_inputs, n_outputs, hidden, "tanh", output_for(loss), loss,
        dtype=dtype, label_smoothing=smoothing,
    )  # fmt: skip
    check(spec, rows=rows)


REGULARISERS = {
    "sum": {"reduction": "sum"},
    "l1": {"l1": 0.03},
    "l2": {"l2": 0.7},
    "l1 and l2": {"l1": 0.03, "l2": 0.7},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("changes", REGULARISERS.values(), ids=REGULARISERS)
@settings(max_examples=6)
@given(shape=shapes(2), bias=st.booleans())
def test_penalty_and_reduction_alone(changes, dtype, shape, bias):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(n_inputs, n_outputs, hidden, "tanh", bias=bias, dtype=dtype)
    check(spec, PLAIN.with_(**changes), rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["squared_error", *LOGIT])
@settings(max_examples=4)
@given(shape=shapes(1), threads=THREADS)
def test_sample_weights_alone(loss, reduction, dtype, shape, threads):
    n_inputs, hidden, n_outputs, rows = shape
    spec = ModelSpec(n_inputs, n_outputs, hidden, "tanh", output_for(loss), loss, dtype=dtype)
    check(spec, PLAIN.with_(reduction=reduction), rows, weighted=True, threads=threads)


def test_rows_of_weight_zero_count_for_nothing():
    spec = ModelSpec(5, 3, (4,), "tanh", dtype="float64")
    given = problem(spec, 40, weighted=True)
    given.weights[10:] = 0.0
    first = Problem(given.params, given.X[:10], given.Y[:10], given.weights[:10])
    expected = ref.loss_and_gradient(spec, PLAIN, first.params, *first.wide())
    loss, gradient = engine_gradient(spec, PLAIN, given)
    assert loss == pytest.approx(expected.data, rel=1e-13)
    assert max(ref.block_errors(gradient, expected.gradient)) <= 1e-12


def test_rows_without_any_weight_have_no_loss_and_no_gradient():
    """As in a gradient check whose few rows happen to be such."""
    spec = ModelSpec(5, 3, (4,), "tanh", dtype="float64")
    given = problem(spec, 7, weighted=True)
    given.weights[:] = 0.0
    loss, gradient = engine_gradient(spec, PLAIN, given)
    assert loss == 0.0
    assert not gradient.flat().any()


# --------------------------------------------------------------------------- cross product

TWO_SHAPES = [(17, (16, 3), 5, 20), (45, (33,), 16, 130)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_cross_product(activation, dtype):
    """Every activation with every loss and output that goes with it; each on another shape."""
    for i, (loss, output) in enumerate(PAIRS, start=DTYPES.index(dtype)):
        n_inputs, hidden, n_outputs, rows = TWO_SHAPES[i % 2]
        spec = ModelSpec(n_inputs, n_outputs, hidden, activation, output, loss, dtype=dtype)
        check(spec, PLAIN.with_(l2=0.1, l1=0.01), rows, weighted=True, scale=0.7)


def test_mixed_activations():
    names = ("gelu", "relu", "softplus", "mish", "selu")
    for bias in (True, False):
        spec = ModelSpec(7, 4, (9, 16, 5, 33, 8), names, "softmax", "cross_entropy", bias=bias,
                         dtype="float64")  # fmt: skip
        check(spec, PLAIN.with_(l1=0.01), rows=50, weighted=True, threads=2)


# ----------------------------------------------------------------------- one large batch


@kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_ten_thousand_rows_are_one_batch(dtype, threads):
    """Gradients accumulated over sub-batches; 10,000 is no multiple of their rows."""
    spec = ModelSpec(20, 3, (33, 17), "relu", "softmax", "cross_entropy", dtype=dtype)
    check(spec, PLAIN.with_(l2=0.01), rows=10_000, weighted=True, threads=threads)


# ------------------------------------------------------------------------ kinds of input


@kernels
def test_bytes_count_as_shares_of_255():
    spec = ModelSpec(30, 4, (17,), "tanh", "softmax", "cross_entropy", dtype="float64")
    given = problem(spec, 50)
    pixels = np.random.default_rng(1).integers(0, 256, given.X.shape).astype(np.uint8)
    expected = ref.loss_and_gradient(spec, PLAIN, given.params, pixels / 255.0, given.Y)
    loss, gradient = engine_gradient(spec, PLAIN, given._replace(X=pixels))
    assert loss == pytest.approx(expected.data, rel=1e-13)
    assert max(ref.block_errors(gradient, expected.gradient)) <= 1e-12


@kernels
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_numbers_count_as_one_hot_rows(smoothing):
    spec = ModelSpec(6, 5, (7,), "tanh", "softmax", "cross_entropy", dtype="float64",
                     label_smoothing=smoothing)  # fmt: skip
    given = problem(spec, 50)
    labels = given.Y.argmax(axis=1).astype(np.int32)
    expected = engine_gradient(spec, PLAIN, given)
    loss, gradient = engine_gradient(spec, PLAIN, given._replace(Y=labels))
    assert loss == expected[0]
    np.testing.assert_array_equal(gradient.flat(), expected[1].flat())


@kernels
@pytest.mark.parametrize(("of_x", "of_net"), [("float32", "float64"), ("float64", "float32")])
def test_inputs_of_the_other_precision_are_converted(of_x, of_net):
    spec = ModelSpec(6, 2, (7,), "tanh", dtype=of_net)
    given = problem(spec, 50)
    X = np.random.default_rng(1).normal(size=given.X.shape).astype(of_x)
    expected = engine_gradient(spec, PLAIN, given._replace(X=X.astype(of_net)))
    loss, gradient = engine_gradient(spec, PLAIN, given._replace(X=X))
    assert loss == expected[0]
    np.testing.assert_array_equal(gradient.flat(), expected[1].flat())


@kernels
def test_rows_that_lie_apart():
    """Rows of a larger array: the stride is read, not assumed."""
    spec = ModelSpec(6, 2, (7,), "tanh", dtype="float64")
    given = problem(spec, 50)
    wide = np.full((100, 11), np.nan)
    wide[::2, 3:9] = given.X
    expected = engine_gradient(spec, PLAIN, given)
    loss, gradient = engine_gradient(spec, PLAIN, given._replace(X=wide[::2, 3:9]))
    assert loss == expected[0]
    np.testing.assert_array_equal(gradient.flat(), expected[1].flat())

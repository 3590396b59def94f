"""Functions, activations and losses by themselves: accuracy, ends of the range, NaN, padding."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import reference as ref
from buffers import SENTINEL, T32_AGAIN, T32_T64, address, call, matrix, panel_of, panels_for
from numba import njit
from scipy import special

from nbmlp import names
from nbmlp.kernels.vecmath import vecmath
from nbmlp.names import Function
from nbmlp.spec import ModelSpec

#: Functions in both types on every instruction set; what is made of them, in float32 (T32_AGAIN).
kernels = pytest.mark.kernels

# --------------------------------------------------------------------------------- vecmath


@functools.cache
def elementwise(name, T):
    """A function of vecmath over whole arrays, compiled like the pieces are."""
    function = getattr(vecmath(T), name)

    @njit(fastmath={"contract"}, error_model="numpy")
    def loop(x, y):
        for i in range(len(x)):
            y[i] = function(x[i])

    def apply(x):
        x = np.asarray(x, T)
        y = np.empty_like(x)
        loop(x, y)
        return y

    return apply


def extended(x):
    """Numbers for the reference: float64 for float32, 80-bit where there is such for float64."""
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def ulps(y, exact):
    """Distance in units in the last place of the exact value's binade (normal range only)."""
    with np.errstate(over="ignore"):
        unit = np.spacing(np.maximum(np.abs(exact.astype(y.dtype)), np.finfo(y.dtype).tiny))
    return np.abs(extended(y) - exact) / unit


#: function, reference, range (float32, float64), most ulp (float32, float64).
VECTOR_FUNCTIONS = {
    "exp": (np.exp, (-87.0, 88.7), (-708.0, 709.7), 2.0, 2.0),
    "expm1_neg": (np.expm1, (-110.0, 0.0), (-750.0, 0.0), 2.0, 2.0),
    "log1p_unit": (np.log1p, (0.0, 1.0), (0.0, 1.0), 2.0, 2.0),
    "logistic": (lambda x: 1 / (1 + np.exp(-x)), (-87.0, 40.0), (-700.0, 50.0), 3.0, 3.0),
    "tanh": (np.tanh, (-20.0, 20.0), (-25.0, 25.0), 3.0, 3.0),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        (-87.0, 100.0), (-700.0, 100.0), 3.0, 3.0,
    ),
}  # fmt: skip


def arguments(T, low, high):
    """Many points: even over the range, and thick around 0 down to the smallest normal number."""
    near = np.geomspace(np.finfo(T).tiny, max(-low, high), 20_000)
    x = np.concatenate([np.linspace(low, high, 200_001), near, -near])
    return x[(x >= low) & (x <= high)].astype(T)


@kernels
@T32_T64
@pytest.mark.parametrize("name", VECTOR_FUNCTIONS)
def test_ulps(name, T):
    exact, *ranges, most32, most64 = VECTOR_FUNCTIONS[name]
    x = arguments(T, *ranges[T is np.float64])
    wide = extended(x)
    y = elementwise(name, T)(x)
    with np.errstate(under="ignore"):
        error = ulps(y, exact(wide))
    worst = int(error.argmax())
    most = most32 if T is np.float32 else most64
    if T is np.float64 and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        most += 1.0  # the reference itself is rounded to float64 here
    assert error[worst] <= most, f"{name}({x[worst]!r}) is off by {error[worst]:.2f} ulp"


@kernels
def test_erf_float32_is_close_where_gelu_needs_it():
    """Absolute 5e-7 (4.2e-7 without FMA): gelu adds 1 to it."""
    x = arguments(np.float32, -6.0, 6.0)
    assert np.abs(elementwise("erf", np.float32)(x) - special.erf(x.astype(float))).max() <= 5e-7


@kernels
def test_erf_float64_is_the_c_librarys():
    x = np.linspace(-7, 7, 1001)
    y = elementwise("erf", np.float64)(x)
    np.testing.assert_array_max_ulp(y, np.array([math.erf(v) for v in x]), 1)


@kernels
@T32_T64
def test_exp_at_the_ends(T):
    info = np.finfo(T)
    top, bottom = math.log(float(info.max)), math.log(float(info.smallest_subnormal))
    exp = elementwise("exp", T)
    assert np.isposinf(exp([top * 1.001, 1e4, 1e30, np.inf])).all()
    assert (exp([bottom * 1.01, -1e4, -1e30, -np.inf]) == 0).all()
    assert np.isfinite(exp([top * 0.9999])).all()
    subnormal = exp([bottom + 5.0])[0]
    assert 0 < subnormal < info.tiny
    assert subnormal == pytest.approx(math.exp(bottom + 5.0), rel=0.02)
    assert exp([0.0, -0.0]).tolist() == [1.0, 1.0]


LIMITS = {
    "exp": (0.0, np.inf), "logistic": (0.0, 1.0), "tanh": (-1.0, 1.0), "softplus": (0.0, np.inf),
    "erf": (-1.0, 1.0),
}  # fmt: skip


@kernels
@T32_T64
@pytest.mark.parametrize("name", LIMITS)
def test_infinities_and_nan(name, T):
    """Limits at infinity and far out; a NaN stays one, wherever in a vector it sits."""
    f, (low, high) = elementwise(name, T), LIMITS[name]
    for x, limit in ((-np.inf, low), (np.inf, high)):
        assert f([x])[0] == pytest.approx(limit, abs=4e-7)
    assert f([-1e4])[0] == pytest.approx(low, abs=4e-7)
    assert f([1e4])[0] == pytest.approx(min(high, f([1e4])[0]), abs=4e-7)
    x = np.zeros(67, T)
    for place in range(67):
        x[:] = 0.5
        x[place] = np.nan
        np.testing.assert_array_equal(np.isnan(f(x)), np.isnan(x))


@kernels
@T32_T64
def test_expm1_and_log1p_keep_nan(T):
    for name in ("expm1_neg", "log1p_unit"):
        assert np.isnan(elementwise(name, T)([np.nan, 0.0])).tolist() == [True, False]
    assert elementwise("expm1_neg", T)([-np.inf])[0] == -1.0


@kernels
@T32_T64
def test_is_finite(T):
    x = np.array([0.0, 1.0, -np.finfo(T).max, np.finfo(T).tiny, np.nan, np.inf, -np.inf], T)
    found = elementwise("is_finite", T)(x)
    np.testing.assert_array_equal(found.astype(bool), np.isfinite(x))


# ---------------------------------------------------------------- activations, forward and back


Z = np.concatenate([np.linspace(-30, 30, 121), np.random.default_rng(0).normal(size=190)])


def run_forward(T, name, z, parameter, one=-1):
    """Activation of rows z; returns (buffer, what the derivative reads)."""
    rows, n = z.shape
    a, saved = (matrix(T, rows, panels_for(T, n + 1), 0.0) for _ in range(2))
    a[:rows, :n] = z
    traits = names.ACTIVATIONS.get(name)
    call(
        f"{name}.forward", T, a=address(a), saved=address(saved), row=a.strides[0], rows=rows, n=n,
        p=parameter, one=one,
    )  # fmt: skip
    return a, saved if traits is not None and traits.needs_z else a


@T32_AGAIN
@pytest.mark.parametrize("text", [*names.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.7)", "softmax"])
def test_activation_pieces(T, text):
    name, parameter = ref.named_parameter(text)
    z = (Z if name != "exp" else Z / 4).astype(T)[: 311 // 17 * 17].reshape(-1, 17)
    wide = z.astype(np.float64)
    a, saved = run_forward(T, name, z, parameter, one=17 if name != "softmax" else -1)
    eps = np.finfo(T).eps
    near = (30 if name == "gelu" else 1) * eps  # erf's absolute error, times z
    np.testing.assert_allclose(a[:-1, :17], ref.activate(text, wide), rtol=8 * eps, atol=near)
    if name != "softmax":
        assert (a[:-1, 17] == 1.0).all()
    d = matrix(T, len(z), panels_for(T, 17), 0.0)
    d[:-1, :17] = 1.0 + np.arange(17)
    expected = ref.times_derivative(text, wide, d[:-1, :17].astype(np.float64))
    call(
        f"{name}.backward", T, dz=address(d), dz_row=d.strides[0], saved=address(saved),
        saved_row=saved.strides[0], rows=len(z), n=17, p=parameter,
    )  # fmt: skip
    np.testing.assert_allclose(d[:-1, :17], expected, rtol=64 * eps, atol=64 * eps)
    assert not d[:-1, 17:].any()  # padding stays zero


@T32_AGAIN
@pytest.mark.parametrize("name", names.ACTIVATIONS)
def test_activations_keep_nan(T, name):
    """A NaN before the activation is one behind it, so that the loss shows it."""
    z = np.full((3, 20), 0.5, T)
    z[1, 18] = z[2, 3] = np.nan
    a, _ = run_forward(T, name, z, Function(names.ACTIVATIONS[name]).parameter)
    np.testing.assert_array_equal(np.isnan(a[:3, :20]), np.isnan(z))


# ---------------------------------------------------------------------------------- losses


def run_loss(T, name, y, t, weights, parameter=np.inf):
    """(first bad row, values, gradient) of a loss piece; its padding must come out as zero."""
    rows, n = y.shape
    panels = panels_for(T, n)
    out, target = matrix(T, rows, panels, 0.0), matrix(T, rows, panels, 0.0)
    out[:rows, :n], target[:rows, :n] = y, t
    dz, values = matrix(T, rows, panels, SENTINEL), np.full(rows + 1, SENTINEL)
    bad = call(
        f"{name}.loss", T, y=address(out), y_row=out.strides[0], dz=address(dz),
        dz_row=dz.strides[0], target=address(target), target_row=target.strides[0],
        rows=rows, n=n, n_targets=n, weights=address(weights), values=address(values), p=parameter,
    )  # fmt: skip
    assert not dz[:rows, n : panels * panel_of(T)].any()
    assert (dz[rows:] == SENTINEL).all()
    assert (dz[:, panels * panel_of(T) :] == SENTINEL).all()
    assert values[rows] == SENTINEL
    return bad, values[:rows], dz[:rows, :n]


LOSSES = dict.fromkeys(names.LOSSES, "identity") | {
    name: traits.canonical for name, traits in names.LOSSES.items() if traits.canonical
}


@T32_AGAIN
@pytest.mark.parametrize("n", [1, 10, 16, 17, 1000])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_pieces(T, name, n):
    rng = np.random.default_rng(n)
    z, weights = 3 * rng.normal(size=(9, n)).astype(T), rng.random(9)
    t = rng.random((9, n)).astype(T)
    spec = ModelSpec(1, n, (), output=LOSSES[name], loss=name)
    value, delta = ref.row_losses(spec, z.astype(np.float64), t.astype(np.float64))
    _, parameter = ref.named_parameter(spec.loss)
    bad, values, dz = run_loss(T, name, z, t, weights, parameter)
    eps = np.finfo(T).eps
    assert bad == -1
    np.testing.assert_allclose(values, weights * value, rtol=64 * eps, atol=64 * eps)
    np.testing.assert_allclose(dz, weights[:, np.newaxis] * delta, rtol=64 * eps, atol=64 * eps)


@T32_AGAIN
@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_huge_logits_have_finite_losses(T, name, n):
    """From logits: exact at +-1e4, where probabilities are 0 and 1."""
    z = np.full((3, n), -1e4, T)
    z[:, :3] = [[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]]
    t = ref.one_hot(np.array([1, 0, n - 1]), n).astype(T)
    spec = ModelSpec(1, n, (), output=LOSSES[name], loss=name)
    value, delta = ref.row_losses(spec, z.astype(np.float64), t.astype(np.float64))
    bad, values, dz = run_loss(T, name, z, t, np.ones(3))
    assert bad == -1
    np.testing.assert_allclose(values, value, rtol=4 * np.finfo(T).eps)
    np.testing.assert_allclose(dz, delta, atol=4 * np.finfo(T).eps)


@T32_AGAIN
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", ["output", "target"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_losses_report_the_first_bad_row(T, name, where, value):
    _, parameter = ref.named_parameter(ModelSpec(1, 1, (), output=LOSSES[name], loss=name).loss)
    for column in (0, 15, 16, 18):
        z, t = np.full((8, 19), 0.5, T), np.full((8, 19), 0.25, T)
        (z if where == "output" else t)[[3, 6], column] = value
        assert run_loss(T, name, z, t, np.ones(8), parameter)[0] == 3


@T32_AGAIN
@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_a_loss_may_have_a_bound(T, name, n):
    """As if probabilities were clipped before their logarithm; the gradient is as without."""
    z = np.zeros((2, n), T)
    z[0, 0] = z[1, 1] = 100.0
    t = ref.one_hot(np.array([1, 1]), n).astype(T)
    spec = ModelSpec(1, n, (), output=LOSSES[name], loss=f"{name}(20.0)")
    value, delta = ref.row_losses(spec, z.astype(np.float64), t.astype(np.float64))
    bad, values, dz = run_loss(T, name, z, t, np.ones(2), 20.0)
    assert bad == -1
    assert 20.0 <= values[0] < 80.0
    np.testing.assert_allclose(values, value, rtol=64 * np.finfo(T).eps)
    np.testing.assert_allclose(dz, delta, atol=4 * np.finfo(T).eps)


@T32_AGAIN
def test_a_loss_that_overflows_is_bad(T):
    z, t = np.full((4, 3), 1.0, T), np.zeros((4, 3), T)
    z[2, 1] = np.finfo(T).max
    assert run_loss(T, "squared_error", z, t, np.ones(4))[0] == 2
    assert run_loss(T, "poisson", z, t, np.ones(4))[0] == 2

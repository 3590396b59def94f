"""One row per name: none lacks an answer, and the answers are true of the formulas."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np
import pytest
from sklearn import neural_network

from nbmlp import MLP, estimators
from nbmlp.coding import choose_output
from nbmlp.diagnostics import formulas
from nbmlp.diagnostics.formulas import Array, activate, slope
from nbmlp.init import initialise, usual_deviation
from nbmlp.kernels import _jit
from nbmlp.names import (
    ACTIVATIONS,
    INITIALISERS,
    LOSSES,
    OUTPUTS,
    Activation,
    Flat,
    Function,
    Initialiser,
    Loss,
    read_function,
    spellings,
)
from nbmlp.optimizers import OPTIMIZERS, SGD, Optimizer
from nbmlp.plan import make_plan
from nbmlp.spec import ModelSpec
from nbmlp.state import new_state

#: What model files may hold: names stay, whatever is added.
IN_FILES = {
    "activation": {
        "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish",
        "softplus", "exp", "sigmoid", "linear", "swish",
    },
    "loss": {
        "squared_error", "binary_cross_entropy", "cross_entropy", "absolute_error", "huber",
        "quantile", "poisson", "mse", "mae", "bce", "log_loss",
    },
    "init": {
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
        "lecun_normal", "uniform", "normal", "orthogonal", "zeros",
    },
}  # fmt: skip
TABLES = {"activation": ACTIVATIONS, "loss": LOSSES, "init": INITIALISERS}
#: With the default parameter, and with another.
FUNCTIONS = [Function(row) for row in ACTIVATIONS.values()]
FUNCTIONS += [Function(row, 0.4) for row in ACTIVATIONS.values() if row.parameter]
FUNCTIONS += [Function(ACTIVATIONS["leaky_relu"], 0.0)]
FUNCTION_LOSSES = [Function(row) for row in LOSSES.values() if row.canonical is None]
FUNCTION_LOSSES += [Function(f.row, 0.3) for f in FUNCTION_LOSSES if f.row.parameter]

each_activation = pytest.mark.parametrize("function", FUNCTIONS, ids=str)
each_loss = pytest.mark.parametrize("loss", FUNCTION_LOSSES, ids=str)


# ------------------------------------------------------------------------------ none is forgotten


@pytest.mark.parametrize("table", TABLES)
def test_names_in_files_stay(table: str) -> None:
    known = spellings(TABLES[table])
    assert known.keys() >= IN_FILES[table]
    assert all(TABLES[table][known[word]].name == known[word] for word in known)
    assert len(known) == sum(1 + len(row.aliases) for row in TABLES[table].values())


@pytest.mark.parametrize("kind", [Activation, Loss, Initialiser])
def test_a_row_answers_every_question(kind: type) -> None:
    """No field has a default that a new name could take unseen."""
    silent = {f.name for f in fields(kind) if f.default is not MISSING}
    assert silent == {"aliases"}


def test_every_name_has_its_formula_in_the_diagnosis() -> None:
    assert formulas._ACTIVATIONS.keys() == ACTIVATIONS.keys()
    logits = {row.name for row in LOSSES.values() if row.canonical}
    assert formulas._LOGIT.keys() == formulas._LOGIT_SLOPES.keys() == logits
    assert formulas._RESIDUAL.keys() == LOSSES.keys() - logits


def test_every_name_has_its_kernels() -> None:
    wanted = [f"{name}.{way}" for name in OUTPUTS for way in ("forward", "backward")]
    wanted += [f"{name}.loss" for name in LOSSES]
    assert _jit._MAKERS.keys() >= set(wanted)


# ------------------------------------------------------------------------- what activations are


Z = np.concatenate([np.linspace(-30.0, 30.0, 60001), [-1e4, 1e4]])


@each_activation
@np.errstate(over="ignore")
def test_outputs_lie_in_their_reach_and_nearly_fill_it(function: Function[Activation]) -> None:
    a = activate(function, Z)
    low, high = function.row.reach(function.parameter)
    for end, found in ((low, a.min()), (-high, (-a).min())):
        assert end <= found
        assert found <= (end + 2e-5 if math.isfinite(end) else -30.0)


def test_softmax_reaches_from_0_to_1() -> None:
    softmax = Function(OUTPUTS["softmax"])
    a = activate(softmax, np.array([[0.0, 1000.0, 0.0]]))
    assert softmax.row.reach(0.0) == (a.min(), a.max()) == (0.0, 1.0)


def _bends(f: Callable[[Array], Array], at: float) -> bool:
    """Whether the derivative `f`, or its own, jumps at a place."""
    h = 1e-4
    (left2, left), (right, right2) = f(at - h * np.array([2, 1])), f(at + h * np.array([1, 2]))
    jumps = abs(right - left), abs((right2 - right) - (left - left2)) / h
    return bool(max(jumps) > 0.01)


@each_activation
def test_kinks_are_where_they_are_said_to_be(function: Function[Activation]) -> None:
    assert _bends(lambda z: slope(function, z), 0.0) == function.row.kinked
    assert not any(_bends(lambda z: slope(function, z), at) for at in np.linspace(0.1, 3, 30))
    assert not any(_bends(lambda z: slope(function, z), -at) for at in np.linspace(0.1, 3, 30))


@each_activation
def test_flat_ends_are_where_they_are_said_to_be(function: Function[Activation]) -> None:
    low, high = function.row.reach(function.parameter)
    if function.row.flat is Flat.BELOW:
        assert not slope(function, Z[Z < 0]).any()
        assert slope(function, Z[Z > 0]).all()
    if function.row.flat is Flat.BOTH:
        a, steepest = activate(function, Z), 0.25 * (high - low) ** 2
        share = (a - low) * (high - a) / steepest
        np.testing.assert_allclose(
            slope(function, Z) / slope(function, np.zeros(1)), share, atol=1e-9
        )
    bounded = math.isfinite(low) and math.isfinite(high)
    assert bounded == (function.row.flat is Flat.BOTH)


@pytest.mark.parametrize("row", OUTPUTS.values(), ids=lambda row: row.name)
def test_first_weights_below_each_activation(row: Activation) -> None:
    """They have the size that is the usual one to the diagnosis."""
    weights = INITIALISERS[row.init].draw(np.random.default_rng(0), 400, 300, ())
    assert weights.std() == pytest.approx(usual_deviation(row, 400, 300), rel=0.01)


@pytest.mark.parametrize("row", INITIALISERS.values(), ids=lambda row: row.name)
def test_initialisers_draw_with_as_few_numbers_as_they_take(row: Initialiser) -> None:
    text = f"{row.name}({', '.join(['0', '0.5'][-row.fewest :])})" if row.fewest else row.name
    state = initial(ModelSpec(6, 5, (), init=text))
    assert state.any() == (row.name != "zeros")
    assert np.isfinite(state).all()


def initial(spec: ModelSpec) -> Array:
    """First weights of the first layer."""
    state = new_state(make_plan(spec, 1), SGD())
    initialise(state, spec, 0)
    return next(iter(state.weights()))


# ---------------------------------------------------------------------------- what losses are


def _slope_of(loss: Function[Loss]) -> Callable[[Array], Array]:
    """Derivative by the residual, of one output."""
    spec = ModelSpec(1, 1, (), loss=str(loss))
    return lambda r: formulas.loss_slope(spec, r[:, np.newaxis], np.zeros((1, 1)))[:, 0]


@each_loss
def test_losses_bend_where_they_are_said_to(loss: Function[Loss]) -> None:
    kink = None if loss.row.kink is None else loss.row.kink(loss.parameter)
    places = {} if kink is None else {kink, -kink}
    smooth = [at for at in np.linspace(-3, 3, 61) if all(abs(at - p) > 0.01 for p in places)]
    assert all(_bends(_slope_of(loss), at) for at in places)
    assert not any(_bends(_slope_of(loss), at) for at in smooth)


@each_loss
def test_losses_are_absolute_or_not(loss: Function[Loss]) -> None:
    """Ten times the residual: ten times the loss, or a hundred times."""
    spec = ModelSpec(1, 1, (), loss=str(loss))
    small, large = formulas.row_losses(spec, np.array([[1e4], [1e5]]), np.zeros((2, 1)))
    assert large / small == pytest.approx(10.0 if loss.row.absolute else 100.0, rel=0.01)


@pytest.mark.parametrize("row", LOSSES.values(), ids=lambda row: row.name)
def test_smoothing_goes_with_losses_of_classes(row: Loss) -> None:
    spec = ModelSpec(2, 5, (), output=row.canonical or "identity", loss=row.name)
    if not row.classes:
        with pytest.raises(ValueError, match="cross-entropies only"):
            replace(spec, label_smoothing=0.2)
        return
    factor, summand = replace(spec, label_smoothing=0.2).smoothing
    one_hot = np.eye(5)[0] if row.canonical == "softmax" else np.array([1.0, 0.0])
    assert (factor * one_hot + summand).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "row", [row for row in LOSSES.values() if row.sklearn], ids=lambda row: row.name
)
def test_losses_that_scikit_learn_has_are_counted_as_there(row: Loss) -> None:
    """One epoch of next to no steps: the loss of the first weights."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.poisson(2.0, size=40) + 0.5
    settings: dict[str, Any] = {
        "solver": "sgd", "learning_rate_init": 1e-9, "max_iter": 1, "random_state": 0, "alpha": 0.0,
    }  # fmt: skip
    if row.classes:
        y = rng.integers(0, 3 if row.canonical == "softmax" else 2, 40)
        kind = "MLPClassifier"
    else:
        settings["loss"], kind = row.sklearn, "MLPRegressor"
    own, theirs = (getattr(module, kind)(**settings) for module in (estimators, neural_network))
    for one in (own, theirs):
        with pytest.warns(match="Maximum iterations"):
            one.fit(X, y)
    assert own.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    assert own._weights.spec.loss_function.row is row


# ------------------------------------------------------------------------------- how they are read


@pytest.mark.parametrize(
    ("task", "given", "chosen"),
    [
        ("classes", ("auto", "log_loss"), ("softmax", "log_loss")),
        ("classes", ("auto", "bce"), ("logistic", "bce")),
        ("classes", ("auto", "mse"), ("logistic", "mse")),
        ("classes", ("sigmoid", "auto"), ("sigmoid", "binary_cross_entropy")),
        ("regression", ("sigmoid", "auto"), ("sigmoid", "squared_error")),
        ("regression", ("softmax", "auto"), ("softmax", "cross_entropy")),
        ("regression", ("auto", "huber(2)"), ("identity", "huber(2)")),
        ("regression", ("auto", "poisson"), ("exp", "poisson")),
        ("regression", ("leaky_relu(0.2)", "auto"), ("leaky_relu(0.2)", "squared_error")),
    ],
)
def test_aliases_are_known_where_the_rest_is_filled_in(
    task: str, given: tuple[str, str], chosen: tuple[str, str]
) -> None:
    assert choose_output(task, 3, *given) == chosen


def test_a_pickled_spec_holds_no_rows() -> None:
    """They are those of the version that reads it."""
    spec = ModelSpec(3, 2, (4,), "elu(0.7)", "softmax", "log_loss")
    before = pickle.dumps(spec)
    assert [str(f) for f in spec.functions] == ["elu(0.7)", "softmax"]
    assert spec.loss_function == read_function("log_loss", LOSSES, "loss")
    assert pickle.dumps(spec) == before
    again = pickle.loads(before)
    assert again == spec
    assert again.functions == spec.functions


# ------------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_moves_every_weight(kind: type[Optimizer]) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    net = MLP(
        (5,), activation="tanh", task="regression", standardise=False, optimizer=kind(),
        schedule="constant", epochs=2, batch_size=None,
    ).build(X, y)  # fmt: skip
    before = [np.array(W) for W in net.weights]
    net.fit(X, y)
    assert all((old != W).all() for W, old in zip(net.weights, before, strict=True))


def test_an_optimizer_says_which_rule_takes_its_steps() -> None:
    with pytest.raises(TypeError, match="Forgetful does not say which compiled rule"):

        class Forgetful(Optimizer):
            name = "forgetful"


def test_an_unknown_rule_trains_nothing_and_says_so() -> None:
    class Misspelt(SGD):
        rule = "sdg"

    with pytest.raises(KeyError, match="sdg"):
        MLP((2,), optimizer=Misspelt(), epochs=1).fit(np.eye(4), [0, 1, 0, 1])

"""Somebody's own NumPy code against the net: right code passes, each mistake is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference as ref
from engine_twin import output_for

from nbmlp import MLP, SpecError
from nbmlp.cases.author_b import AuthorsNet
from nbmlp.diagnostics.user_code import FunctionReport
from nbmlp.names import ACTIVATIONS
from nbmlp.spec import ModelSpec, TrainSpec

ROWS, L2 = 40, 0.02
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 6))
Y = RNG.normal(size=(ROWS, 3))
LABELS = np.arange(ROWS) % 3


def checked(model: MLP, function: Callable[..., Any], y: Any = Y, **options: Any) -> FunctionReport:
    report = model.check_gradients(X, y, function=function, **options)
    assert isinstance(report, FunctionReport)
    return report


def kinds(report: FunctionReport) -> set[tuple[str, str]]:
    """(block, kind) of every finding."""
    return {(block, f.kind) for f in report.findings for block in f.blocks}


# ------------------------------------------------------------------------------- code to check


@dataclass
class Code:
    """Two hidden layers of sigmoids and a sigmoid output, squared error; each line may be wrong."""

    sizes: tuple[int, ...] = (6, 5, 5, 3)
    l2: float = L2
    wrong: dict[str, Any] = field(default_factory=dict)

    def unpack(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        found, at = [], 0
        for n, m in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            found.append((theta[at : at + n * m].reshape(n, m), theta[at + n * m : at + n * m + m]))
            at += n * m + m
        return found

    def __call__(self, theta: np.ndarray, X: np.ndarray, y: np.ndarray) -> Any:
        wrong, layers, n = self.wrong, self.unpack(theta), len(X)
        a = [X]
        z = [X]
        for W, b in layers:
            z.append(a[-1] @ W + b)
            a.append(1 / (1 + np.exp(-z[-1])))
        loss = 0.5 * ((a[-1] - y) ** 2).sum() / n * wrong.get("loss", 1.0)
        loss += 0.5 * self.l2 * wrong.get("loss_l2", 1.0) * sum((W**2).sum() for W, _ in layers)
        if wrong.get("loss_bias"):
            loss += 0.5 * self.l2 * sum((b**2).sum() for _, b in layers)
        error = wrong.get("factor", 1.0) * (a[-1] - y) / n
        gradient = []
        for k in (3, 2, 1):
            W, b = layers[k - 1]
            derivative = a[k] * (1 - a[k])
            if wrong.get("at_a") == k:
                derivative = 1 / (1 + np.exp(-a[k])) * (1 - 1 / (1 + np.exp(-a[k])))
            if wrong.get("tanh") == k:
                derivative = 1 - a[k] ** 2
            delta = error if wrong.get("no_slope") == k else error * derivative
            below = z[k - 1] if wrong.get("z_below") == k else a[k - 1]
            rows = slice(-1, None) if wrong.get("last_row") == k else slice(None)
            scale = n if wrong.get("last_row") == k else 1
            dW = scale * below[rows].T @ delta[rows] + wrong.get("l2", 1.0) * self.l2 * W
            db = (error if wrong.get("bias_before") == k else delta).sum(axis=0)
            db = db + wrong.get("bias_l2", 0.0) * self.l2 * b
            error = delta @ (W if wrong.get("transposed") == k else W.T)
            if wrong.get("order") == k:
                dW = dW.T
            if wrong.get("noise") == k:
                dW = dW + np.linspace(0, 0.1, dW.size).reshape(dW.shape)
            gradient = [dW, db, *gradient]
        return loss, np.concatenate([g.ravel() for g in gradient])


def net(**settings: Any) -> MLP:
    return MLP(
        (5, 5), activation="logistic", output="logistic", loss="squared_error", l2=L2,
        task="regression", **settings,
    )  # fmt: skip


def test_right_code_passes() -> None:
    report = checked(net(), Code())
    assert report.passed
    assert report.findings == report.notes == ()
    assert report.loss == "1 * mean squared_error + 0.01 |W|^2"
    assert [b.name for b in report.blocks] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert max(b.error for b in report.blocks) < 1e-13


ALL = {f"{p}{k}" for p in "Wb" for k in (1, 2, 3)}
BELOW_3 = {"W1", "b1", "W2", "b2"}
MISTAKES: list[tuple[dict[str, Any], set[str], str]] = [
    ({"no_slope": 3}, ALL, "missing_slope"),
    ({"no_slope": 2}, BELOW_3, "missing_slope"),
    ({"no_slope": 1}, {"W1", "b1"}, "missing_slope"),
    ({"bias_before": 3}, {"b3"}, "missing_slope"),
    ({"bias_before": 1}, {"b1"}, "missing_slope"),
    ({"at_a": 2}, BELOW_3, "slope_at_a"),
    ({"tanh": 2}, BELOW_3, "other_slope"),
    ({"z_below": 3}, {"W3"}, "inputs_z"),
    ({"last_row": 2}, {"W2"}, "one_row"),
    ({"transposed": 2}, {"W1", "b1"}, "not_transposed"),
    ({"factor": ROWS}, ALL, "missing_mean"),
    ({"factor": 1 / ROWS}, ALL, "mean_twice"),
    ({"factor": 2.0}, ALL, "factor_2"),
    ({"factor": -1.0}, ALL, "sign"),
    ({"factor": 0.7}, ALL, "factor"),
    ({"factor": 0.0}, ALL, "data_missing"),
    ({"l2": 2.0}, {"W1", "W2", "W3"}, "l2_factor"),
    ({"l2": 0.0}, {"W1", "W2", "W3"}, "l2_missing"),
    ({"l2": 1 / ROWS}, {"W1", "W2", "W3"}, "l2_mean"),
    ({"l2": -1.0}, {"W1", "W2", "W3"}, "l2_sign"),
    ({"loss_l2": 0.0}, {"W1", "W2", "W3"}, "l2_extra"),
    ({"bias_l2": 1.0}, {"b1", "b2", "b3"}, "l2_on_bias"),
    ({"order": 1}, {"W1"}, "order"),
    ({"order": 2}, {"W2"}, "order"),
    ({"noise": 2}, {"W2"}, "unknown"),
]


def name_of(value: Any) -> str:
    """Of a parameter; the same in every process, in which sets have another order."""
    return str(sorted(value) if isinstance(value, set) else value)[:30]


@pytest.mark.parametrize(("wrong", "blocks", "kind"), MISTAKES, ids=name_of)
def test_each_mistake_is_named_and_no_other(
    wrong: dict[str, Any], blocks: set[str], kind: str
) -> None:
    report = checked(net(), Code(wrong=wrong))
    assert not report.passed
    assert kinds(report) == {(block, kind) for block in blocks}
    assert {b.name for b in report.blocks if b.error > 1e-7} == blocks
    assert "Fix: " in str(report)


def test_two_mistakes_at_once() -> None:
    report = checked(net(), Code(wrong={"factor": 2.0 * ROWS, "no_slope": 3, "l2": 2.0}))
    weights = {(w, "l2_factor") for w in ("W1", "W2", "W3")}
    assert kinds(report) == weights | {
        (block, kind) for block in ALL for kind in ("missing_slope", "missing_mean", "factor_2")
    }


LOSSES = {
    "sum": ({"loss": ROWS, "factor": ROWS}, "the data's loss is the sum over the 40 rows"),
    "no 1/2": ({"loss": 2.0, "factor": 2.0}, "the data's loss is twice"),
    "2 l2": ({"loss_l2": 2.0, "l2": 2.0}, "the L2 penalty is 0.02 |W|^2, the net's 0.01 |W|^2"),
    "biases": ({"loss_bias": 1, "bias_l2": 1.0}, "penalty includes the biases"),
}


@pytest.mark.parametrize(("wrong", "says"), LOSSES.values(), ids=LOSSES)
def test_another_loss_with_its_right_gradient_is_no_mistake(wrong: Any, says: str) -> None:
    report = checked(net(), Code(wrong=wrong))
    assert report.passed
    (note,) = report.notes
    assert says in note


def test_the_loss_of_the_code_may_be_another_than_the_nets() -> None:
    model = MLP((5, 5), activation="logistic", output="logistic", loss="bce", l2=L2,
                task="classes")  # fmt: skip
    y = LABELS
    report = checked(model, Code(), y)
    assert report.passed
    assert report.notes == ("the loss is squared_error, the net's binary_cross_entropy",)


def test_a_loss_that_nobody_knows() -> None:
    def code(theta: Any, X: Any, y: Any) -> Any:
        loss, gradient = Code()(theta, X, y)
        return loss + np.sin(theta).sum(), gradient + np.cos(theta)

    report = checked(net(), code)
    assert not report.passed
    assert "not understood" in report.loss


# ------------------------------------------------------------------------------------- case B


def test_the_four_lines_of_case_b() -> None:
    model = MLP(5, activation="logistic", output="logistic", loss="squared_error", l2=0.001,
                task="classes")  # fmt: skip
    report = checked(model, AuthorsNet(6, 5, 3, l2=0.001), LABELS)
    assert not report.passed
    said = {f.what: f.blocks for f in report.findings}
    assert said == {
        "the gradient of b2 is taken from a delta2 that lacks f'(z2), the derivative of logistic": (
            "b2",
        ),
        "the error sent back from layer 2 comes from a delta2 that lacks f'(z2), the derivative"
        " of logistic": ("W1", "b1"),
        "the gradient of b1 is taken from a delta1 that lacks f'(z1), the derivative of logistic": (
            "b1",
        ),
        "the gradient of the L2 penalty is 2 lambda W where the loss has 1/2 lambda |W|^2": (
            "W1",
            "W2",
        ),
    }


# --------------------------------------------------------------------- nets of every kind


def reference_code(spec: ModelSpec, train: TrainSpec) -> Callable[..., Any]:
    def code(theta: Any, X: Any, y: Any) -> Any:
        found = ref.loss_and_gradient(spec, train, ref.from_flat(spec, theta), X, y)
        return found.data + found.penalty, found.gradient.flat()

    return code


PAIRS = [(loss, "identity") for loss in ("squared_error", "absolute_error", "huber(0.5)")]
PAIRS += [("quantile(0.3)", "softplus"), ("squared_error", "softmax")]
PAIRS += [(loss, output_for(loss)) for loss in ("binary_cross_entropy", "cross_entropy", "poisson")]


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_the_algebra_of_every_loss_and_output_is_right(loss: str, output: str) -> None:
    classes = output in ("softmax", "logistic")
    model = MLP((5, 4), activation=("tanh", "silu"), output=output, loss=loss, l1=0.01, l2=0.02,
                task="classes" if classes else "regression")  # fmt: skip
    y = LABELS if classes else np.abs(Y)
    model.build(X, y)
    report = checked(model, reference_code(model.model_spec, model.train_spec), y)
    assert report.passed, str(report)
    assert report.notes == ()
    assert max(b.error for b in report.blocks) < 1e-12


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "elu(0.7)"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_algebra_of_every_activation_is_right(activation: str, bias: bool) -> None:
    model = MLP((5, 4), activation=activation, reduction="sum", bias=bias, dropout=0.3)
    model.build(X, Y)
    spec = ModelSpec(6, 3, (5, 4), activation, bias=bias)
    code = reference_code(spec, model.train_spec)
    report = checked(model, code)
    assert report.passed, str(report)
    outputs = checked(
        model, lambda theta, X, y: ref.forward(spec, ref.from_flat(spec, theta), X).output
    )
    assert outputs.passed, str(outputs)
    assert sum(b.checked for b in outputs.blocks if b.name[0] != "a") > 20


def test_mistakes_with_softmax() -> None:
    model = MLP(5, activation="tanh", task="classes")
    model.build(X, LABELS)
    right = reference_code(model.model_spec, model.train_spec)

    def code(theta: Any, X: Any, y: Any) -> Any:
        params = ref.from_flat(model.model_spec, theta)
        tape = ref.forward(model.model_spec, params, X)
        p = tape.output
        delta = (p - y) * p * (1 - p) / len(X)
        return right(theta, X, y)[0], ref.backward(model.model_spec, params, tape, delta).flat()

    report = checked(model, code, LABELS)
    assert kinds(report) == {(block, "extra_slope") for block in ("W1", "b1", "W2", "b2")}


# ------------------------------------------------------------------------------ ways to say it


def test_layers_in_and_out() -> None:
    flat = Code()

    def code(layers: Any, X: Any, y: Any) -> Any:
        theta = np.concatenate([part.ravel() for layer in layers for part in layer])
        loss, gradient = flat(theta, X, y)
        return loss, flat.unpack(gradient)

    assert checked(net(), code, parameters="layers").passed


def test_code_in_float32_is_allowed_its_rounding() -> None:
    def code(theta: Any, X: Any, y: Any) -> Any:
        loss, gradient = Code()(theta, X, y)
        return np.float32(loss), gradient.astype(np.float32)

    report = checked(net(), code)
    assert report.passed
    assert report.tolerance == 1e-4

    def wrong(theta: Any, X: Any, y: Any) -> Any:
        loss, gradient = Code(wrong={"no_slope": 3})(theta, X, y)
        return np.float32(loss), gradient.astype(np.float32)

    assert kinds(checked(net(), wrong)) == {(block, "missing_slope") for block in ALL}


def test_code_may_write_into_what_it_is_given() -> None:
    def code(theta: Any, X: Any, y: Any) -> Any:
        result = Code()(theta, X, y)
        theta[:] = X[:] = y[:] = np.nan
        return result

    model = net().build(X, Y)
    before = model.get_flat()
    assert checked(model, code).passed
    np.testing.assert_array_equal(model.get_flat(), before)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


FORWARD: dict[str, Callable[[Any, Any, Any], Any]] = {
    "activation": lambda x, W, b: np.tanh(x @ W + b),
    "bias_missing": lambda x, W, b: sigmoid(x @ W),
    "bias_sign": lambda x, W, b: sigmoid(x @ W - b),
    "transposed": lambda x, W, b: sigmoid(x @ W.T + b),
    "unknown": lambda x, W, b: sigmoid(2 * x @ W + b),
}


@pytest.mark.parametrize("kind", FORWARD)
def test_the_first_layer_whose_outputs_differ(kind: str) -> None:
    def code(theta: Any, X: Any, y: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = Code().unpack(theta)
        a1 = sigmoid(X @ W1 + b1)
        a2 = FORWARD[kind](a1, W2, b2)
        return [a1, a2, sigmoid(a2 @ W3 + b3)]

    report = checked(net(), code)
    assert kinds(report) == {("a2", kind)}
    assert not report.passed


BAD: list[tuple[Callable[..., Any], str]] = [
    (lambda t, X, y: (1.0, t[1:]), "gradient has 82 values, the net has 83 parameters"),
    (lambda t, X, y: (1.0, "no"), "holds no numbers"),
    (lambda t, X, y: (np.nan, t), "not finite"),
    (lambda t, X, y: X, r"returned shapes \[\(40, 6\)\]: .* outputs of shape \(40, 3\)"),
    (lambda t, X, y: None, "returned shapes"),
]


@pytest.mark.parametrize(("function", "says"), BAD)
def test_other_returns_are_refused(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        checked(net(), function)


def test_options_are_checked() -> None:
    with pytest.raises(SpecError, match="choose flat or layers"):
        checked(net(), Code(), parameters="dict")
    with pytest.raises(SpecError, match="sample_weight does not go with function="):
        net().check_gradients(X, Y, np.ones(ROWS), function=Code())


def test_the_report_as_plain_values() -> None:
    import json

    report = checked(net(), Code(wrong={"l2": 2.0}))
    values = json.loads(json.dumps(report.to_dict()))
    assert values["passed"] is False
    assert values["findings"][0]["kind"] == "l2_factor"
    assert values["blocks"][0]["name"] == "W1"

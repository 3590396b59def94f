"""Backpropagation in plain float64 NumPy with switches: the right algebra, and how it goes wrong.

Each function gives the right array, and beside it what comes out when a line of the algebra is
left out or confused with another, under a :class:`Slip` that says which.
Shapes: X (rows, inputs), W (inputs, outputs), b (outputs,), z, a, delta (rows, units).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nbmlp.diagnostics.formulas import (
    Array,
    activate,
    loss_slope,
    output_delta,
    row_losses,
    slope,
)
from nbmlp.names import Activation, Function
from nbmlp.spec import ModelSpec

__all__ = [
    "Layer",
    "Makers",
    "Slip",
    "Tape",
    "backward",
    "deltas",
    "forward",
    "inputs",
    "rows",
    "sent",
    "split_flat",
]


class Layer(NamedTuple):
    """W (inputs, outputs) and b (outputs,), None without biases."""

    W: Array
    b: Array | None


def split_flat(spec: ModelSpec, flat: Array) -> list[Layer]:
    """Views of the layers in a vector ordered as :meth:`nbmlp.MLP.get_flat`."""
    layers, at = [], 0
    for n_in, n_out in zip(spec.layer_sizes[:-1], spec.layer_sizes[1:], strict=True):
        W = flat[at : at + n_in * n_out].reshape(n_in, n_out)
        at += n_in * n_out
        layers.append(Layer(W, flat[at : at + n_out] if spec.bias else None))
        at += n_out if spec.bias else 0
    return layers


@dataclass(frozen=True)
class Tape:
    """A forward pass over all rows.

    Attributes
    ----------
    spec : ModelSpec
    layers : list of Layer
    x, y : ndarray (rows, inputs), (rows, outputs)
    z, a : list of ndarray (rows, units)
        Before and after the activation of each layer.
    """

    spec: ModelSpec
    layers: list[Layer]
    x: Array
    y: Array
    z: list[Array]
    a: list[Array]

    @property
    def functions(self) -> tuple[Function[Activation], ...]:
        """Activation of each layer, the output's last."""
        return self.spec.functions

    @property
    def loss(self) -> float:
        """Mean loss of a row, without penalty."""
        return float(row_losses(self.spec, self.z[-1], self.y).mean())


def forward(spec: ModelSpec, flat: Array, x: Array, y: Array) -> Tape:
    """Run the net with these parameters over x; nothing is dropped."""
    tape = Tape(spec, split_flat(spec, flat), x, y, [], [])
    below = x
    for (W, b), function in zip(tape.layers, tape.functions, strict=True):
        tape.z.append(below @ W if b is None else below @ W + b)
        below = activate(function, tape.z[-1])
        tape.a.append(below)
    return tape


class Slip(NamedTuple):
    """A line of algebra that differs.

    Attributes
    ----------
    kind : str
        For programs, e.g. ``"missing_slope"``.
    what : str
        What is special about the array, e.g. ``"that lacks f'(z2)"``.
    fix : str
        The line as it should be.
    layer : int
        Whose delta it is in, counted from 1; 0 where it is in none.
    """

    kind: str
    what: str
    fix: str
    layer: int = 0


#: What to compute under each slip; None stands for the right algebra and comes first.
Makers = dict[Slip | None, Callable[[], Array]]


def deltas(tape: Tape, k: int, error: Array | None) -> Makers:
    """Deltas of layer `k`, counted from 0.

    Parameters
    ----------
    tape : Tape
    k : int
    error : ndarray (rows, units) or None
        What came back from the layer above; None for the last layer, which begins at the loss.
    """
    z, function = tape.z[k], tape.functions[k]
    if error is not None:
        return {None: lambda: error * slope(function, z), **_wrong_slopes(tape, k, error)}
    makers: Makers = {None: lambda: output_delta(tape.spec, z, tape.y)}
    dl_da = loss_slope(tape.spec, z, tape.y)
    if tape.spec.loss_function.row.canonical:
        return makers | _wrong_logits(tape, dl_da)
    return makers | _wrong_slopes(tape, k, dl_da)


def _wrong_logits(tape: Tape, dl_da: Array) -> Makers:
    n, loss, function = len(tape.z), tape.spec.loss, tape.functions[-1]
    fix = f"delta{n} = a{n} - y: {loss} over {function} needs no derivative"
    extra = Slip("extra_slope", f"that has f'(z{n}) once too often", fix, n)
    raw = Slip("missing_slope", f"that is dL/da{n}, without {function}'s derivative", fix, n)
    right = output_delta(tape.spec, tape.z[-1], tape.y)
    return {extra: lambda: right * slope(function, tape.z[-1]), raw: lambda: dl_da}


def _wrong_slopes(tape: Tape, k: int, error: Array) -> Makers:
    """What comes of an error when f'(z) is left out or mistaken."""
    z, a, function = tape.z[k], tape.a[k], tape.functions[k]
    name, i = function.name, k + 1
    if name == "identity":
        return {}
    source = "dL/da" if k + 1 == len(tape.z) else f"(delta{i + 1} @ W{i + 1}.T)"
    fix = f"delta{i} = {source} * f'(z{i}) with {function}'s derivative, before anything uses it"
    if name == "softmax":
        fix = f"delta{i} = a * (d - (d * a).sum(axis=1, keepdims=True)) with d = dL/da"
    makers: Makers = {
        Slip("missing_slope", f"that lacks f'(z{i}), the derivative of {function}", fix, i): (
            lambda: error
        )
    }
    if name == "softmax":
        what = "that has only the diagonal of softmax's Jacobian"
        return {**makers, Slip("diagonal", what, fix, i): lambda: error * slope(function, z)}
    makers[Slip("slope_at_a", f"that has f'(a{i}) where f'(z{i}) belongs", fix, i)] = lambda: (
        error * slope(function, a)
    )
    makers[Slip("slope_twice", f"that has f'(z{i}) twice", fix, i)] = lambda: (
        error * slope(function, z) ** 2
    )
    others = {
        "logistic": ("a(1 - a)", lambda: error * a * (1 - a)),
        "tanh": ("1 - a^2", lambda: error * (1 - a**2)),
        "relu": ("1 where z > 0", lambda: error * (z > 0)),
    }
    for other, (formula, make) in others.items():
        if other != name:
            what = f"that has {other}'s derivative {formula} where {function}'s belongs"
            makers[Slip("other_slope", what, fix, i)] = make
    return makers


def sent(tape: Tape, k: int, delta: Array) -> Makers:
    """Error that layer `k` sends back to the one below."""
    W = tape.layers[k].W
    makers: Makers = {None: lambda: delta @ W.T}
    if W.shape[0] == W.shape[1]:
        fix = f"send back delta{k + 1} @ W{k + 1}.T"
        makers[Slip("not_transposed", f"through W{k + 1} that is not transposed", fix)] = lambda: (
            delta @ W
        )
    return makers


def inputs(tape: Tape, k: int) -> Makers:
    """What the weights of layer `k` multiply."""
    if k == 0:
        return {None: lambda: tape.x}
    what = f"the gradient of W{k + 1} has z{k} where the activations a{k} belong"
    wrong = Slip("inputs_z", what, f"dW{k + 1} = a{k}.T @ delta{k + 1}")
    return {None: lambda: tape.a[k - 1], wrong: lambda: tape.z[k - 1]}


def rows(name: str, delta: Callable[[], Array]) -> Makers:
    """The delta for block `name`: divided by the number of rows, or of a single row."""

    def only(row: int) -> Array:
        whole = delta()
        kept = np.zeros_like(whole)
        kept[row] = whole[row]
        return kept

    def mean() -> Array:
        whole = delta()
        return whole / len(whole)

    fix = "add up the gradients of all rows: += where there is ="
    return {
        None: mean,
        Slip("one_row", f"the gradient of {name} is the last row's only", fix): lambda: only(-1),
        Slip("one_row", f"the gradient of {name} is the first row's only", fix): lambda: only(0),
    }


def backward(tape: Tape) -> list[Layer]:
    """Gradient of the mean loss by each layer's W and b, by the right algebra."""
    found: list[Layer] = []
    error: Array | None = None
    for k in reversed(range(len(tape.z))):
        delta = deltas(tape, k, error)[None]() / len(tape.x)
        below = inputs(tape, k)[None]()
        db = None if tape.layers[k].b is None else delta.sum(axis=0)
        found.append(Layer(below.T @ delta, db))
        error = sent(tape, k, delta * len(tape.x))[None]()
    return found[::-1]

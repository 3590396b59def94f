"""The slow twin: the whole engine in plain float64 NumPy, written from the formulas alone.

Nothing here is shared with the kernels except the settings (spec, optimizers, schedules), so
where the two agree, either both are right or two people made the same mistake. Every function
returns new arrays; no argument is ever changed.

Shapes: X (batch, in), Y (batch, out), W[i] (in, out), b[i] (out,), z and delta (batch, out).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from nbmlp.names import LOSSES, OUTPUTS, read_function
from nbmlp.optimizers import Optimizer
from nbmlp.schedules import OnPlateau, PlateauState, Schedule, warmup_factor
from nbmlp.spec import ModelSpec, TrainSpec

Array = NDArray[np.float64]
Masks = Sequence[NDArray[np.bool_] | None]

# --- parameters -------------------------------------------------------------------------------


class Params(NamedTuple):
    """Weights and biases, or anything of their shape (gradients, optimizer slots)."""

    W: list[Array]  # one (in, out) per layer
    b: list[Array]  # one (out,) per layer; empty for a net without biases
    scale: Sequence[Array] = ()  # one (inputs,), or none
    gain: Sequence[Array] = ()  # of layer_norm, one (out,) per hidden layer, or none
    shift: Sequence[Array] = ()
    alpha: Sequence[Array] = ()  # of parametric_activation, likewise
    embedding: Sequence[Array] = ()  # W2 (frequencies * outputs, numbers), w1, b1, b2; or none
    tables: Sequence[Array] = ()  # one (codes, width) of each category

    def map(self, function: Callable[[Array], Array]) -> Params:
        """Apply `function` to every block."""
        return self.filled([function(block) for block in self.blocks()])

    def blocks(self) -> list[Array]:
        """Embedding, W0, b0, scale, gain0, shift0, alpha0, W1, b1, ...: those that there are."""
        layers = range(len(self.W))
        further = [b for k in layers for part in self[:-2] for b in part[k : k + 1]]
        return [*self.embedding, *self.tables, *further]

    def filled(self, blocks: Sequence[Array]) -> Params:
        """Others of the same shapes, in the order of :meth:`blocks`."""
        given, parts = iter(blocks), [[] for _ in self]  # type: list[list[Array]]
        parts[-2] += [next(given) for _ in self.embedding]
        parts[-1] += [next(given) for _ in self.tables]
        for k in range(len(self.W)):
            for own, part in zip(self[:-2], parts[:-2], strict=True):
                part += [next(given) for _ in own[k : k + 1]]
        return Params(*parts)

    @property
    def weights(self) -> list[Array]:
        """Those with penalty, decay and bound."""
        return [*self.W, *self.embedding[:1]]

    def with_weights(self, weights: Sequence[Array]) -> Params:
        """Others in their place."""
        n = len(self.W)
        return self._replace(W=list(weights[:n]), embedding=[*weights[n:], *self.embedding[1:]])

    def flat(self) -> Array:
        """All blocks as one vector, in the order of :meth:`blocks`, W row by row."""
        return np.concatenate([block.ravel() for block in self.blocks()])


def from_flat(spec: ModelSpec, flat: Array) -> Params:
    """The inverse of :meth:`Params.flat`."""
    shapes = [block.shape for block in random_params(spec, np.random.default_rng(0)).blocks()]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    pieces = zip(np.split(flat, ends[:-1]), shapes, strict=True)
    parts = [part.reshape(shape) for part, shape in pieces]
    return random_params(spec, np.random.default_rng(0)).filled(parts)


def random_params(spec: ModelSpec, rng: np.random.Generator, scale: float = 1.0) -> Params:
    """Test parameters: W ~ N(0, scale^2/n_in), and biases that are not zero."""
    pairs = list(zip(spec.layer_sizes[:-1], spec.layer_sizes[1:], strict=True))
    W = [rng.normal(0.0, scale / math.sqrt(n_in), (n_in, n_out)) for n_in, n_out in pairs]
    b = [rng.normal(0.0, 0.3 * scale, n_out) for _, n_out in pairs] if spec.bias else []

    def vectors(wanted: bool, mean: float, widths: Sequence[int]) -> list[Array]:
        return [rng.normal(mean, 0.3, width) for width in widths] if wanted else []

    return Params(
        W, b, vectors(spec.input_scale, 1.0, spec.layer_sizes[:1]),
        vectors(spec.layer_norm, 1.0, spec.hidden), vectors(spec.layer_norm, 0.0, spec.hidden),
        vectors(spec.parametric_activation, 0.8, spec.hidden), random_embedding(spec, rng),
        [rng.normal(0.0, 1.0, (count, spec.code_width)) for count in spec.code_counts],
    )  # fmt: skip


def random_embedding(spec: ModelSpec, rng: np.random.Generator) -> list[Array]:
    """W2, w1, b1, b2 of embedded numbers; w1 such that there are some turns."""
    kind, n = spec.periodic, spec.numbers
    if kind is None:
        return []
    cosines = kind.frequencies, n
    return [
        rng.normal(0.0, 0.5, (kind.frequencies * kind.outputs, n)), rng.normal(0.0, 1.0, cosines),
        rng.uniform(-np.pi, np.pi, cosines), rng.normal(0.0, 0.3, (kind.outputs, n)),
    ]  # fmt: skip


def one_hot(labels: NDArray[np.integer], n_classes: int) -> Array:
    """Labels 0..n_classes-1 as rows of the unit matrix, (batch, n_classes)."""
    return np.eye(n_classes)[labels]


# --- activations: value and derivative, both from z; p is the slope or alpha ------------------

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848  # Klambauer et al. 2017


def elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def elu_derivative(z: Array, alpha: float) -> Array:
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


def gelu_derivative(z: Array) -> Array:
    return ndtr(z) + z * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def mish_derivative(z: Array) -> Array:
    t = np.tanh(softplus(z))
    return t + z * (1 - t**2) * expit(z)


ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "identity": (lambda z, p: z, lambda z, p: np.ones_like(z)),
    "logistic": (lambda z, p: expit(z), lambda z, p: expit(z) * expit(-z)),
    "tanh": (lambda z, p: np.tanh(z), lambda z, p: 1 - np.tanh(z) ** 2),
    "relu": (lambda z, p: np.maximum(z, 0), lambda z, p: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z, p: np.where(z > 0, z, p * z), lambda z, p: np.where(z > 0, 1.0, p)),
    "elu": (elu, elu_derivative),
    "selu": (
        lambda z, p: SELU_SCALE * elu(z, SELU_ALPHA),
        lambda z, p: SELU_SCALE * elu_derivative(z, SELU_ALPHA),
    ),
    "gelu": (lambda z, p: z * ndtr(z), lambda z, p: gelu_derivative(z)),  # ndtr: the normal CDF
    "silu": (lambda z, p: z * expit(z), lambda z, p: expit(z) * (1 + z * expit(-z))),
    "mish": (lambda z, p: z * np.tanh(softplus(z)), lambda z, p: mish_derivative(z)),
    "softplus": (lambda z, p: softplus(z), lambda z, p: expit(z)),
    "exp": (lambda z, p: np.exp(z), lambda z, p: np.exp(z)),
}


def log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(z: Array) -> Array:
    return np.exp(log_softmax(z))


def named_parameter(text: str) -> tuple[str, float]:
    """Name and parameter of an activation, output or loss; 0 where it has none."""
    function = read_function(text, {**OUTPUTS, **LOSSES}, "function")
    return function.name, function.parameter


def activate(text: str, z: Array) -> Array:
    """The activation or output named `text`, e.g. ``"leaky_relu(0.2)"``, of z."""
    name, parameter = named_parameter(text)
    return softmax(z) if name == "softmax" else ACTIVATIONS[name][0](z, parameter)


def times_derivative(text: str, z: Array, d: Array) -> Array:
    """dL/dz from d = dL/da, through the activation or output named `text`."""
    name, parameter = named_parameter(text)
    if name == "softmax":  # J = diag(p) - p p^T for each row
        p = softmax(z)
        return p * (d - (d * p).sum(axis=1, keepdims=True))
    return d * ACTIVATIONS[name][1](z, parameter)


# --- losses -----------------------------------------------------------------------------------


def huber(r: Array, delta: float) -> Array:
    return np.where(np.abs(r) <= delta, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))


def quantile_slope(r: Array, q: float) -> Array:
    return np.select([r < 0, r > 0], [-q, 1 - q], 0.0)


#: Losses of the output: value and derivative, both from r = yhat - y.
RESIDUAL_LOSSES: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "squared_error": (lambda r, p: 0.5 * r**2, lambda r, p: r),
    "absolute_error": (lambda r, p: np.abs(r), lambda r, p: np.sign(r)),
    "huber": (huber, lambda r, p: np.clip(r, -p, p)),
    "quantile": (lambda r, p: np.maximum(-p * r, (1 - p) * r), quantile_slope),
}
#: Losses of the logits, fused with their output: value and derivative, both from z and y.
LOGIT_LOSSES: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "binary_cross_entropy": (lambda z, y: softplus(z) - y * z, lambda z, y: expit(z) - y),
    "cross_entropy": (
        lambda z, y: -y * log_softmax(z),
        lambda z, y: softmax(z) * y.sum(axis=1, keepdims=True) - y,
    ),
    "poisson": (lambda z, y: np.exp(z) - y * z, lambda z, y: np.exp(z) - y),
}


def row_losses(spec: ModelSpec, z: Array, Y: Array) -> tuple[Array, Array]:
    """Loss of each row (batch,), and its derivative by the output pre-activation z (batch, out)."""
    name, parameter = named_parameter(spec.loss)
    if name in LOGIT_LOSSES:
        value, slope = LOGIT_LOSSES[name]
        classes = 2 if name == "binary_cross_entropy" else spec.n_outputs
        Y = Y * (1 - spec.label_smoothing) + spec.label_smoothing / classes
        most = parameter or np.inf  # poisson has none
        return np.minimum(value(z, Y), most).sum(axis=1), slope(z, Y)
    value, slope = RESIDUAL_LOSSES[name]
    r = activate(spec.output, z) - Y
    return value(r, parameter).sum(axis=1), times_derivative(spec.output, z, slope(r, parameter))


def penalty(train: TrainSpec, params: Params) -> float:
    """l2/2*|W|^2 + l1*|W|_1 over the weights, biases excluded."""
    parts = [0.5 * train.l2 * (W**2).sum() + train.l1 * np.abs(W).sum() for W in params.weights]
    return float(sum(parts))


# --- forward and backward ---------------------------------------------------------------------


class Tape(NamedTuple):
    """What a forward pass leaves for the backward pass; one entry per layer."""

    inputs: list[Array]  # X, times its factors, or what lies below, after dropout, (batch, in)
    scales: list[Any]  # what dropout multiplied it by: a number or (batch, in)
    z: list[Array]  # what the activation takes, (batch, out)
    normed: list[tuple[Array, Array]]  # of layer_norm: rows of deviation 1, and what it was
    output: Array  # yhat, (batch, n_outputs)
    x: Array  # numbers that are embedded, after dropout, (batch, numbers)
    codes: NDArray[np.int64]  # rows of the tables, (batch, codes)


def dropout_scale(spec: ModelSpec, layer: int, masks: Masks | None) -> Any:
    """Factor on the inputs of `layer` (0 = on X): a number or (batch, in)."""
    keep = 1.0 - (spec.input_dropout, *spec.dropout)[layer]
    inverted = spec.dropout_scale_at == "training"
    if masks is None:
        return 1.0 if inverted else keep
    mask = masks[layer]
    if mask is None:
        return 1.0
    return mask / keep if inverted else mask.astype(np.float64)


def forward(spec: ModelSpec, params: Params, X: Array, masks: Masks | None = None) -> Tape:
    """Run the net over X.

    Parameters
    ----------
    masks : sequence of (batch, width) bool or None
        What dropout keeps: first of X, then of every hidden layer; an entry None drops nothing
        there. None for all = predicting: no dropout, and scaled if the spec says at "predict".
    """
    a = np.asarray(X, dtype=np.float64)
    functions = (*spec.activation, spec.output)
    codes = read_codes(spec, a)
    tape = Tape([], [], [], [], a, a[:, : spec.numbers], codes)
    for layer, function in enumerate(functions):
        scale = dropout_scale(spec, layer, masks)
        a = a * scale
        if layer == 0:
            tape = tape._replace(x=a[:, : spec.numbers])
            given = a[:, : spec.n_inputs - len(spec.code_counts)]
            own = [embedded(params.embedding, tape.x)] if params.embedding else []
            rows = [table[c] for table, c in zip(params.tables, codes.T, strict=True)]
            a = np.concatenate([given, *own, *rows], axis=1)
        if layer and spec.skips[layer - 1]:
            a = a + tape.inputs[layer - 1]
        if layer == 0 and params.scale:
            a = a * params.scale[0]
        z = a @ params.W[layer]
        if params.b:
            z = z + params.b[layer]
        if layer < len(params.gain):
            tape.normed.append(normalise(z))
            z = params.gain[layer] * tape.normed[-1][0] + params.shift[layer]
        tape.inputs.append(a)
        tape.scales.append(scale)
        tape.z.append(z)
        a = activate(function, z)
        if layer < len(params.alpha):
            a = z + params.alpha[layer] * (a - z)
    return tape._replace(output=a)


def read_codes(spec: ModelSpec, X: Array) -> NDArray[np.int64]:
    """The last inputs, which are never dropped, as rows of their tables, (batch, codes)."""
    counts = np.array(spec.code_counts, np.int64)
    codes = np.rint(X[:, spec.n_inputs - len(counts) :]).astype(np.int64)
    return np.where((codes >= 0) & (codes < counts), codes, 0)


def table_gradient(table: Array, codes: NDArray[np.int64], d: Array) -> Array:
    """By the rows of a table, from the deltas (batch, width) of those that were taken."""
    g = np.zeros_like(table)
    np.add.at(g, codes, d)
    return g


def angles(embedding: Sequence[Array], x: Array) -> Array:
    """2 pi w1 x + b1, (batch, frequencies, numbers)."""
    _, frequency, phase, _ = embedding
    return 2 * np.pi * frequency * x[:, None] + phase


def mixing(embedding: Sequence[Array]) -> Array:
    """W2 as (frequencies, outputs, numbers)."""
    W2, frequency, *_ = embedding
    return W2.reshape(len(frequency), -1, W2.shape[1])


def embedded(embedding: Sequence[Array], x: Array) -> Array:
    """W2 cos(2 pi w1 x + b1) + b2 of each number: (batch, outputs * numbers), output by output."""
    cosines = np.cos(angles(embedding, x))
    return (np.einsum("rkn,kmn->rmn", cosines, mixing(embedding)) + embedding[-1]).reshape(
        len(x), -1
    )


def embedding_gradient(embedding: Sequence[Array], x: Array, d: Array) -> list[Array]:
    """By W2, w1, b1, b2, from the deltas of what :func:`embedded` gives."""
    theta, W2 = angles(embedding, x), mixing(embedding)
    d = d.reshape(len(x), -1, x.shape[1])
    slope = -np.sin(theta) * np.einsum("rmn,kmn->rkn", d, W2)
    by_W2 = np.einsum("rkn,rmn->kmn", np.cos(theta), d).reshape(embedding[0].shape)
    by_w1 = 2 * np.pi * (slope * x[:, None]).sum(axis=0)
    return [by_W2, by_w1, slope.sum(axis=0), d.sum(axis=0)]


def normalise(z: Array) -> tuple[Array, Array]:
    """Rows (z - mean) / deviation, and their deviations (batch, 1)."""
    deviation = np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    return (z - z.mean(axis=1, keepdims=True)) / deviation, deviation


def backward(spec: ModelSpec, params: Params, tape: Tape, delta: Array) -> Params:
    """Gradient of the data loss, from `delta` = dL/dz of the output (batch, n_outputs)."""
    g = Params([], [], [], [], [], [], [], [])
    past: Any = 0.0  # what goes by the layer above
    for layer in reversed(range(len(params.W))):
        g.W.insert(0, tape.inputs[layer].T @ delta)
        g.b.insert(0, delta.sum(axis=0))
        down = delta @ params.W[layer].T
        if layer == 0:
            break
        down = down + past
        past = down if spec.skips[layer - 1] else 0.0
        delta = through(spec, params, tape, layer - 1, down * tape.scales[layer], g)
    if params.scale:
        g.scale.append((down * tape.inputs[0] / params.scale[0]).sum(axis=0))
        down = down * params.scale[0]
    added = down[:, spec.n_inputs - len(spec.code_counts) :]
    if params.embedding:
        own, added = np.split(added, [spec.numbers * len(params.embedding[-1])], axis=1)
        g.embedding.extend(embedding_gradient(params.embedding, tape.x, own))
    parts = np.split(added, max(1, len(params.tables)), axis=1)
    for table, codes, d in zip(params.tables, tape.codes.T, parts, strict=False):
        g.tables.append(table_gradient(table, codes, d))
    return g if spec.bias else g._replace(b=[])


def through(spec: ModelSpec, params: Params, tape: Tape, k: int, da: Array, g: Any) -> Array:
    """Delta by layer k's product from that by its activation; puts what it learns into `g`."""
    function, z = spec.activation[k], tape.z[k]
    delta = times_derivative(function, z, da)
    if params.alpha:
        g.alpha.insert(0, (da * (activate(function, z) - z)).sum(axis=0))
        delta = da + params.alpha[k] * (delta - da)
    if params.gain:
        h, deviation = tape.normed[k]
        g.gain.insert(0, (delta * h).sum(axis=0))
        g.shift.insert(0, delta.sum(axis=0))
        e = delta * params.gain[k]
        mean, along = e.mean(axis=1, keepdims=True), (e * h).mean(axis=1, keepdims=True)
        delta = (e - mean - h * along) / deviation
    return delta


class LossAndGradient(NamedTuple):
    """The batch's loss in two parts, and the gradient of their sum (not clipped)."""

    data: float
    penalty: float
    gradient: Params


def loss_and_gradient(
    spec: ModelSpec,
    train: TrainSpec,
    params: Params,
    X: Array,
    Y: Array,
    sample_weight: Array | None = None,
    masks: Masks | None = None,
) -> LossAndGradient:
    """Loss of one batch and its gradient, data and penalty."""
    tape = forward(spec, params, X, masks)
    losses, delta = row_losses(spec, tape.z[-1], Y)
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    if train.reduction == "mean":
        w = w / w.sum()
    g = backward(spec, params, tape, delta * w[:, None])
    pairs = zip(g.weights, params.weights, strict=True)
    g = g.with_weights([g + train.l2 * W + train.l1 * np.sign(W) for g, W in pairs])
    return LossAndGradient(float(losses @ w), penalty(train, params), g)


# --- optimizers: rule(settings, w, g, slots, factor, t) -> w -----------------------------------
# One block at a time; `slots` is replaced entry by entry, `factor` is the schedule's, t = 1 first.

Slots = dict[str, Array]


def sgd(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    lr = o.learning_rate * factor
    if not o.momentum:
        return w - lr * g
    v = slots["velocity"] = o.momentum * slots["velocity"] + g
    return w - lr * (g + o.momentum * v if o.nesterov else v)


def rmsprop(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    s = slots["mean_square"] = o.rho * slots["mean_square"] + (1 - o.rho) * g**2
    return w - o.learning_rate * factor * g / (np.sqrt(s) + o.epsilon)


def rmsprop_gains(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    agreement = np.sign(g) * np.sign(slots["previous"])
    change = np.select([agreement > 0, agreement < 0], [o.increase, o.decrease], 1.0)
    gain = slots["gain"] = np.clip(slots["gain"] * change, o.min_gain, o.max_gain)
    slots["previous"] = g
    return rmsprop(o, w, g, slots, factor * gain, t)


def rprop(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    agreement = np.sign(g) * np.sign(slots["previous"])
    longer = np.minimum(slots["step"] * o.increase, o.max_step)
    shorter = np.maximum(slots["step"] * o.decrease, o.min_step)
    step = slots["step"] = np.select(
        [agreement > 0, agreement < 0], [longer, shorter], slots["step"]
    )
    g = slots["previous"] = np.where(agreement < 0, 0.0, g)
    return w - factor * np.sign(g) * step


def adagrad(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    s = slots["sum_square"] = slots["sum_square"] + g**2
    return w - o.learning_rate * factor * g / (np.sqrt(s) + o.epsilon)


def adam(o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int) -> Array:
    m = slots["mean"] = o.beta1 * slots["mean"] + (1 - o.beta1) * g
    v = slots["mean_square"] = o.beta2 * slots["mean_square"] + (1 - o.beta2) * g**2
    m_hat = m / (1 - o.beta1**t)
    v_hat = v / (1 - o.beta2**t)
    epsilon = o.epsilon / np.sqrt(1 - o.beta2**t) if o.epsilon_hat else o.epsilon
    return w - o.learning_rate * factor * m_hat / (np.sqrt(v_hat) + epsilon)


def lamb(
    o: Any, w: Array, g: Array, slots: Slots, factor: float, t: int, decay: float, long: bool
) -> Array:
    """Only what has a penalty has decay and a length, too."""
    m = slots["mean"] = o.beta1 * slots["mean"] + (1 - o.beta1) * g
    v = slots["mean_square"] = o.beta2 * slots["mean_square"] + (1 - o.beta2) * g**2
    u = m / (1 - o.beta1**t) / (np.sqrt(v / (1 - o.beta2**t)) + o.epsilon)
    u = u + decay * w if long else u
    long = long and np.any(w) and np.any(u)
    reach = np.linalg.norm(w) / np.linalg.norm(u) if long else 1.0
    return w - o.learning_rate * factor * reach * u


RULES: dict[str, Callable[..., Array]] = {
    "sgd": sgd,
    "rmsprop": rmsprop,
    "rmsprop_gains": rmsprop_gains,
    "rprop": rprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adam,  # its decay is decoupled: see `update`
    "lamb": lamb,
}


def first_slots(optimizer: Optimizer, params: Params) -> list[Slots]:
    """Slots before the first update, one dict per block of :meth:`Params.blocks`."""
    return [
        {name: np.full(block.shape, value) for name, value in optimizer.slots}
        for block in params.blocks()
    ]


# --- one update, and the training loop --------------------------------------------------------


def clip(train: TrainSpec, gradient: Params) -> Params:
    """Bound each entry by clip_value, then the norm of everything by clip_norm."""
    if train.clip_value is not None:
        c = train.clip_value
        gradient = gradient.map(lambda g: np.clip(g, -c, c))
    norm = float(np.linalg.norm(gradient.flat()))
    if train.clip_norm is not None and norm > train.clip_norm:
        shrink = train.clip_norm / norm
        gradient = gradient.map(lambda g: g * shrink)
    return gradient


def limit_norms(W: Array, bound: float) -> Array:
    """Scale each column (a unit's incoming weights) whose norm exceeds `bound` down to it."""
    return W * (bound / np.maximum(np.linalg.norm(W, axis=0), bound))


NAMES = ("weight", "bias", "scale", "gain", "shift", "alpha")
EMBEDDED = ("weight", "frequency", "phase", "bias")


def part_factors(given: Mapping[str, float | str] | None, params: Params) -> Params:
    """What the factors named make of each block: one number for each."""

    def factor(*names: str, inputs: int = 1) -> Array:
        words = {"sqrt(inputs)": math.sqrt(inputs), "1/sqrt(inputs)": 1 / math.sqrt(inputs)}
        named = [(given or {}).get(one, 1.0) for one in names]
        return np.array(math.prod(words[one] if isinstance(one, str) else one for one in named))

    def of_layer(k: int, name: str) -> Array:
        own = f"layer{k + 1}"
        return factor(name, own, f"{own}.{name}", inputs=len(params.W[k]))

    def embedded(name: str) -> Array:
        return factor("embedding", f"embedding.{name}")

    parts = zip(NAMES, params[:-2], strict=True)
    return Params(
        *[[of_layer(k, name) for k in range(len(part))] for name, part in parts],
        [embedded(name) for name, _ in zip(EMBEDDED, params.embedding, strict=False)],
        [embedded(f"table{k}") for k in range(1, len(params.tables) + 1)],
    )  # fmt: skip


def update(
    train: TrainSpec, params: Params, gradient: Params, slots: list[Slots], factor: float, t: int,
    decay_factor: float = 1.0,
) -> Params:  # fmt: skip
    """Parameters after one update; `gradient` holds data and penalty, `slots` move on in place.

    Order: clip by value, clip by norm, decoupled decay of the weights, the rule, max-norm.
    """
    optimizer = train.optimizer
    rates = part_factors(train.rate_factors, params).map(lambda r: factor * r)
    decays = part_factors(train.decay_factors, params)
    decays = decays.map(lambda d: 0.0 * d).with_weights([train.decay * d for d in decays.weights])
    weights, new = [id(W) for W in params.weights], []
    for w, g, s, rate, decay in zip(
        params.blocks(), clip(train, gradient).blocks(), slots, rates.blocks(), decays.blocks(),
        strict=True,
    ):  # fmt: skip
        rule, pull = RULES[optimizer.name], float(decay) * decay_factor
        if optimizer.by_block:  # there decay is part of the direction
            more = {"decay": pull, "long": id(w) in weights}
            new.append(rule(optimizer, w, g, s, float(rate), t, **more))
        else:
            shrink = 1.0 - optimizer.learning_rate * float(rate) * pull
            new.append(rule(optimizer, w * shrink, g, s, float(rate), t))
    stepped = params.filled(new)
    if train.max_norm is None:
        return stepped
    return stepped.with_weights([limit_norms(W, train.max_norm) for W in stepped.weights])


class Step(NamedTuple):
    """One update: parameters after it, the two parts of the batch's loss before it, and the average
    of the parameters if there is one."""

    params: Params
    data: float
    penalty: float
    average: Params | None = None

    @property
    def shown(self) -> Params:
        """What is validated, and what the model has."""
        return self.params if self.average is None else self.average


def schedule_factor(train: TrainSpec, step: int, per_epoch: int) -> float:
    """Schedule times warm-up at an update (0 = the first); on_plateau's own factor excluded."""
    at = np.array([float(step)])
    factor = train.schedule.factor(at, per_epoch, per_epoch * train.epochs)
    return float((factor * warmup_factor(at, train.warmup * per_epoch))[0])


def other_factor(schedule: Schedule | None, train: TrainSpec, step: int, per_epoch: int) -> float:
    """Of a schedule of dropout or decay, at an update."""
    if schedule is None:
        return 1.0
    return float(schedule.factor(np.array([float(step)]), per_epoch, per_epoch * train.epochs)[0])


def train(
    spec: ModelSpec,
    train_spec: TrainSpec,
    params: Params,
    X: Array,
    Y: Array,
    order_per_epoch: Sequence[NDArray[np.integer]],
    masks: Sequence[Masks] | None = None,
    sample_weight: Array | None = None,
    n_steps: int | None = None,
    watch: Callable[[Params], float] | None = None,
) -> Iterator[Step]:
    """Train for the epochs whose row orders are given, giving back each update as it is made.

    Parameters
    ----------
    order_per_epoch : sequence of (n,) int
        Rows of X in the order in which each epoch visits them; the last batch may be smaller.
    masks : sequence of masks, one entry per update
        See :func:`forward`; each mask has the rows of its batch, in the batch's order.
    n_steps : int or None
        Stop after so many updates.
    watch : callable, for the schedule on_plateau
        The loss that it watches, from the parameters after an epoch.
    """
    if masks is None and any((spec.input_dropout, *spec.dropout)):
        raise ValueError("the spec has dropout: give the masks of every update.")
    size = train_spec.batch_size or len(X)
    per_epoch = math.ceil(len(X) / size)
    slots = first_slots(train_spec.optimizer, params)
    plateau = PlateauState()
    t, decay, total, count = 0, train_spec.ema or 0.0, 0.0 * params.flat(), 0.0
    for order in order_per_epoch:
        for start in range(0, len(order), size):
            if t == n_steps:
                return
            rows = order[start : start + size]
            weight = None if sample_weight is None else sample_weight[rows]
            kept = None if masks is None else masks[t]
            loss = loss_and_gradient(spec, train_spec, params, X[rows], Y[rows], weight, kept)
            factor = schedule_factor(train_spec, t, per_epoch) * plateau.factor
            fading = other_factor(train_spec.decay_schedule, train_spec, t, per_epoch)
            t += 1
            params = update(train_spec, params, loss.gradient, slots, factor, t, fading)
            total, count = decay * total + params.flat(), decay * count + 1.0
            average = from_flat(spec, total / count) if train_spec.ema else None
            yield Step(params, loss.data, loss.penalty, average)
        if isinstance(train_spec.schedule, OnPlateau):
            assert watch is not None, "on_plateau needs `watch`: the loss after an epoch."
            plateau = train_spec.schedule.after_epoch(plateau, watch(params))


# --- comparing --------------------------------------------------------------------------------


def block_errors(got: Params, expected: Params) -> list[float]:
    """|g - g*| / |g*| of every block (|g| where g* is zero), in the order of Params.blocks."""
    pairs = zip(got.blocks(), expected.blocks(), strict=True)
    sizes = [(np.linalg.norm(g - e), np.linalg.norm(e)) for g, e in pairs]
    return [float(difference / size if size else difference) for difference, size in sizes]


def kinks(
    spec: ModelSpec,
    train: TrainSpec,
    params: Params,
    X: Array,
    Y: Array,
    masks: Masks | None = None,
) -> Array:
    """On which side of every kink the batch is; a change means that a difference straddles one."""
    tape = forward(spec, params, X, masks)
    kinked = ("relu", "leaky_relu", "elu", "selu")
    functions = [named_parameter(f)[0] for f in (*spec.activation, spec.output)]
    sides = [z for f, z in zip(functions, tape.z, strict=True) if f in kinked]
    name, parameter = named_parameter(spec.loss)
    r = tape.output - Y
    if name in ("absolute_error", "quantile"):
        sides.append(r)
    if name == "huber":
        sides.append(np.abs(r) - parameter)
    if train.l1:
        sides.extend(params.weights)
    return np.concatenate([np.sign(side).ravel() for side in sides] or [np.zeros(0)])


def finite_difference(
    function: Callable[[Array], float],
    x: Array,
    step: float = 1e-5,
    sides: Callable[[Array], Array] | None = None,
) -> Array:
    """Central differences of `function` at x (n,); NaN where `sides` differs across the step."""
    gradient = np.full(len(x), np.nan)
    for i in range(len(x)):
        h = np.zeros(len(x))
        h[i] = step * max(1.0, abs(x[i]))
        if sides is None or np.array_equal(sides(x - h), sides(x + h)):
            gradient[i] = (function(x + h) - function(x - h)) / (2 * h[i])
    return gradient

"""What to build and how to train it: frozen, printable, comparable settings, checked at once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from nbmlp.codes import ACTIVATIONS, INITIALISERS, LOSSES, OUTPUTS, parse_call, resolve
from nbmlp.errors import SpecError, unknown_name
from nbmlp.optimizers import LBFGS, Adam, Optimizer, as_optimizer
from nbmlp.schedules import Cosine, Schedule, as_schedule

__all__ = ["ModelSpec", "TrainSpec", "named_parameter"]

Self = TypeVar("Self")


def named_parameter(text: str) -> tuple[str, float]:
    """Split a checked activation or loss such as ``"huber(1.5)"`` into name and parameter.

    Returns
    -------
    name : str
    value : float
        The default of the tables when none is written.
    """
    name, args, _ = parse_call(text, "setting")
    if args:
        return name, float(args[0])
    traits = ACTIVATIONS.get(name) or LOSSES.get(name)
    return name, traits.default if traits else 0.0


def _canonical(text: str, valid: tuple[str, ...] | dict[str, Any], kind: str) -> str:
    """Check ``name`` or ``name(number)`` and write aliases out."""
    call = parse_call(text, kind)
    name = resolve(call.name, valid, kind)
    if not call.args and not call.kwargs:
        return name
    traits = LOSSES.get(name) if kind == "loss" else ACTIVATIONS.get(name)
    takes = getattr(traits, "parameter", None) or getattr(traits, "has_parameter", False)
    values = [*call.args, *call.kwargs.values()]
    if not takes or len(values) != 1 or not isinstance(values[0], int | float):
        raise SpecError(f"{kind} {text!r}: {name} takes {'one number' if takes else 'no number'}.")
    return f"{name}({float(values[0])!r})"


def _canonical_init(text: str) -> str:
    call = parse_call(text, "init")
    if call.name == "auto":
        return "auto"
    name = resolve(call.name, ("auto", *INITIALISERS), "init")
    low, high = INITIALISERS[name]
    if not low <= len(call.args) <= high or call.kwargs:
        takes = f"{low} to {high}" if low != high else str(low)
        raise SpecError(f"init {text!r}: {name} takes {takes} numbers, {len(call.args)} given.")
    numbers = ", ".join(repr(float(a)) for a in call.args)
    return f"{name}({numbers})" if numbers else name


def _whole(name: str, value: object, low: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise SpecError(f"{name}={value!r} must be a whole number, {low} or more.")
    return value


def _number(name: str, value: Any, low: float, high: float, closed_high: bool = False) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value
    good = good and (value <= high if closed_high else value < high)
    if not good:
        raise SpecError(
            f"{name}={value!r} must be a number in [{low:g}, {high:g}{']' if closed_high else ')'}."
        )
    return float(value)


def _from_dict(cls: type[Self], values: dict[str, Any]) -> Self:
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise unknown_name("setting", key, names)
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class ModelSpec:
    """The net: shapes, functions, first weights.

    Attributes
    ----------
    n_inputs, n_outputs : int
        Columns of X; units of the last layer.
    hidden : tuple of int
        Units of each hidden layer; empty for a linear model.
    activation : tuple of str
        One per hidden layer, e.g. ``"relu"`` or ``"leaky_relu(0.2)"``; one string serves all.
    output : str
        Activation of the last layer, or ``"softmax"``.
    loss : str
        e.g. ``"squared_error"`` or ``"huber(1.5)"``.
    bias : bool
        Whether layers have biases.
    init : str
        First weights, e.g. ``"he_uniform"`` or ``"uniform(-1, 1)"``; ``"auto"`` takes He for
        the relu family, LeCun for selu, Glorot for the rest. Biases start at zero.
    dtype : str
        ``"float32"`` or ``"float64"``.
    dropout : tuple of float
        Share of units dropped, one per hidden layer; one number serves all.
    input_dropout : float
        Share of inputs dropped.
    dropout_scale_at : str
        ``"training"`` divides kept units by the keep probability (inverted dropout);
        ``"predict"`` multiplies by it when predicting.
    label_smoothing : float
        Share of the target spread over all classes (cross-entropies only).
    """

    n_inputs: int
    n_outputs: int
    hidden: tuple[int, ...] = (100,)
    activation: tuple[str, ...] | str = "relu"
    output: str = "identity"
    loss: str = "squared_error"
    bias: bool = True
    init: str = "auto"
    dtype: str = "float32"
    dropout: tuple[float, ...] | float = 0.0
    input_dropout: float = 0.0
    dropout_scale_at: str = "training"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        _whole("n_inputs", self.n_inputs)
        _whole("n_outputs", self.n_outputs)
        hidden = (self.hidden,) if isinstance(self.hidden, int) else tuple(self.hidden)
        put("hidden", tuple(_whole("hidden", h) for h in hidden))
        put("activation", self._per_layer("activation", self.activation, str))
        put("activation", tuple(_canonical(a, ACTIVATIONS, "activation") for a in self.activation))
        drops = self._per_layer("dropout", self.dropout, (int, float))
        put("dropout", tuple(_number("dropout", d, 0.0, 1.0) for d in drops))
        put("input_dropout", _number("input_dropout", self.input_dropout, 0.0, 1.0))
        put("output", _canonical(self.output, OUTPUTS, "output"))
        put("loss", _canonical(self.loss, LOSSES, "loss"))
        put("init", _canonical_init(self.init))
        if self.dtype not in ("float32", "float64"):
            raise SpecError(f"dtype={self.dtype!r}: choose float32 or float64.")
        if self.dropout_scale_at not in ("training", "predict"):
            raise SpecError(
                f"dropout_scale_at={self.dropout_scale_at!r}: choose training or predict."
            )
        self._check_loss()

    def _per_layer(self, name: str, value: Any, kind: Any) -> tuple[Any, ...]:
        if isinstance(value, kind):
            return (value,) * len(self.hidden)
        if len(value) != len(self.hidden):
            raise SpecError(
                f"{name} has {len(value)} entries for {len(self.hidden)} hidden layers:"
                " give one, or one per layer."
            )
        return tuple(value)

    def _check_loss(self) -> None:
        name, value = named_parameter(self.loss)
        traits = LOSSES[name]
        if traits.only_canonical and self.output != traits.canonical:
            raise SpecError(
                f"loss {name!r} is computed from the logits and needs output="
                f"{traits.canonical!r}, not {self.output!r}."
            )
        if traits.parameter and not traits.low < value < traits.high:
            raise SpecError(
                f"loss {name}: {traits.parameter}={value!r} must lie in"
                f" ({traits.low:g}, {traits.high:g})."
            )
        _number("label_smoothing", self.label_smoothing, 0.0, 1.0)
        if self.label_smoothing and name not in ("cross_entropy", "binary_cross_entropy"):
            raise SpecError(f"label_smoothing works with cross-entropies only, not {name!r}.")

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """(n_inputs, *hidden, n_outputs)."""
        return (self.n_inputs, *self.hidden, self.n_outputs)

    @property
    def n_parameters(self) -> int:
        """Weights and biases, padding not counted."""
        sizes = self.layer_sizes
        return sum((a + self.bias) * b for a, b in zip(sizes, sizes[1:], strict=False))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON or TOML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return _from_dict(cls, values)


@dataclass(frozen=True)
class TrainSpec:
    """How to train.

    Attributes
    ----------
    optimizer : Optimizer, str or dict
        e.g. ``Adam(1e-3)``, ``"adam(beta2=0.99)"``.
    schedule : Schedule, str or dict
        Factor on the learning rate over the planned training.
    warmup : float
        Epochs over which the learning rate rises linearly from 0.
    batch_size : int or None
        Rows of one update; None = all. A left-over smaller batch is trained on too.
    epochs : int
        Passes over the data.
    shuffle : bool
        Draw a new order each epoch, from `seed`.
    l1, l2 : float
        Penalty l1*|W|_1 + l2/2*|W|^2; biases excluded, not divided by the batch.
    weight_decay : float
        Decoupled: w <- w*(1 - lr*weight_decay) before the update; biases excluded.
    max_norm : float or None
        Upper bound on the norm of a unit's incoming weights, enforced after each update.
    clip_norm : float or None
        Upper bound on the norm of the whole gradient (penalty included).
    clip_value : float or None
        Upper bound on each entry of the gradient (penalty included).
    reduction : str
        ``"mean"`` divides the batch's loss by the sum of its weights, ``"sum"`` does not.
    seed : int
        Of first weights, order and dropout masks.
    threads : int or None
        Most threads to use; None = all cores this process may use. The result does not depend
        on it.
    gradient_norms : bool
        Record each layer's gradient norm (root mean square over the epoch's updates).
    """

    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Cosine)
    warmup: float = 0.0
    batch_size: int | None = 100
    epochs: int = 30
    shuffle: bool = True
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    reduction: str = "mean"
    seed: int = 0
    threads: int | None = None
    gradient_norms: bool = False

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("optimizer", as_optimizer(self.optimizer))
        put("schedule", as_schedule(self.schedule))
        if self.batch_size is not None:
            _whole("batch_size", self.batch_size)
        if self.threads is not None:
            _whole("threads", self.threads)
        _whole("epochs", self.epochs)
        _whole("seed", self.seed, 0)
        for name in ("l1", "l2", "weight_decay", "warmup"):
            put(name, _number(name, getattr(self, name), 0.0, math.inf))
        for name in ("max_norm", "clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is not None and not (_number(name, value, 0.0, math.inf) > 0):
                raise SpecError(f"{name}={value!r} must be above 0, or None for no bound.")
        if self.reduction not in ("mean", "sum"):
            raise SpecError(f"reduction={self.reduction!r}: choose mean or sum.")
        if isinstance(self.optimizer, LBFGS):
            self._check_lbfgs()

    def _check_lbfgs(self) -> None:
        for name in ("weight_decay", "max_norm", "clip_norm", "clip_value"):
            if getattr(self, name):
                raise SpecError(f"{name} does not go with lbfgs, whose line search owns the step.")

    @property
    def decay(self) -> float:
        """Decoupled decay of this spec and of AdamW together."""
        return self.weight_decay + float(getattr(self.optimizer, "weight_decay", 0.0))

    def with_(self, **changes: Any) -> TrainSpec:
        """A copy with some settings changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON or TOML."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "optimizer": self.optimizer.to_dict(), "schedule": self.schedule.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return _from_dict(cls, values)

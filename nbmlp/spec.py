"""What to build and how to train it: frozen, printable, comparable settings, checked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeVar

from nbmlp.checks import flag, number, whole
from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import (
    ACTIVATIONS,
    DTYPES,
    ELEMENTS,
    LOSSES,
    OUTPUTS,
    Activation,
    Element,
    Function,
    Loss,
    read_function,
    read_initialiser,
)
from nbmlp.optimizers import LBFGS, Adam, Optimizer, as_optimizer
from nbmlp.schedules import Cosine, Schedule, as_schedule

__all__ = ["ON_NONFINITE", "ModelSpec", "TrainSpec"]

Self = TypeVar("Self")


def _activation(text: object) -> str:
    return str(read_function(text, ACTIVATIONS, "activation"))


def _share(name: str) -> Callable[[object], float]:
    return lambda value: number(name, value, high=1.0)


def _assign(settings: object, **values: Any) -> None:
    """Write checked values into a frozen instance that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


def _several(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(f"{name}={value!r}: choose {' or '.join(choices)}.")


def _known(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The settings themselves, when all of them are fields of the class."""
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise unknown_name("setting", key, names)
    return values


def _from_dict(cls: type[Self], values: dict[str, Any]) -> Self:
    known = _known(cls, values)
    for f in fields(cls):  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in known:
            raise SpecError(f"setting {f.name} is missing.")
    return cls(**known)


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
    # Types are those after the checks; what may be given besides is said above.
    activation: tuple[str, ...] = "relu"  # type: ignore[assignment]
    output: str = "identity"
    loss: str = "squared_error"
    bias: bool = True
    init: str = "auto"
    dtype: str = "float32"
    dropout: tuple[float, ...] = 0.0  # type: ignore[assignment]
    input_dropout: float = 0.0
    dropout_scale_at: str = "training"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        hidden = self.hidden if _several(self.hidden) else (self.hidden,)
        _assign(self, hidden=tuple(whole("hidden", h) for h in hidden))
        _choice("dtype", self.dtype, DTYPES)
        _choice("dropout_scale_at", self.dropout_scale_at, ("training", "predict"))
        _assign(
            self,
            n_inputs=whole("n_inputs", self.n_inputs),
            n_outputs=whole("n_outputs", self.n_outputs),
            activation=self._per_layer("activation", _activation),
            output=str(read_function(self.output, OUTPUTS, "output")),
            loss=str(read_function(self.loss, LOSSES, "loss")),
            bias=flag("bias", self.bias),
            init=str(read_initialiser(self.init)),
            dropout=self._per_layer("dropout", _share("dropout")),
            input_dropout=_share("input_dropout")(self.input_dropout),
            label_smoothing=_share("label_smoothing")(self.label_smoothing),
        )
        self._check_loss()

    def _per_layer(self, name: str, check: Callable[[Any], Any]) -> tuple[Any, ...]:
        """The setting, checked, with one entry per hidden layer."""
        value = getattr(self, name)
        if not _several(value):
            return (check(value),) * len(self.hidden)
        if len(value) != len(self.hidden):
            raise SpecError(
                f"{name} has {len(value)} entries for {len(self.hidden)} hidden layers:"
                " give one, or one per layer."
            )
        return tuple(map(check, value))

    def _check_loss(self) -> None:
        loss = self.loss_function.row
        if loss.canonical is not None and self.output != loss.canonical:
            raise SpecError(
                f"loss {loss.name!r} is computed from the logits and needs output="
                f"{loss.canonical!r}, not {self.output!r}."
            )
        if self.label_smoothing and not loss.classes:
            raise SpecError(f"label_smoothing works with cross-entropies only, not {loss.name!r}.")

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone; what follows from them is found again by whoever reads them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def element(self) -> Element:
        """What its numbers are kept in."""
        return ELEMENTS[self.dtype]

    @cached_property
    def functions(self) -> tuple[Function[Activation], ...]:
        """What `activation` and `output` name, one per layer."""
        return tuple(read_function(f, OUTPUTS, "output") for f in (*self.activation, self.output))

    @cached_property
    def loss_function(self) -> Function[Loss]:
        """What `loss` names."""
        return read_function(self.loss, LOSSES, "loss")

    @property
    def smoothing(self) -> tuple[float, float]:
        """Factor and summand by which `label_smoothing` changes the targets of classes."""
        share = self.label_smoothing
        classes = self.n_outputs if self.output == "softmax" else 2
        return 1.0 - share, share / classes

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """(n_inputs, *hidden, n_outputs)."""
        return (self.n_inputs, *self.hidden, self.n_outputs)

    @cached_property
    def n_weights(self) -> int:
        """Weights without biases: a row takes twice as many operations forward."""
        return sum(a * b for a, b in pairwise(self.layer_sizes))

    @property
    def n_parameters(self) -> int:
        """Weights and biases, padding not counted."""
        sizes = self.layer_sizes
        return sum((a + self.bias) * b for a, b in pairwise(sizes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return _from_dict(cls, values)


DEFAULT_BATCH = 32
#: What training may do about NaN and infinities.
ON_NONFINITE = ("raise", "warn", "drop_rows", "impute", "ignore")


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
        Rows of one update; None = all. A left-over smaller batch is trained on too. The
        default takes all rows of data that have fewer.
    base_batch : int or None
        The learning rate is meant for batches of so many rows; others get it transferred, in
        proportion to the batch for SGD, to its square root for rules of Adam's kind. None = the
        rate as given.
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
    on_nonfinite : str
        When a value is NaN or infinite: ``"raise"`` an error; ``"warn"`` and end the training with
        the last good weights; ``"drop_rows"`` that hold one, before training; ``"impute"`` the
        median of the column for it, before training; ``"ignore"`` the batches where one appears,
        ten in a row at most.
    """

    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Cosine)
    warmup: float = 0.0
    batch_size: int | None = DEFAULT_BATCH
    base_batch: int | None = None
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
    on_nonfinite: str = "raise"

    def __post_init__(self) -> None:
        _choice("reduction", self.reduction, ("mean", "sum"))
        _choice("on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        _assign(
            self,
            optimizer=as_optimizer(self.optimizer),
            schedule=as_schedule(self.schedule),
            epochs=whole("epochs", self.epochs),
            seed=whole("seed", self.seed, 0),
        )
        for name in ("batch_size", "base_batch", "threads"):
            self._check_optional(name, whole)
        for name in ("max_norm", "clip_norm", "clip_value"):
            self._check_optional(name, partial(number, closed_low=False))
        for name in ("warmup", "l1", "l2", "weight_decay"):
            _assign(self, **{name: number(name, getattr(self, name))})
        for name in ("shuffle", "gradient_norms"):
            _assign(self, **{name: flag(name, getattr(self, name))})
        if isinstance(self.optimizer, LBFGS):
            self._check_lbfgs()

    def _check_optional(self, name: str, check: Callable[[str, object], float]) -> None:
        value = getattr(self, name)
        if value is not None:
            _assign(self, **{name: check(name, value)})

    def _check_lbfgs(self) -> None:
        for name in ("weight_decay", "max_norm", "clip_norm", "clip_value"):
            if getattr(self, name):
                raise SpecError(f"{name} does not go with lbfgs, whose line search owns the step.")

    def batch_rows(self, n_rows: int) -> int:
        """Rows of one update on data of `n_rows` rows.

        Raises
        ------
        SpecError
            A batch larger than the data, unless it is the default, which takes all then.
        """
        if self.batch_size is None or (n_rows < self.batch_size == DEFAULT_BATCH):
            return n_rows
        if self.batch_size > n_rows:
            raise SpecError(
                f"batch_size={self.batch_size} is larger than the {n_rows} rows of the data: give"
                f" {n_rows} or less, or None for all rows."
            )
        return self.batch_size

    def learning_rate_for(self, batch: int) -> float:
        """Learning rate of updates on `batch` rows, before the factors of schedule and warm-up.

        With `base_batch`, the rate times batch / base_batch for SGD (Goyal et al. 2017,
        arXiv:1706.02677), times its square root for RMSprop, Adagrad, Adam and their kin
        (Malladi et al. 2022, arXiv:2205.10287); Rprop and L-BFGS, meant for full batches, keep
        theirs. With ``reduction="sum"`` SGD keeps it too: summed gradients grow with the batch by
        themselves. A left-over smaller batch takes the rate of the others.

        Parameters
        ----------
        batch : int
            Rows of an update.
        """
        rate, power = self.optimizer.learning_rate, self.optimizer.batch_power
        if self.base_batch is None or (self.reduction == "sum" and power == 1.0):
            return rate
        return rate * float((batch / self.base_batch) ** power)

    @property
    def decay(self) -> float:
        """Decoupled decay of this spec and of AdamW together."""
        return self.weight_decay + float(getattr(self.optimizer, "weight_decay", 0.0))

    def with_(self, **changes: Any) -> TrainSpec:
        """A copy with some settings changed; raises SpecError on an unknown one."""
        return replace(self, **_known(TrainSpec, changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **values,
            "optimizer": self.optimizer.to_dict(),
            "schedule": self.schedule.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return _from_dict(cls, values)

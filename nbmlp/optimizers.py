"""Optimizers as frozen settings. The update rules themselves are compiled: kernels/optim.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from nbmlp.codes import parse_call
from nbmlp.errors import SpecError, unknown_name

__all__ = [
    "LBFGS",
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "RMSpropGains",
    "Rprop",
    "as_optimizer",
]


def _check(owner: str, name: str, value: float, low: float, high: float, closed: bool) -> None:
    inside = low <= value < high if closed else low < value < high
    if not inside:
        bracket = "[" if closed else "("
        raise SpecError(f"{owner}: {name}={value!r} must lie in {bracket}{low:g}, {high:g}).")


@dataclass(frozen=True)
class Optimizer:
    """Base of the optimizers.

    Attributes
    ----------
    learning_rate : float
        Step length before the schedule's factor.
    """

    learning_rate: float = 1e-3

    #: Name in files and on the command line.
    name: ClassVar[str] = ""
    #: Fields that must lie in [0, 1).
    _fractions: ClassVar[tuple[str, ...]] = ()
    #: Fields that must be positive.
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, str) or value is None:
                raise SpecError(f"{self.name}: {f.name}={value!r} is not a number.")
        for name in self._fractions:
            _check(self.name, name, getattr(self, name), 0.0, 1.0, True)
        for name in self._positive:
            _check(self.name, name, getattr(self, name), 0.0, float("inf"), False)

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """Vectors as long as the parameters kept between steps: (name, first value)."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Settings as plain values, with the name."""
        return {"name": self.name, **asdict(self)}

    def with_learning_rate(self, rate: float) -> Optimizer:
        """The same rule with another learning rate."""
        return replace(self, learning_rate=float(rate))


@dataclass(frozen=True)
class SGD(Optimizer):
    """v <- momentum*v + g; w <- w - lr*v (Nesterov: w - lr*(g + momentum*v)), as in PyTorch."""

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    name: ClassVar[str] = "sgd"
    _fractions: ClassVar[tuple[str, ...]] = ("momentum",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise SpecError("sgd: nesterov=True needs momentum above 0, e.g. momentum=0.9.")

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("velocity", 0.0),) if self.momentum else ()


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s <- rho*s + (1-rho)*g^2; w <- w - lr*g/(sqrt(s)+epsilon) (Hinton's lecture 6e)."""

    learning_rate: float = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8

    name: ClassVar[str] = "rmsprop"
    _fractions: ClassVar[tuple[str, ...]] = ("rho",)
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "epsilon")

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("mean_square", 0.0),)


@dataclass(frozen=True)
class RMSpropGains(RMSprop):
    """RMSprop with a gain per weight: times `increase` where the gradient keeps its sign from one
    mini-batch to the next, times `decrease` where it flips, clipped to [min_gain, max_gain]."""

    increase: float = 1.3
    decrease: float = 0.5
    min_gain: float = 0.01
    max_gain: float = 50.0

    name: ClassVar[str] = "rmsprop_gains"
    _positive: ClassVar[tuple[str, ...]] = (
        "learning_rate", "epsilon", "increase", "decrease", "min_gain", "max_gain",
    )  # fmt: skip

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("mean_square", 0.0), ("gain", 1.0), ("previous", 0.0))


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient propagation without weight backtracking (iRprop-, Igel and Huesken 2000).

    The learning rate is every weight's first step; meant for full batches.
    """

    learning_rate: float = 0.01
    increase: float = 1.2
    decrease: float = 0.5
    min_step: float = 1e-6
    max_step: float = 50.0

    name: ClassVar[str] = "rprop"
    _positive: ClassVar[tuple[str, ...]] = (
        "learning_rate", "increase", "decrease", "min_step", "max_step",
    )  # fmt: skip

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("step", self.learning_rate), ("previous", 0.0))


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s <- s + g^2; w <- w - lr*g/(sqrt(s)+epsilon) (Duchi, Hazan and Singer 2011)."""

    learning_rate: float = 0.01
    epsilon: float = 1e-10

    name: ClassVar[str] = "adagrad"
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "epsilon")

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("sum_square", 0.0),)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), epsilon after the bias correction as in the paper."""

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    name: ClassVar[str] = "adam"
    _fractions: ClassVar[tuple[str, ...]] = ("beta1", "beta2")
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "epsilon")

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("mean", 0.0), ("mean_square", 0.0))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): w <- w*(1 - lr*decay)."""

    weight_decay: float = 0.01

    name: ClassVar[str] = "adamw"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.name, "weight_decay", self.weight_decay, 0.0, float("inf"), True)


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS over the full batch, by scipy; one epoch is one iteration.

    The learning rate is not used: the line search finds the step.
    """

    history: int = 10
    tolerance: float = 1e-5

    name: ClassVar[str] = "lbfgs"
    _positive: ClassVar[tuple[str, ...]] = ("history", "tolerance")


OPTIMIZERS: dict[str, type[Optimizer]] = {
    c.name: c for c in (SGD, RMSprop, RMSpropGains, Rprop, Adagrad, Adam, AdamW, LBFGS)
}


def as_optimizer(value: object) -> Optimizer:
    """An optimizer from an object, a name, ``"adam(beta2=0.99)"`` or a dict with ``name``.

    Raises
    ------
    SpecError
        Unknown name, unknown setting (nearest valid one named) or a value out of range.
    """
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, dict):
        settings = dict(value)
        name = settings.pop("name", "")
        args: tuple[float, ...] = ()
    else:
        name, args, settings = parse_call(str(value), "optimizer")
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    kind = OPTIMIZERS[name]
    names = [f.name for f in fields(kind)]
    for key in settings:
        if key not in names:
            raise unknown_name(f"setting of {name}", key, names)
    if len(args) > 1:
        raise SpecError(f"{name} takes the learning rate first, other settings by name.")
    if args:
        settings["learning_rate"] = args[0]
    return kind(**settings)

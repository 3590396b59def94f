"""Optimizers as frozen settings. The update rules themselves are compiled: kernels/optim.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from nbmlp.checks import normalise, number
from nbmlp.errors import SpecError
from nbmlp.names import build

__all__ = [
    "LAMB",
    "LBFGS",
    "LEAST_EPSILON",
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

#: A smaller epsilon is 0 in float32, and 0/0 where a gradient is 0.
LEAST_EPSILON = 1e-30


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
    #: The compiled rule that takes its steps (kernels/optim.py); None: something else takes them.
    rule: ClassVar[str | None]
    #: The rate that suits a batch grows with its rows to this power: 1/2 where steps are scaled by
    #: the size of past gradients (Malladi et al. 2022), 1 where they are not (Goyal et al. 2017), 0
    #: where full batches are meant.
    batch_power: ClassVar[float] = 0.5
    #: The rule tells directions; a step along one is as long as the weights of its block are.
    by_block: ClassVar[bool] = False
    #: Fields that must lie in [0, 1).
    _fractions: ClassVar[tuple[str, ...]] = ()
    #: Fields that must be positive.
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "rule"):  # it would train nothing, and not say so
            raise TypeError(f"{cls.__name__} does not say which compiled rule takes its steps.")

    def __post_init__(self) -> None:
        normalise(self)
        for name in self._fractions:
            number(f"{self.name}: {name}", getattr(self, name), high=1.0)
        for name in self._positive:
            low = LEAST_EPSILON if name == "epsilon" else 0.0
            number(f"{self.name}: {name}", getattr(self, name), low, closed_low=low > 0)

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """Vectors as long as the parameters kept between steps: (name, first value)."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Settings as plain values, with the name."""
        return {"name": self.name, **asdict(self)}

    def with_learning_rate(self, rate: float) -> Optimizer:
        """The same rule with another learning rate."""
        return replace(self, learning_rate=rate)


def _check_sign_rule(rule: RMSpropGains | Rprop, smallest: str, largest: str) -> None:
    """Check a rule that lengthens steps while the gradient keeps its sign, else shortens them."""
    number(f"{rule.name}: increase", rule.increase, low=1.0)
    number(f"{rule.name}: decrease", rule.decrease, high=1.0, closed_low=False, closed_high=True)
    low, high = getattr(rule, smallest), getattr(rule, largest)
    if low > high:
        raise SpecError(f"{rule.name}: {smallest}={low!r} must not exceed {largest}={high!r}.")


@dataclass(frozen=True)
class SGD(Optimizer):
    """v <- momentum*v + g; w <- w - lr*v (Nesterov: w - lr*(g + momentum*v)), as in PyTorch."""

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    name: ClassVar[str] = "sgd"
    rule: ClassVar[str | None] = "sgd"
    batch_power: ClassVar[float] = 1.0
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
    rule: ClassVar[str | None] = "rmsprop"
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
    min_gain: float = 0.1
    max_gain: float = 50.0

    name: ClassVar[str] = "rmsprop_gains"
    rule: ClassVar[str | None] = "rmsprop_gains"
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "epsilon", "min_gain", "max_gain")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sign_rule(self, "min_gain", "max_gain")

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
    rule: ClassVar[str | None] = "rprop"
    batch_power: ClassVar[float] = 0.0
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "min_step", "max_step")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sign_rule(self, "min_step", "max_step")

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
    rule: ClassVar[str | None] = "adagrad"
    _positive: ClassVar[tuple[str, ...]] = ("learning_rate", "epsilon")

    @property
    def slots(self) -> tuple[tuple[str, float], ...]:
        """See :class:`Optimizer`."""
        return (("sum_square", 0.0),)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), epsilon after the bias correction as in the paper.

    With `epsilon_hat` epsilon comes before it, as in the form at the end of the paper's section 2
    and in scikit-learn: w <- w - lr*sqrt(1 - beta2^t)/(1 - beta1^t) * m/(sqrt(v) + epsilon).
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False

    name: ClassVar[str] = "adam"
    rule: ClassVar[str | None] = "adam"
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
    rule: ClassVar[str | None] = "adam"


@dataclass(frozen=True)
class LAMB(AdamW):
    """AdamW's direction u, as far as each layer's weights are long (You et al. 2020, algorithm 2):
    w <- w - lr*|w|/|u| * u. Biases, and weights that are all zero, move by lr*u.

    For batches of thousands of rows, whose rates suit some layers and overshoot in others.
    """

    learning_rate: float = 2e-3
    epsilon: float = 1e-6

    name: ClassVar[str] = "lamb"
    rule: ClassVar[str | None] = "lamb"
    by_block: ClassVar[bool] = True


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS over the full batch, by scipy; one epoch is one iteration.

    The learning rate is not used: the line search finds the step.
    """

    history: int = 10
    tolerance: float = 1e-5

    name: ClassVar[str] = "lbfgs"
    rule: ClassVar[str | None] = None
    batch_power: ClassVar[float] = 0.0
    _positive: ClassVar[tuple[str, ...]] = ("history", "tolerance")


OPTIMIZERS: dict[str, type[Optimizer]] = {
    c.name: c for c in (SGD, RMSprop, RMSpropGains, Rprop, Adagrad, Adam, AdamW, LAMB, LBFGS)
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
    return build(value, "optimizer", OPTIMIZERS, positional=1)

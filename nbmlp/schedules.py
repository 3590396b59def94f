"""Learning-rate schedules as frozen settings with a pure function of the update number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbmlp.codes import parse_call
from nbmlp.errors import SpecError, unknown_name

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Exponential",
    "InverseScaling",
    "OnPlateau",
    "OneCycle",
    "PlateauState",
    "Schedule",
    "Step",
    "as_schedule",
    "warmup_factor",
]

Steps = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules."""

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, str | bool) or value is None or not value >= 0:
                raise SpecError(f"{self.name}: {f.name}={value!r} must be a number, 0 or more.")

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """Factor on the learning rate.

        Parameters
        ----------
        step : ndarray of float64
            Updates done before the one in question (0 = the first).
        per_epoch : int
            Updates of one epoch.
        total : int
            Updates of the whole planned training.

        Returns
        -------
        ndarray of float64, shape of `step`
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Settings as plain values, with the name."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate stays."""

    name: ClassVar[str] = "constant"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        return np.ones_like(step)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """1 / (1 + updates done)^power."""

    power: float = 0.5
    name: ClassVar[str] = "inverse_scaling"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        return np.asarray((1.0 + step) ** -self.power)


@dataclass(frozen=True)
class Step(Schedule):
    """Times `gamma` every `every` epochs."""

    every: float = 10
    gamma: float = 0.1
    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every <= 0:
            raise SpecError("step: every must be above 0 epochs.")

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        epochs = step // per_epoch
        return np.asarray(self.gamma ** (epochs // self.every), dtype=np.float64)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Times `gamma` every epoch, smoothly."""

    gamma: float = 0.95
    name: ClassVar[str] = "exponential"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        return np.asarray(self.gamma ** (step / per_epoch), dtype=np.float64)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `floor` over the planned training (Loshchilov and Hutter 2017)."""

    floor: float = 0.0
    name: ClassVar[str] = "cosine"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        part = np.clip(step / max(total, 1), 0.0, 1.0)
        return np.asarray(self.floor + (1.0 - self.floor) * 0.5 * (1.0 + np.cos(np.pi * part)))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from 1/`start` to 1 over the first `rise` of the training, then down to 1/`end`
    (Smith and Topin 2018; cosine arcs as in PyTorch)."""

    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4
    name: ClassVar[str] = "one_cycle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.rise < 1 and self.start > 0 and self.end > 0):
            raise SpecError("one_cycle: rise must lie in [0, 1), start and end above 0.")

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        part = np.clip(step / max(total, 1), 0.0, 1.0)
        up = part / max(self.rise, 1e-12)
        down = (part - self.rise) / (1.0 - self.rise)
        low, last = 1.0 / self.start, 1.0 / self.end
        rising = 1.0 + (low - 1.0) * 0.5 * (1.0 + np.cos(np.pi * np.clip(up, 0, 1)))
        falling = last + (1.0 - last) * 0.5 * (1.0 + np.cos(np.pi * np.clip(down, 0, 1)))
        return np.asarray(np.where(part < self.rise, rising, falling))


@dataclass(frozen=True)
class PlateauState:
    """What :class:`OnPlateau` remembers between epochs."""

    best: float = float("inf")
    waited: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class OnPlateau(Schedule):
    """Times `gamma` when the watched loss has not fallen by `threshold` (relative) for `patience`
    epochs; never below `floor`. Watches the validation loss if there is one."""

    gamma: float = 0.1
    patience: int = 5
    threshold: float = 1e-4
    floor: float = 1e-6
    name: ClassVar[str] = "on_plateau"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        return np.ones_like(step)

    def after_epoch(self, state: PlateauState, loss: float) -> PlateauState:
        """The state after an epoch that ended with `loss`."""
        if loss < state.best - self.threshold * abs(state.best if np.isfinite(state.best) else 0):
            return PlateauState(loss, 0, state.factor)
        if state.waited < self.patience:
            return PlateauState(state.best, state.waited + 1, state.factor)
        return PlateauState(state.best, 0, max(state.factor * self.gamma, self.floor))


SCHEDULES: dict[str, type[Schedule]] = {
    c.name: c for c in (Constant, InverseScaling, Step, Exponential, Cosine, OneCycle, OnPlateau)
}


def as_schedule(value: object) -> Schedule:
    """A schedule from an object, a name, ``"step(10, gamma=0.5)"`` or a dict with ``name``.

    Raises
    ------
    SpecError
        Unknown name or setting, or a value out of range.
    """
    if isinstance(value, Schedule):
        return value
    args: tuple[Any, ...] = ()
    if isinstance(value, dict):
        settings = dict(value)
        name = settings.pop("name", "")
    else:
        name, args, settings = parse_call(str(value), "schedule")
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    kind = SCHEDULES[name]
    names = [f.name for f in fields(kind)]
    if len(args) > len(names):
        raise SpecError(f"schedule {name} takes at most {len(names)} settings: {', '.join(names)}.")
    settings = {**dict(zip(names, args, strict=False)), **settings}
    for key in settings:
        if key not in names:
            raise unknown_name(f"setting of {name}", key, names)
    return kind(**settings)


def warmup_factor(step: Steps, warmup_steps: float) -> Steps:
    """Linear warm-up: (step + 1) / warmup_steps until it reaches 1."""
    if warmup_steps <= 0:
        return np.ones_like(step)
    return np.minimum(1.0, (step + 1.0) / warmup_steps)

"""Learning-rate schedules as frozen settings with a pure function of the update number."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import normalise, number, whole
from nbmlp.errors import SpecError
from nbmlp.names import build

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "CosineLog",
    "Exponential",
    "FlatCosine",
    "InverseScaling",
    "OnPlateau",
    "OneCycle",
    "PlateauState",
    "Schedule",
    "Step",
    "as_factor_schedule",
    "as_schedule",
    "warmup_factor",
]

Steps = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules."""

    name: ClassVar[str] = ""
    #: Whether it is a function of the share of the whole training, whose end it must know.
    of_the_whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        normalise(self)

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
        """See :meth:`Schedule.factor`."""
        return np.ones_like(step)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """1 / (1 + updates done)^power."""

    power: float = 0.5
    name: ClassVar[str] = "inverse_scaling"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        return np.asarray((1.0 + step) ** -self.power)


@dataclass(frozen=True)
class Step(Schedule):
    """Times `gamma` every `every` epochs."""

    every: float = 10
    gamma: float = 0.1
    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("step: every", self.every, closed_low=False)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        epochs = step // per_epoch
        return np.asarray(self.gamma ** (epochs // self.every), dtype=np.float64)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Times `gamma` every epoch, smoothly."""

    gamma: float = 0.95
    name: ClassVar[str] = "exponential"

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        return np.asarray(self.gamma ** (step / per_epoch), dtype=np.float64)


def _arc(part: Steps, first: float, last: float) -> Steps:
    """Half a cosine from `first` (part 0 and before) to `last` (part 1 and after)."""
    weight = 0.5 * (1.0 + np.cos(np.pi * np.clip(part, 0.0, 1.0)))
    return np.asarray(last + (first - last) * weight)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to `floor` over the planned training (Loshchilov and Hutter 2017)."""

    floor: float = 0.0
    name: ClassVar[str] = "cosine"
    of_the_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number("cosine: floor", self.floor, high=1.0, closed_high=True)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        return _arc(step / max(total, 1), 1.0, self.floor)


@dataclass(frozen=True)
class CosineLog(Schedule):
    """Whole cosines from 0 to 1 and back, each twice as long as the one before (Holzmüller et al.
    2024, arXiv:2407.04491, whose coslog4 has four): (1 - cos(2 pi log2(1 + (2^cycles - 1) t))) / 2
    at the share t of the training."""

    cycles: int = 4
    name: ClassVar[str] = "coslog"
    of_the_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("coslog: cycles", self.cycles)
        number("coslog: cycles", self.cycles, high=31)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        share = np.minimum(step / max(total, 1), 1.0)
        turns = np.log2(1.0 + (2.0**self.cycles - 1.0) * share)
        return np.asarray(0.5 * (1.0 - np.cos(2.0 * np.pi * turns)))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """1 in the first share `flat` of the training, then half a cosine to 0 (of dropout and decay in
    Holzmüller et al. 2024)."""

    flat: float = 0.5
    name: ClassVar[str] = "flat_cos"
    of_the_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number("flat_cos: flat", self.flat, high=1.0)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        return _arc((step / max(total, 1) - self.flat) / (1.0 - self.flat), 1.0, 0.0)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from 1/`start` to 1 over the first `rise` of the training, then down to 1/`end` at its
    last update (Smith and Topin 2018; cosine arcs and update numbers as in PyTorch, whose
    ``final_div_factor`` is `end` / `start`)."""

    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4
    name: ClassVar[str] = "one_cycle"
    of_the_whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        number("one_cycle: rise", self.rise, high=1.0)
        number("one_cycle: start", self.start, low=1.0)
        number("one_cycle: end", self.end, low=1.0)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        last = max(total, 1) - 1.0
        peak = self.rise * (last + 1.0) - 1.0
        rising = _arc(step / max(peak, 1e-9), 1.0 / self.start, 1.0)
        falling = _arc((step - peak) / (last - peak), 1.0, 1.0 / self.end)
        return np.asarray(np.where(step < peak, rising, falling))


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

    def __post_init__(self) -> None:
        super().__post_init__()
        number("on_plateau: gamma", self.gamma, high=1.0)
        number("on_plateau: threshold", self.threshold, high=1.0)
        number("on_plateau: floor", self.floor, high=1.0, closed_high=True)

    def factor(self, step: Steps, per_epoch: int, total: int) -> Steps:
        """See :meth:`Schedule.factor`."""
        return np.ones_like(step)

    def after_epoch(self, state: PlateauState, loss: float) -> PlateauState:
        """The state after an epoch that ended with `loss`."""
        if loss < state.best - self.threshold * abs(state.best if np.isfinite(state.best) else 0):
            return PlateauState(loss, 0, state.factor)
        if state.waited < self.patience:
            return PlateauState(state.best, state.waited + 1, state.factor)
        return PlateauState(state.best, 0, max(state.factor * self.gamma, self.floor))


SCHEDULES: dict[str, type[Schedule]] = {
    c.name: c
    for c in (
        Constant, InverseScaling, Step, Exponential, Cosine, CosineLog, FlatCosine, OneCycle,
        OnPlateau,
    )
}  # fmt: skip


def as_schedule(value: object) -> Schedule:
    """A schedule from an object, a name, ``"step(10, gamma=0.5)"`` or a dict with ``name``.

    Raises
    ------
    SpecError
        Unknown name or setting, or a value out of range.
    """
    if isinstance(value, Schedule):
        return value
    return build(value, "schedule", SCHEDULES)


def as_factor_schedule(setting: str, value: object) -> Schedule | None:
    """A schedule of something else than the learning rate, which nothing may make larger; or None.

    Raises
    ------
    SpecError
        As :func:`as_schedule`, or one that watches a loss or grows.
    """
    if value is None:
        return None
    found = as_schedule(value)
    if isinstance(found, OnPlateau):
        raise SpecError(f"{setting}: on_plateau is for the learning rate alone.")
    if getattr(found, "gamma", 0.0) > 1.0:
        raise SpecError(f"{setting}={value!r} grows: give a gamma of 1 or less.")
    return found


def warmup_factor(step: Steps, warmup_steps: float) -> Steps:
    """Linear warm-up: (step + 1) / warmup_steps until it reaches 1."""
    if warmup_steps <= 0:
        return np.ones_like(step)
    return np.minimum(1.0, (step + 1.0) / warmup_steps)

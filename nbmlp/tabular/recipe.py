"""What each preset trains: how many nets, how long, and from where their settings are drawn.

All figures of the recipe stand here and nowhere else; docs/tables.md says on which rows they were
chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbmlp.errors import unknown_name

__all__ = ["FEW_GROUPS", "PRESETS", "Few", "Preset", "draw", "preset_of"]


@dataclass(frozen=True)
class Few:
    """What is other where rows are few: each is held out once, and fewer nets are trained on more.

    Attributes
    ----------
    rows : int
        So many, at most, are few.
    folds : int
        Times that each net is trained, each time on other rows.
    n_members, wave : int
        See :class:`Preset`.
    """

    rows: int
    folds: int
    n_members: int
    wave: int = 0


@dataclass(frozen=True)
class Preset:
    """One way to train on a table.

    Attributes
    ----------
    n_members : int
        Nets whose settings are drawn; with several folds, each is trained on each of them.
    epochs : int
        Most epochs of a net.
    patience : int
        Epochs in a row without a better score on the held-out rows after which a net ends.
    plans : tuple of dict
        Settings of :meth:`nbmlp.ColumnPlan.fit`, one for each way that columns are prepared;
        ``"plan"`` of what is drawn says which of them a net reads.
    rungs : tuple of (float, float)
        After such a share of the epochs the worst share of a wave's nets ends.
    wave : int
        Nets that are compared at a rung; all if it is 0. One wave after the other is trained.
    rounds : int
        Nets that the ensemble is put together from, counted as often as they are chosen.
    validation_fraction : float
        Share of the rows that are held out, where none are given.
    folds : int
        Times that each net is trained, each time on other rows; 1 for a single division of them.
    regression_plans : tuple of dict
        `plans` of a regression, where they are others.
    few : Few or None
    """

    n_members: int
    epochs: int
    patience: int
    plans: tuple[dict[str, Any], ...]
    rungs: tuple[tuple[float, float], ...] = ()
    wave: int = 0
    rounds: int = 50
    validation_fraction: float = 0.2
    folds: int = 1
    regression_plans: tuple[dict[str, Any], ...] = ()
    few: Few | None = None

    def for_rows(self, n_rows: int) -> Preset:
        """With the folds of that many rows, where nobody says how they are to be divided."""
        few = self.few
        if few is None or not _LEAST <= n_rows <= few.rows:
            return self
        return replace(self, folds=few.folds, n_members=few.n_members, wave=few.wave)

    def for_task(self, task: str) -> Preset:
        """With the plans of that task."""
        own = self.regression_plans if task == "regression" else ()
        return replace(self, plans=own or self.plans)

    @property
    def rests(self) -> tuple[tuple[int, float], ...]:
        """Rungs as counts of epochs."""
        return tuple((max(1, round(at * self.epochs)), share) for at, share in self.rungs)


_ROBUST: dict[str, Any] = {"numbers": "robust"}
#: Ways to prepare columns: very many bins, many, fewer, none. Which suits a table shows in the
#: scores of its members; the last two learn waves of each number, and codes of categories.
_PLANS = (
    {**_ROBUST, "bins": 128}, {**_ROBUST, "bins": 64},
    {**_ROBUST, "bins": 32, "embed": True}, {**_ROBUST, "embed": True},
)  # fmt: skip
#: From this place on.
_WAVES = 2
#: Of the members, one after the other: places in `_PLANS`.
_PLAN_OF = (3, 1, 3, 2, 3, 0)
_ACTIVATION_OF = ("mish", "silu", "mish", "selu", "mish", "relu", "silu")
#: Shares of the epochs after which a member has come to rest: ends of the second and the third of
#: the four cycles of the schedule `coslog`. Ranks there and at the end correlate by 0.68 and 0.87.
_RESTS = (0.2, 7 / 15)
#: A third of the members ends at the first, half of the others at the second.
_RUNGS = ((_RESTS[0], 1 / 3), (_RESTS[1], 1 / 2))
#: Below it a fifth of the rows tells good nets from lucky ones badly (docs/tables.md).
_FEW = 5000
#: Below these nobody but the user divides rows, or groups of rows, into folds.
_LEAST, FEW_GROUPS = 50, 20

PRESETS: dict[str, Preset] = {
    "fast": Preset(
        n_members=1, epochs=64, patience=64, rounds=1,
        plans=_PLANS[1:2], regression_plans=_PLANS[-1:],
    ),
    "default": Preset(
        n_members=32, epochs=40, patience=22, rungs=_RUNGS, plans=_PLANS,
        few=Few(rows=_FEW, folds=5, n_members=10),
    ),
    "best": Preset(
        n_members=128, epochs=60, patience=33, rungs=_RUNGS, plans=_PLANS, wave=32,
        few=Few(rows=_FEW, folds=5, n_members=40, wave=10),
    ),
}


def preset_of(name: object) -> Preset:
    """The preset of a name.

    Raises
    ------
    SpecError
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def draw(preset: str, seed: int, member: int, task: str, n_rows: int) -> dict[str, Any]:
    """Settings of one net: those of :class:`nbmlp.MLP`, and ``plan``.

    Parameters
    ----------
    preset : str
    seed : int
        Of the whole ensemble.
    member : int
        From 0.
    task : str
        ``"classes"``, ``"labels"`` (several a row) or ``"regression"``.
    n_rows : int
        Rows to train on.

    Returns
    -------
    dict
        Plain values; equal arguments give equal settings.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, member]))
    numbers = task == "regression"
    if preset == "fast":
        return {
            "plan": 0, "number_embedding": _waves(0.05, 1.0) if numbers else "pbld(16, 4, 0.2)",
            "hidden": [256] * 3, "activation": "mish",
            "parametric_activation": True, "input_scale": True,
            "optimizer": _adam(3e-3), "weight_decay": 0.1,
            "dropout": 0.05 if numbers else 0.15, "batch_size": _batch(n_rows),
            "schedule": "coslog",
        }  # fmt: skip
    width = int(rng.choice([128, 160, 192, 256]))
    plan = _PLAN_OF[member % len(_PLAN_OF)]
    rate = _log_uniform(rng, 2e-3, 8e-3) if numbers else _log_uniform(rng, 1e-3, 5e-3)
    learned = bool(rng.random() < 0.75)
    # Up to twenty a quartile range: what a place is worth, say, changes with as little of a number.
    waves = _waves(_log_uniform(rng, 0.05, 0.5), _log_uniform(rng, 1.0, 20.0))
    return {
        "plan": plan,
        "number_embedding": waves if plan >= _WAVES else "none",
        "hidden": [width] * int(rng.choice([2, 3, 3, 4])),
        "activation": _ACTIVATION_OF[member % len(_ACTIVATION_OF)],
        "parametric_activation": learned,
        "input_scale": learned,
        "optimizer": _adam(rate),
        "weight_decay": _log_uniform(rng, 0.02, 0.3),
        "dropout": float(rng.choice([0.05, 0.1, 0.2, 0.3] if numbers else [0.0, 0.1, 0.2, 0.3])),
        "batch_size": _batch(n_rows),
        "schedule": "coslog",
    }


def _waves(least: float, most: float) -> str:
    """Sixteen frequencies of deviations between these, and three outputs beside the number."""
    return f"pbld(16, 4, {least:.3g}, {most:.3g})"


def _adam(rate: float) -> dict[str, Any]:
    return {"name": "adam", "learning_rate": rate, "beta2": 0.95}


def _batch(n_rows: int) -> int:
    return 32 if n_rows < 500 else 64 if n_rows < 1500 else 128 if n_rows < 40_000 else 256


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))

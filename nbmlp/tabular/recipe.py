"""What each preset trains: how many nets, how long, and from where their settings are drawn.

All figures of the recipe stand here and nowhere else; docs/tables.md says on which rows they were
chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbmlp.errors import unknown_name

__all__ = ["PRESETS", "Preset", "draw", "preset_of"]


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
    rungs : tuple of (int, float)
        After so many epochs the worst share of a wave's nets ends.
    wave : int
        Nets that are compared at a rung; all if it is 0. One wave after the other is trained.
    plans : tuple of dict
        Settings of :meth:`nbmlp.ColumnPlan.fit`, one for each way that columns are prepared;
        ``"plan"`` of what is drawn says which of them a net reads.
    rounds : int
        Nets that the ensemble is put together from, counted as often as they are chosen.
    last_of_tied : bool
        Of epochs with the same score the last one is kept.
    validation_fraction : float
        Share of the rows that are held out, where none are given.
    folds, folds_below : int
        So many folds instead, if there are fewer rows than that.
    """

    n_members: int = 24
    epochs: int = 256
    patience: int = 16
    rungs: tuple[tuple[int, float], ...] = ()
    wave: int = 0
    plans: tuple[dict[str, Any], ...] = ({},)
    rounds: int = 50
    last_of_tied: bool = False
    validation_fraction: float = 0.2
    folds: int = 5
    folds_below: int = 0


PRESETS: dict[str, Preset] = {
    "fast": Preset(n_members=1, rounds=1, patience=32),
    "default": Preset(n_members=24, rungs=((8, 0.5),)),
    "best": Preset(n_members=256, rungs=((8, 0.5), (24, 0.5)), wave=32),
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
    batch = 256 if n_rows > 10_000 else 128 if n_rows > 2_000 else 32
    if preset == "fast":
        rule = {"name": "adamw", "learning_rate": 1e-3, "beta2": 0.99, "weight_decay": 0.1}
        return {
            "plan": 0, "hidden": [256, 256], "activation": "silu", "optimizer": rule,
            "dropout": 0.1, "batch_size": batch, "schedule": "constant",
        }  # fmt: skip
    rule = {
        "name": "adamw",
        "learning_rate": _log_uniform(rng, 5e-4, 6e-3),
        "weight_decay": _log_uniform(rng, 1e-3, 1.0),
        "beta2": float(rng.choice([0.95, 0.99, 0.999])),
    }
    width = int(rng.choice([128, 192, 256, 384]))
    return {
        "plan": int(rng.integers(len(PRESETS[preset].plans))),
        "hidden": [width] * int(rng.integers(1, 4)),
        "activation": str(rng.choice(["relu", "silu", "mish", "selu"])),
        "optimizer": rule,
        "dropout": float(rng.choice([0.0, 0.1, 0.2, 0.3])),
        "batch_size": batch,
        "schedule": "constant",
    }


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))

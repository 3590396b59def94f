"""Set-ups: drawn one by one from (seed, number), each verified to be what it claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.diagnosis.faults import FAULTS, PAIRS, Fault, Planted
from bench.diagnosis.measure import baseline, median_loss
from bench.diagnosis.recipe import Problem, Recipe, build
from bench.diagnosis.symptoms import SYMPTOMS
from bench.diagnosis.twins import Twin, draw_twin

__all__ = ["HARM", "Setup", "each", "make_setup", "names_planted", "stored", "wanted"]

Rng = np.random.Generator
Result = TypeVar("Result")
#: A fault counts when it makes the validation loss so many times the healthy twin's ...
HARM = 1.2
#: ... and the difference is so large a share of what a constant prediction loses.
VISIBLE = 0.03
LEVELS = 3
#: Every so many broken set-ups have two faults.
PAIR_EVERY = 7
#: What decides over set-ups: a cached one of another version is made anew.
SOURCES = ("sources", "synthetic", "recipe", "measure", "twins", "symptoms", "faults", "setups")


@dataclass(frozen=True)
class Setup:
    """A training set-up, healthy or broken, as plain values.

    Attributes
    ----------
    number : int
    real : bool
        On a real data set.
    recipe, settings : dict
        Of the data and of the MLP.
    planted : list of dict
        Per fault: name, changed settings, altered data, accepted causes with reasons.
    twin : dict
        Recipe and settings of the healthy twin.
    healthy_loss, loss : float
        Median validation losses of the twin and of this set-up.
    """

    number: int
    real: bool
    recipe: Recipe
    settings: dict[str, Any]
    planted: list[dict[str, Any]]
    twin: dict[str, Any]
    healthy_loss: float
    loss: float

    @property
    def problem(self) -> Problem:
        """Its arrays."""
        return build(self.recipe)

    @property
    def faults(self) -> list[str]:
        """Names of the planted faults; none for a healthy set-up."""
        return [fault["name"] for fault in self.planted]


def names_planted(setup: Setup, cause: str) -> list[str]:
    """The planted faults that a cause names."""
    return [fault["name"] for fault in setup.planted if cause in fault["accepts"]]


def broken(twin: Twin, planted: list[Planted]) -> tuple[Recipe, dict[str, Any]]:
    """Recipe and settings of the twin with all changes."""
    settings = dict(twin.settings)
    for each in planted:
        settings |= each.settings
    alter = [entry for each in planted for entry in each.alter]
    return {**twin.recipe, "alter": [*twin.recipe["alter"], *alter]}, settings


def harm(twin: Twin, healthy: float, planted: list[Planted]) -> float | None:
    """The median loss with the faults in place, or None where they are not what they claim."""
    recipe, settings = broken(twin, planted)
    problem = build(recipe)
    loss = median_loss(settings, problem)
    if not (loss >= HARM * healthy and loss - healthy >= VISIBLE * baseline(twin.problem)):
        return None
    shown = all(SYMPTOMS[p.symptom](settings, problem) for p in planted if p.symptom)
    return loss if shown else None


def plant(
    rng: Rng, twin: Twin, healthy: float, faults: list[Fault]
) -> tuple[list[Planted], float] | None:
    """Plant from a drawn level up until it harms, alone and together."""
    for level in range(int(rng.integers(LEVELS)), LEVELS):
        planted = [fault.plant(twin, rng, level) for fault in faults]
        loss = harm(twin, healthy, planted)
        if loss is None:
            continue
        if len(planted) == 1 or all(harm(twin, healthy, [p]) for p in planted):
            return planted, loss
    return None


def describe(fault: Fault, planted: Planted) -> dict[str, Any]:
    """For the set-up's description."""
    accepts = {fault.name: "the fault itself", **planted.accepts}
    return {"name": fault.name, "settings": planted.settings, "alter": planted.alter,
            "accepts": accepts}  # fmt: skip


def wanted(seed: int, number: int) -> list[str]:
    """The fault or two that a set-up should have, none for a healthy one: even over all."""
    if number % 3 == 0:
        return []
    rank = number - number // 3 - 1  # among the broken ones
    order = np.random.default_rng([seed, 0])
    if rank % PAIR_EVERY == PAIR_EVERY - 1:
        pairs = order.permutation(len(PAIRS))
        return list(PAIRS[pairs[rank // PAIR_EVERY % len(PAIRS)]])
    names = order.permutation(list(FAULTS))
    return [str(names[(rank - rank // PAIR_EVERY) % len(names)])]


def make_setup(seed: int, number: int) -> Setup:
    """The set-up of that number; the same on every call.

    A healthy one has the wishes of some fault, so that nets of its kind are no hint.
    """
    real = number // 2 % 2 == 0
    rng = np.random.default_rng([seed, number, 1])
    names = wanted(seed, number)
    wishes = [FAULTS[n].wish for n in names or [str(rng.choice(list(FAULTS)))]]
    wish = {key: value for w in wishes for key, value in w.items()}
    while True:
        twin, healthy = draw_twin(rng, real, wish)
        found = plant(rng, twin, healthy, [FAULTS[n] for n in names]) if names else ([], healthy)
        if found is None:
            continue
        planted, loss = found
        recipe, settings = broken(twin, planted)
        described = [describe(FAULTS[n], p) for n, p in zip(names, planted, strict=True)]
        healthy_twin = {"recipe": twin.recipe, "settings": twin.settings}
        return Setup(number, real, recipe, settings, described, healthy_twin, healthy, loss)


@cache
def version() -> str:
    """Digest of the code that decides over set-ups."""
    here = Path(__file__).parent
    text = b"".join((here / f"{name}.py").read_bytes() for name in SOURCES)
    return hashlib.sha256(text).hexdigest()[:12]


def stored(folder: Path | None, seed: int, number: int) -> Setup:
    """A set-up from the folder, or made and put there."""
    if folder is None:
        return make_setup(seed, number)
    path = folder / version() / f"{seed}-{number:04d}.json"
    if path.exists():
        return Setup(**json.loads(path.read_text(encoding="utf-8")))
    setup = make_setup(seed, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(setup), indent=1), encoding="utf-8")
    return setup


def each(work: Callable[[int], Result], numbers: Sequence[int], jobs: int) -> Iterator[Result]:
    """Results in order, by `jobs` processes."""
    if jobs == 1:
        yield from map(work, numbers)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, numbers)

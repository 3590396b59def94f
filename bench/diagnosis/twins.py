"""Healthy set-ups: a task, a net for it, and settings that no simple change makes much better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bench.diagnosis import sources, synthetic
from bench.diagnosis.measure import baseline, lost, median_loss, train
from bench.diagnosis.recipe import Problem, Recipe, build

__all__ = ["Twin", "Wish", "brief", "draw_twin", "tuned"]

Rng = np.random.Generator
Settings = dict[str, Any]
#: What a fault needs of its twin: kind, many, activation, depth, optimizer, inputs, rows.
Wish = dict[str, Any]

ACTIVATIONS = ("relu", "relu", "relu", "tanh", "logistic", "elu", "leaky_relu", "silu", "gelu")
OPTIMIZERS = ("adam", "adam", "adam", "sgd(momentum=0.9)", "sgd", "rmsprop", "adamw")
RATES = {"adam": 2e-3, "adamw": 2e-3, "rmsprop": 1e-3, "sgd": 0.1, "sgd(momentum=0.9)": 0.03}
#: Seconds of one training on a slow core, about: to begin with and at most.
USUAL, LONGEST = 0.4, 2.5
#: Learning rates are raised at most so far above the usual one.
STEEPEST = 10
#: A neighbour that loses so much less is moved to; the twin may lose so much more than a neighbour.
BETTER, CLOSE = 0.95, 0.90
#: Moves of the walk at most.
MOVES = 8
#: A twin has learned when it loses at most this share of what a constant prediction loses.
LEARNED = 0.7
#: The last epoch may lose so much more than the best one.
RISE = 1.05


@dataclass(frozen=True)
class Twin:
    """A healthy set-up: its recipe, its arrays, the settings of its MLP."""

    recipe: Recipe
    problem: Problem
    settings: Settings

    @property
    def rows(self) -> int:
        """Rows to train on."""
        return len(self.problem.y)


def draw_source(rng: Rng, real: bool, kind: str | None) -> tuple[str, dict[str, Any], sources.Pool]:
    """A source of that kind, its options, and rows of it."""
    names = sources.available() if real else tuple(synthetic.SYNTHETIC)
    while True:
        name = str(rng.choice(names))
        options = {} if real else synthetic.draw_options(name, rng)
        pool = sources.load(name) if real else synthetic.make(name, 200, 0, options)
        if kind in (None, pool.kind):
            return name, options, pool


def draw_recipe(rng: Rng, real: bool, wish: Wish) -> Recipe:
    """Source, rows and units."""
    while True:
        name, options, pool = draw_source(rng, real, wish.get("kind"))
        if not wish.get("many") or pool.y.max() >= 2:
            break
    low, high = wish.get("rows", (300, 6000))
    rows = int(np.exp(rng.uniform(np.log(low), np.log(high))))
    held = 1000 if rows >= 1000 else 500
    if real:
        rows = min(rows, round(0.6 * len(pool.y)))
        held = min(held, (len(pool.y) - rows) // 2)
    pictures = pool.X.shape[1] > 60
    inputs = wish.get("inputs") or str(rng.choice(["unit", "standard"] if pictures else UNITS))
    return {
        "source": name, "options": options, "rows": rows, "held": held,
        "seed": int(rng.integers(2**31)), "inputs": inputs,
        "targets": "raw" if inputs == "raw" and rng.random() < 0.5 else "standard",
        "alter": [],
    }  # fmt: skip


UNITS = ("standard", "standard", "raw", "unit")


def seconds(settings: Settings, problem: Problem) -> float:
    """Of a training on a slow core, about; for choosing epochs, the same on every machine."""
    outputs = max(1, problem.classes)
    sizes = (problem.X.shape[1], *settings["hidden"], outputs)
    weights = sum(a * b for a, b in pairwise(sizes))
    rows, updates = len(problem.y), math.ceil(len(problem.y) / settings["batch_size"])
    epoch = rows * (6 * weights / 1e10 + sum(sizes) * 4e-9) + updates * (1e-5 + weights * 1e-9)
    return float(settings["epochs"] * (epoch + 5e-4))


def draw_settings(rng: Rng, recipe: Recipe, problem: Problem, wish: Wish) -> Settings:
    """A plausible net and how to train it."""
    low, high = wish.get("depth", (1, 3))
    width = int(rng.choice([16, 24, 32, 48, 64, 96, 128]))
    hidden = [width] * int(rng.integers(low, high + 1))
    optimizer = str(rng.choice(wish.get("optimizer", OPTIMIZERS)))
    batches = [b for b in (16, 32, 64, 128) if b <= len(problem.y) // 5]
    settings: Settings = {
        "hidden": hidden,
        "task": problem.kind,
        "activation": str(rng.choice(wish.get("activation", ACTIVATIONS))),
        "optimizer": optimizer,
        "learning_rate": RATES[optimizer],
        "schedule": str(rng.choice(["cosine", "cosine", "constant"])),
        "batch_size": int(rng.choice(batches)),
        "epochs": 1,
        "standardise": recipe["inputs"] == "raw",
    }
    if rng.random() < 0.3:
        settings["l2"] = float(rng.choice([1e-5, 1e-4]))
    if rng.random() < 0.2 and width >= 32:
        settings["dropout"] = 0.1
    epochs = round(USUAL / seconds(settings, problem))
    return settings | {"epochs": min(max(epochs, 8), 100)}


def brief(value: float) -> float:
    """Two significant figures."""
    return float(f"{value:.2g}")


def neighbours(settings: Settings, problem: Problem) -> Iterator[Settings]:
    """One setting changed, as far as a training stays short."""
    step, epochs = settings["learning_rate"], settings["epochs"]
    changes: list[Settings] = [
        {"learning_rate": brief(3 * step)},
        {"epochs": 2 * epochs},
        {"learning_rate": brief(step / 3)},
        {"epochs": epochs // 2},
        {"hidden": [2 * h for h in settings["hidden"]]},
        {"l2": max(10 * settings.get("l2", 0.0), 1e-3)},
    ]
    for change in changes:
        found = settings | change
        steep = found["learning_rate"] > STEEPEST * RATES[found["optimizer"]]
        if found["epochs"] >= 4 and not steep and seconds(found, problem) <= LONGEST:
            yield found


def tuned(settings: Settings, problem: Problem) -> Settings | None:
    """Walk to better neighbours; None where the walk does not end, or the end has not learned.

    Parameters
    ----------
    settings : dict
        To begin with.
    problem : Problem

    Returns
    -------
    dict or None
        Settings with no neighbour that loses over 10 % less, whose last epoch is within 5 % of the
        best, and that lose at most 70 % of what a constant prediction loses.
    """

    def loss_of(candidate: Settings) -> float:
        model, finite = train(candidate, problem)
        return lost(model, problem.Xv, problem.yv, problem.kind) if finite else math.inf

    here = loss_of(settings)
    for _ in range(MOVES):
        least = math.inf
        for candidate in neighbours(settings, problem):
            there = loss_of(candidate)
            least = min(least, there)
            if there < BETTER * here:
                settings, here = candidate, there
                break
        else:
            good = here <= LEARNED * baseline(problem) and least >= CLOSE * here
            return settings if good and at_its_best(settings, problem) else None
    return None


def at_its_best(settings: Settings, problem: Problem) -> bool:
    """Whether the validation loss has not risen since its best epoch."""
    losses = [record.val_loss for record in train(settings, problem).model.history]
    return bool(losses[-1] <= RISE * min(losses))


def draw_twin(rng: Rng, real: bool, wish: Wish) -> tuple[Twin, float]:
    """A healthy set-up and its median loss; draws until one is found."""
    while True:
        recipe = draw_recipe(rng, real, wish)
        problem = build(recipe)
        settings = tuned(draw_settings(rng, recipe, problem, wish), problem)
        if settings is not None:
            loss = median_loss(settings, problem)
            if loss <= LEARNED * baseline(problem):
                return Twin(recipe, problem, settings), loss

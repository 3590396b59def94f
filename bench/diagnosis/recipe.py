"""A recipe, plain values for JSON, becomes arrays: draw rows, scale, then alter them.

``{"source", "options", "rows", "held", "seed", "inputs", "targets", "alter"}``: `inputs` is
``"standard"`` (mean 0, deviation 1), ``"unit"`` (0 to 1) or ``"raw"``, `targets` ``"standard"`` or
``"raw"``; each entry of `alter` names a function below and its arguments. Validation and test rows
get what changes the meaning of columns and targets, never what spoils single rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.diagnosis import sources, synthetic

__all__ = ["ALTER", "Problem", "build"]

Rng = np.random.Generator
Recipe = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Rows to train on, to validate on, and to judge cures on: the diagnosis never sees the last.

    X* are float32 (rows, columns); y* int64 class numbers or float64.
    """

    X: np.ndarray
    y: np.ndarray
    Xv: np.ndarray
    yv: np.ndarray
    Xt: np.ndarray
    yt: np.ndarray
    kind: str

    @property
    def classes(self) -> int:
        """Number of classes; 0 for numbers."""
        return int(self.y.max()) + 1 if self.kind == "classes" else 0

    def each_X(self, change: Callable[[np.ndarray], np.ndarray]) -> Problem:
        """The same change to the inputs of all three parts."""
        return replace(self, X=change(self.X), Xv=change(self.Xv), Xt=change(self.Xt))

    def each_y(self, change: Callable[[np.ndarray], np.ndarray]) -> Problem:
        """The same change to the targets of all three parts."""
        return replace(self, y=change(self.y), yv=change(self.yv), yt=change(self.yt))

    def keep(self, rows: np.ndarray) -> Problem:
        """Fewer rows to train on."""
        return replace(self, X=self.X[rows], y=self.y[rows])


def pool(recipe: Recipe) -> sources.Pool:
    """All rows that the recipe draws from."""
    if recipe["source"] in sources.REAL:
        return sources.load(recipe["source"])
    n = recipe["rows"] + 2 * recipe["held"]
    return synthetic.make(recipe["source"], n, recipe["seed"], recipe["options"])


def draw(recipe: Recipe) -> Problem:
    """Three disjoint parts; classes that the first one lacks are left out of the others."""
    X, y, kind = pool(recipe)
    order = np.random.default_rng(recipe["seed"]).permutation(len(y))
    n, held = recipe["rows"], recipe["held"]
    first, second, third = order[:n], order[n : n + held], order[n + held : n + 2 * held]
    if kind == "classes":
        known = np.unique(y[first])
        second, third = (part[np.isin(y[part], known)] for part in (second, third))
        y = np.searchsorted(known, y)
    return Problem(X[first], y[first], X[second], y[second], X[third], y[third], kind)


def scaled(problem: Problem, inputs: str, targets: str) -> Problem:
    """Inputs and numeric targets in the units that the recipe asks for."""
    X, y = problem.X, problem.y
    if inputs == "standard":
        mean, spread = X.mean(axis=0), X.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        problem = problem.each_X(lambda A: (A - mean) / spread)
    elif inputs == "unit":
        low, high = X.min(axis=0), X.max(axis=0)
        if low.min() == low.max() and high.max() <= 255:  # pixels share their range
            low, high = low.min(), high.max()
        width = np.where(high - low > 1e-9, high - low, 1.0)
        problem = problem.each_X(lambda A: ((A - low) / width).clip(0, 1))
    if problem.kind == "regression" and targets == "standard":
        centre, unit = y.mean(), y.std()
        problem = problem.each_y(lambda a: (a - centre) / unit)
    return problem


def noise_in_labels(problem: Problem, rng: Rng, share: float) -> Problem:
    """A share of the training rows gets another class, or another row's target."""
    rows = rng.permutation(len(problem.y))[: round(share * len(problem.y))]
    y = problem.y.copy()
    if problem.kind == "classes":
        y[rows] = (y[rows] + rng.integers(1, problem.classes, len(rows))) % problem.classes
    else:
        y[rows] = rng.permutation(y[rows])
    return replace(problem, y=y)


def rare_classes(problem: Problem, rng: Rng, keep: float) -> Problem:
    """Half of the classes keep a share of their training rows, four at least."""
    y = problem.y
    rare = rng.permutation(problem.classes)[: (problem.classes + 1) // 2]
    kept = [np.flatnonzero(~np.isin(y, rare))]
    for label in rare:
        rows = np.flatnonzero(y == label)
        kept.append(rng.permutation(rows)[: max(4, round(keep * len(rows)))])
    return problem.keep(rng.permutation(np.concatenate(kept)))


def few_rows(problem: Problem, rng: Rng, rows: int) -> Problem:
    """Only some of the training rows, two of each class at least."""
    order = rng.permutation(len(problem.y))
    if problem.kind == "classes":
        firsts = [order[problem.y[order] == label][:2] for label in range(problem.classes)]
        order = np.concatenate([*firsts, np.setdiff1d(order, np.concatenate(firsts))])
        rows = max(rows, 2 * problem.classes)
        kept, rest = order[: 2 * problem.classes], rng.permutation(order[2 * problem.classes :])
        order = np.concatenate([kept, rest])
    return problem.keep(rng.permutation(order[:rows]))


def scale_columns(problem: Problem, rng: Rng, factor: float, share: float = 1.0) -> Problem:
    """A share of the columns in smaller units: values `factor` times as large."""
    d = problem.X.shape[1]
    chosen = rng.permutation(d)[: max(1, round(share * d))]
    factors = np.ones(d)
    factors[chosen] = factor
    return problem.each_X(lambda A: A * factors)


def shift_columns(problem: Problem, rng: Rng, by: float) -> Problem:
    """Every column far from zero."""
    return problem.each_X(lambda A: A + by)


def shift_targets(problem: Problem, rng: Rng, by: float) -> Problem:
    """Numeric targets far from zero."""
    return problem.each_y(lambda a: a + by)


def add_constants(problem: Problem, rng: Rng, columns: int, value: float) -> Problem:
    """Columns that are the same in every row."""
    return problem.each_X(lambda A: np.c_[A, np.full((len(A), columns), value)])


def add_copies(problem: Problem, rng: Rng, copies: int) -> Problem:
    """One column many times over."""
    j = int(rng.integers(problem.X.shape[1]))
    return problem.each_X(lambda A: np.c_[A, np.repeat(A[:, j : j + 1], copies, axis=1)])


def spoil_rows(problem: Problem, rng: Rng, rows: int, value: str) -> Problem:
    """NaN or infinity in a few training rows, one column each."""
    X = problem.X.copy()
    X[rng.permutation(len(X))[:rows], rng.integers(X.shape[1], size=rows)] = float(value)
    return replace(problem, X=X)


ALTER: dict[str, Callable[..., Problem]] = {
    f.__name__: f
    for f in (
        noise_in_labels, rare_classes, few_rows, scale_columns, shift_columns, shift_targets,
        add_constants, add_copies, spoil_rows,
    )
}  # fmt: skip


def build(recipe: Recipe) -> Problem:
    """The arrays of a recipe; the same recipe gives the same arrays."""
    problem = scaled(draw(recipe), recipe["inputs"], recipe["targets"])
    for i, entry in enumerate(recipe["alter"]):
        arguments = {k: v for k, v in entry.items() if k != "how"}
        rng = np.random.default_rng([recipe["seed"], i])
        problem = ALTER[entry["how"]](problem, rng, **arguments)
    return problem.each_X(lambda A: np.ascontiguousarray(A, np.float32))

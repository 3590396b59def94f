"""Synthetic problems: X (rows, columns), y, from a few numbers and a generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.diagnosis.sources import Pool

__all__ = ["SYNTHETIC", "draw_options", "make"]

Rng = np.random.Generator


def teacher(rng: Rng, n: int, columns: int, units: int, noise: float) -> Pool:
    """A random tanh net's output, with noise."""
    X = rng.standard_normal((n, columns))
    hidden = np.tanh(X @ rng.standard_normal((columns, units)) * 1.5 / np.sqrt(columns))
    y = hidden @ rng.standard_normal(units)
    return Pool(X, y + noise * y.std() * rng.standard_normal(n), "regression")


def teacher_classes(rng: Rng, n: int, columns: int, units: int, kinds: int) -> Pool:
    """The largest of a random net's outputs."""
    X = rng.standard_normal((n, columns))
    hidden = np.tanh(X @ rng.standard_normal((columns, units)) * 1.5 / np.sqrt(columns))
    return Pool(X, (hidden @ rng.standard_normal((units, kinds))).argmax(axis=1), "classes")


def blobs(rng: Rng, n: int, columns: int, kinds: int, spread: float) -> Pool:
    """Two Gaussian clouds per class."""
    centres = rng.standard_normal((2 * kinds, columns))
    cloud = rng.integers(2 * kinds, size=n)
    X = centres[cloud] + spread * rng.standard_normal((n, columns))
    return Pool(X, cloud % kinds, "classes")


def spirals(rng: Rng, n: int, kinds: int, turns: float, noise: float) -> Pool:
    """Arms that wind around the origin, one per class."""
    arm, radius = rng.integers(kinds, size=n), np.sqrt(rng.uniform(0.02, 1.0, n))
    angle = 2 * np.pi * (arm / kinds + turns * radius) + noise * rng.standard_normal(n)
    return Pool(2 * np.c_[radius * np.cos(angle), radius * np.sin(angle)], arm, "classes")


def xor(rng: Rng, n: int, columns: int, factors: int) -> Pool:
    """Whether an even number of the first columns is negative."""
    X = rng.uniform(-1, 1, (n, columns))
    return Pool(X, (np.prod(X[:, :factors], axis=1) > 0).astype(int), "classes")


def sparse_signal(rng: Rng, n: int, columns: int, noise: float) -> Pool:
    """Friedman's function of five columns among others."""
    X = rng.uniform(0, 1, (n, columns))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
    y += 10 * X[:, 3] + 5 * X[:, 4]
    return Pool(X, y + noise * y.std() * rng.standard_normal(n), "regression")


def pictures(rng: Rng, n: int, side: int, kinds: int, noise: float) -> Pool:
    """Smooth random patterns, shifted by a pixel or two, with noise, 0 to 255."""
    coarse = rng.uniform(0, 1, (kinds, 4, 4)) ** 2
    patterns = np.kron(coarse, np.ones((1, side // 4, side // 4)))
    kind = rng.integers(kinds, size=n)
    shifts = rng.integers(-1, 2, (n, 2))
    X = np.stack([np.roll(patterns[k], s, (0, 1)) for k, s in zip(kind, shifts, strict=True)])
    X = X * rng.uniform(0.6, 1.0, (n, 1, 1)) + noise * rng.standard_normal(X.shape)
    return Pool(np.round(255 * X.clip(0, 1)).reshape(n, -1), kind, "classes")


SYNTHETIC: dict[str, tuple[Callable[..., Pool], Callable[[Rng], dict[str, Any]]]] = {
    "teacher": (
        teacher,
        lambda r: {
            "columns": int(r.integers(4, 30)),
            "units": int(r.integers(3, 10)),
            "noise": round(r.uniform(0.02, 0.2), 3),
        },
    ),
    "teacher_classes": (
        teacher_classes,
        lambda r: {
            "columns": int(r.integers(5, 25)),
            "units": int(r.integers(4, 10)),
            "kinds": int(r.integers(2, 8)),
        },
    ),
    "blobs": (
        blobs,
        lambda r: {
            "columns": int(r.integers(4, 40)),
            "kinds": int(r.integers(2, 12)),
            "spread": round(r.uniform(0.3, 0.7), 3),
        },
    ),
    "spirals": (
        spirals,
        lambda r: {
            "kinds": int(r.integers(2, 5)),
            "turns": round(r.uniform(0.4, 0.9), 3),
            "noise": round(r.uniform(0.05, 0.2), 3),
        },
    ),
    "xor": (xor, lambda r: {"columns": int(r.integers(2, 8)), "factors": 2}),
    "sparse_signal": (
        sparse_signal,
        lambda r: {"columns": int(r.integers(6, 20)), "noise": round(r.uniform(0.02, 0.2), 3)},
    ),
    "pictures": (
        pictures,
        lambda r: {
            "side": int(r.choice([8, 12, 16])),
            "kinds": int(r.integers(3, 13)),
            "noise": round(r.uniform(0.2, 0.6), 3),
        },
    ),
}


def draw_options(name: str, rng: Rng) -> dict[str, Any]:
    """Sizes and noise of one problem, as plain values."""
    return SYNTHETIC[name][1](rng)


def make(name: str, n: int, seed: int, options: dict[str, Any]) -> Pool:
    """`n` rows of a problem."""
    return SYNTHETIC[name][0](np.random.default_rng(seed), n, **options)

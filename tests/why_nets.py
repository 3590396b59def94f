"""Nets and data for the tests of why(), and what every report has to keep to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from nbmlp import MLP
from nbmlp.diagnostics.why import Report

HEALTHY: dict[str, Any] = {
    "hidden": (24,), "epochs": 40, "learning_rate": 0.01, "task": "classes", "threads": 1,
}  # fmt: skip


def blobs(n: int = 900, seed: int = 0) -> tuple[Any, ...]:
    """Six classes of ten columns that overlap a little: X, y, and as many to validate on."""
    rng = np.random.default_rng(seed)
    centres = 1.2 * rng.normal(size=(6, 10))
    y = rng.integers(0, 6, 2 * n)
    X = (centres[y] + rng.normal(size=(2 * n, 10))).astype(np.float32)
    return X[:n], y[:n], X[n:], y[n:]


def waves(n: int = 900) -> tuple[Any, ...]:
    """A smooth function of four columns, X, y, and as many to validate on."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2 * n, 4)).astype(np.float32)
    y = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=2 * n)).astype(np.float32)
    return X[:n], y[:n], X[n:], y[n:]


def ask(settings: dict[str, Any], data: tuple[Any, ...], **options: Any) -> Report:
    X, y, X_val, y_val = data
    return agrees(MLP(**{**HEALTHY, **settings}).why(X, y, validation=(X_val, y_val), **options))


#: "from 0.127 to 0.127", "0.127 -> 0.127", "1 times the usual"
EQUAL = re.compile(r"from (\S*\d\S*) to \1(?!\S)|(?<!\S)(\S+) -> \2(?!\S)|(?<!\S)1(\.0*)? times")


def agrees(report: Report) -> Report:
    """The report, if it claims no difference between equal figures."""
    told = " ".join(str(report).split())
    assert not EQUAL.search(told.replace(";", " ").replace(",", " ")), told
    assert not re.search(r"\bnan\b|\binf(-fold| rows| times)", told), told
    return report

"""Real data sets by name, as numbers: X (rows, columns), y (rows,), classes or regression."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nbmlp
from bench.startup import mnist_folder

__all__ = ["REAL", "Pool", "available", "load"]

#: Rows of the large image sets that set-ups draw from.
POOL = 15_000


class Pool(NamedTuple):
    """Rows to draw from; `kind` is ``"classes"`` or ``"regression"``."""

    X: np.ndarray
    y: np.ndarray
    kind: str


def folder() -> Path:
    """NBMLP_DATA, else shared/data beside the checkout."""
    return mnist_folder().parent


def classes(X: Any, y: Any) -> Pool:
    """A pool with class numbers."""
    return Pool(np.asarray(X, np.float64), np.unique(y, return_inverse=True)[1], "classes")


def numbers(X: Any, y: Any) -> Pool:
    """A pool with a numeric target."""
    return Pool(np.asarray(X, np.float64), np.asarray(y, np.float64).ravel(), "regression")


def images(name: str) -> Pool:
    """The first rows of an IDX folder."""
    data = nbmlp.read(folder() / name)
    return classes(data.X[:POOL], data.y[:POOL])


def symbols() -> Pool:
    """Handwritten digits and symbols."""
    with np.load(folder() / "math-symbols" / "handwritten_math_symbols_28x28.npz") as data:
        return classes(data["X"].reshape(len(data["X"]), -1), data["y"])


def letters() -> Pool:
    """16 small whole numbers per letter."""
    rows = np.loadtxt(folder() / "letter-recognition" / "letter-recognition.data", dtype=str)
    return classes(rows[:, :16].astype(float), rows[:, 16])


def table(path: str, target: str | int) -> tuple[np.ndarray, Any]:
    """A table as numbers: gaps become the median, text becomes one column per word."""
    data = nbmlp.read(folder() / path, target=target)
    parts = []
    for name in data.X.names:
        column = np.asarray(data.X[name])
        if column.dtype.kind in "OU":
            words, codes = np.unique(column.astype(str), return_inverse=True)
            parts.append(np.eye(len(words))[codes])
        else:
            values = column.astype(float)
            parts.append(np.where(np.isnan(values), np.nanmedian(values), values)[:, None])
    return np.hstack(parts), data.y


def matrix(path: str) -> Pool:
    """The variables X and y of a .mat file."""
    data = nbmlp.read(folder() / path)
    return numbers(data.X, data.y)


def sarcos() -> Pool:
    """The first torque of seven."""
    from scipy.io import loadmat

    rows = loadmat(folder() / "sarcos" / "sarcos_inv_test.mat")["sarcos_inv_test"]
    return numbers(rows[:, :21], rows[:, 21])


def power_plant() -> Pool:
    """Electrical output of a power plant."""
    rows = np.loadtxt(folder() / "ccpp" / "CCPP.csv", delimiter=",", comments="#")
    return numbers(rows[:, :4], rows[:, 4])


def shipped(name: str) -> Pool:
    """A data set inside scikit-learn."""
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return numbers(X, y) if name == "diabetes" else classes(X, y)


REAL: dict[str, Callable[[], Pool]] = {
    "mnist": lambda: images("mnist"),
    "fashion-mnist": lambda: images("fashion-mnist"),
    "math-symbols": symbols,
    "letter-recognition": letters,
    "adult": lambda: classes(*table("adult/adult.csv.gz", -1)),
    "california-housing": lambda: numbers(
        *table("california-housing/housing.csv", "median_house_value")
    ),
    "ccpp": power_plant,
    "airfoil": lambda: matrix("airfoil/airfoil_self_noise.mat"),
    "sarcos": sarcos,
    "abalone": lambda: matrix("abalone/abalone_all.mat"),
    "digits": lambda: shipped("digits"),
    "diabetes": lambda: shipped("diabetes"),
    "wine": lambda: shipped("wine"),
    "breast_cancer": lambda: shipped("breast_cancer"),
}
SHIPPED = ("digits", "diabetes", "wine", "breast_cancer")


def available() -> tuple[str, ...]:
    """Names of the sets at hand: all, or only those inside scikit-learn."""
    return tuple(name for name in REAL if name in SHIPPED or (folder() / name).is_dir())


@cache
def load(name: str) -> Pool:
    """A set by name, kept for the next call."""
    return REAL[name]()

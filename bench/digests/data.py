"""Rows to train on, from the settings' own words; NumPy's element-wise functions and nothing else,
so that the bits of the data do not depend on a linear algebra library or its threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["make"]

Floats = NDArray[np.float64]


def make(
    rows: int = 230,
    columns: int = 20,
    kind: str = "float32",
    targets: str = "classes",
    width: int = 3,
    density: float | None = None,
    indices: str = "int32",
    layout: str = "rows",
) -> tuple[Any, NDArray[Any]]:
    """Inputs, and targets that depend on them.

    Parameters
    ----------
    rows, columns : int
    kind : str
        Element type of the inputs.
    targets : str
        ``"classes"``, ``"words"`` (classes by name), ``"numbers"``, ``"counts"``, ``"flags"`` or
        ``"shares"`` (of 1).
    width : int
        Classes, or columns of the targets.
    density : float, optional
        Share of values that are not zero; the inputs are sparse then.
    indices : str
        Their element type in sparse inputs.
    layout : str
        ``"rows"``; of dense inputs also ``"columns"`` (Fortran's order) and ``"wider"`` (a part of
        each row of a wider array).
    """
    rng = np.random.default_rng((rows, columns, width))
    x = rng.normal(size=(rows, columns))
    if density is not None:
        x *= rng.random(x.shape) < density
    signal = np.take(x, np.arange(width) % columns, axis=1) + 0.3 * rng.normal(size=(rows, width))
    x = _as_kind(x, kind)
    X = _laid_out(x, layout) if density is None else _sparse(x, indices)
    return X, _targets(targets, signal, rng)


def _as_kind(x: Floats, kind: str) -> NDArray[Any]:
    whole = np.dtype(kind).kind in "iu"
    return (x * 40 + 128).clip(0, 255).astype(kind) if whole else x.astype(kind)


def _laid_out(x: NDArray[Any], layout: str) -> NDArray[Any]:
    if layout == "columns":
        return np.asfortranarray(x)
    if layout == "wider":
        wide = np.zeros((len(x), x.shape[1] + 3), x.dtype)
        wide[:, 1:-2] = x
        return wide[:, 1:-2]
    return x


def _sparse(x: NDArray[Any], indices: str) -> Any:
    from scipy.sparse import csr_array

    X = csr_array(x)
    X.indices, X.indptr = X.indices.astype(indices), X.indptr.astype(indices)
    return X


def _targets(targets: str, signal: Floats, rng: np.random.Generator) -> NDArray[Any]:
    if targets == "classes":
        return np.asarray(signal.argmax(axis=1))
    if targets == "words":
        return np.asarray(np.array(["one", "two", "three"])[signal.argmax(axis=1)])
    if targets == "flags":
        return (signal > 0).astype(np.float64)
    if targets == "shares":
        parts = np.abs(signal) + 0.01
        return np.asarray(parts / parts.sum(axis=1, keepdims=True))
    values = np.sin(signal)
    if targets == "counts":
        values = rng.poisson(1 + values**2).astype(np.float64)
    return values[:, 0] if signal.shape[1] == 1 else values

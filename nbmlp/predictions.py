"""Outputs as columns of a table of predictions: labels or numbers, and probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from nbmlp.coding import TargetCoding

__all__ = ["prediction_columns", "prediction_names"]


def prediction_names(
    known: Sequence[str], width: int, labels: Iterable[object] = ()
) -> tuple[str, ...]:
    """What columns of predictions are called.

    Parameters
    ----------
    known : sequence of str
        Names of the targets, where they have some.
    width : int
        Targets that are predicted.
    labels : iterable
        Classes with a column of probabilities each, behind the others.
    """
    if len(known) == width:
        names = tuple(known)
    else:
        numbered = tuple(f"prediction {j + 1}" for j in range(width))
        names = ("prediction",) if width == 1 else numbered
    return names + tuple(f"probability of {label}" for label in labels)


def prediction_columns(
    coding: TargetCoding, output: str, outputs: NDArray[Any], known: Sequence[str], proba: bool
) -> dict[str, NDArray[Any]]:
    """Columns (rows,) by name.

    Parameters
    ----------
    coding : TargetCoding
    output : str
        The activation of the last layer.
    outputs : ndarray (rows, n_outputs)
    known : sequence of str
        Names of the targets, where they have some.
    proba : bool
        One more column with the probability of each class.

    Raises
    ------
    SpecError
        There are no probabilities.
    """
    found = coding.decode(outputs)
    parts = [found] if found.ndim == 1 else list(found.T)
    width, labels = len(parts), []
    if proba:
        parts += [*coding.probabilities(outputs, output).T]
        labels = [] if coding.labels is None else [*coding.labels.classes]
    return dict(zip(prediction_names(known, width, labels), parts, strict=True))

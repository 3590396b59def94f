"""Outputs as columns of a table of predictions: labels or numbers, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from nbmlp.coding import TargetCoding

__all__ = ["answers", "target_words"]


def target_words(known: Sequence[str], width: int) -> tuple[str, ...]:
    """What columns of predictions are called: as the targets, where their names are known."""
    if len(known) == width:
        return tuple(known)
    return ("prediction",) if width == 1 else tuple(f"prediction {j + 1}" for j in range(width))


def answers(
    coding: TargetCoding, output: str, outputs: NDArray[Any], known: Sequence[str], proba: bool
) -> dict[str, NDArray[Any]]:
    """Columns by name.

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
    columns = dict(zip(target_words(known, len(parts)), parts, strict=True))
    if proba:
        shares = coding.probabilities(outputs, output).T
        labels = () if coding.labels is None else coding.labels.classes
        columns |= {f"probability of {c}": p for c, p in zip(labels, shares, strict=True)}
    return columns

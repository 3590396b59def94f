"""What the rows of each class weigh in training, beside weights of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import SpecError, listing

__all__ = ["check_in_portions", "class_weights"]


def class_weights(
    wanted: str | Mapping[Any, float], labels: Sequence[Any], codes: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Weight of each class, (classes,).

    Parameters
    ----------
    wanted : "balanced" or mapping
        ``"balanced"`` is rows / (classes * rows of the class), so that all classes weigh the same
        together. Of a mapping, labels count by their text too: "1" is 1 of a command line; those
        that it does not name weigh 1.
    labels : sequence (classes,)
    codes : ndarray of int (rows,)
        Class numbers of the rows.

    Raises
    ------
    SpecError
        A name that is no label, unless all labels are named.
    """
    weights = np.ones(len(labels))
    if wanted == "balanced":
        count = np.bincount(codes, minlength=len(labels)).astype(np.float64)
        share = np.count_nonzero(count) * count
        np.divide(count.sum(), share, out=weights, where=count > 0)
        return weights
    assert isinstance(wanted, Mapping)
    places = {_text(label): k for k, label in enumerate(labels)}
    named, strange = set[int](), []
    for label, weight in wanted.items():
        place = places.get(_text(label))
        if place is None:
            strange.append(label)
        else:
            weights[place] = weight
            named.add(place)
    if strange and len(named) < len(labels):
        shown = listing([repr(_plain(label)) for label in labels], 10)
        raise SpecError(f"class_weight names {strange[0]!r}, which is no label of y: {shown}.")
    return weights


def check_in_portions(wanted: object) -> None:
    """Refuse what cannot be known of rows that come in portions.

    Raises
    ------
    SpecError
    """
    if isinstance(wanted, str):
        raise SpecError(
            "class_weight='balanced' needs all rows at once: give partial_fit the weights"
            " themselves, e.g. class_weight={0: 1, 1: 5}."
        )


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _text(label: Any) -> str:
    """The same for labels that are equal, of whatever type, and for what is typed for them."""
    plain = _plain(label)
    return str(int(plain) if isinstance(plain, float) and plain.is_integer() else plain)

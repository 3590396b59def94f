"""Ensembles beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["assert_same", "flat"]


def flat(model: Any) -> Any:
    """All weights of all nets."""
    return np.concatenate([k.state.get_flat() for k in model.model_.kept])


def assert_same(one: Any, other: Any, X: Any) -> None:
    """To the bit: what became of the nets, their weights, and what they predict."""
    assert one.members_ == other.members_
    np.testing.assert_array_equal(flat(one), flat(other))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))

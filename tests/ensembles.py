"""Ensembles beside each other."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["assert_same", "courses", "flat"]


def flat(model: Any) -> Any:
    """All weights of all nets."""
    return np.concatenate([k.state.get_flat() for k in model.model_.kept])


def courses(model: Any) -> dict[int, list[float | None]]:
    """Scores of each net, epoch by epoch."""
    nets = model.history_.by_net()
    for own in nets.values():
        assert [record.epoch for record in own] == [*range(1, len(own) + 1)]
    return {net: [record.val_score for record in own] for net, own in nets.items()}


def assert_same(one: Any, other: Any, X: Any) -> None:
    """To the bit: what became of the nets, their epochs, weights, and what they predict."""
    assert one.members_ == other.members_
    assert courses(one) == courses(other)
    np.testing.assert_array_equal(flat(one), flat(other))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))

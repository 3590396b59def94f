"""What an engine tells of an epoch besides its loss: penalty and norms."""

from __future__ import annotations

import numpy as np

from nbmlp.spec import TrainSpec
from nbmlp.state import State
from nbmlp.workspace import Workspace

__all__ = ["norms_of", "penalty_of"]


def penalty_of(state: State, train: TrainSpec) -> float:
    """l2/2 * |W|^2 + l1 * |W|_1 of the weights as they are."""
    total = 0.0
    if train.l1 or train.l2:
        for block, part, values in state.parts():
            if part.bounded:
                wide = values.astype(np.float64)
                total += block.decay * 0.5 * train.l2 * float(np.sum(wide * wide))
                total += block.decay * train.l1 * float(np.sum(np.abs(wide)))
    return total


def norms_of(work: Workspace, updates: int) -> tuple[float, ...]:
    """Root mean square over an epoch's updates of each layer's gradient norm.

    Embeddings count for the first layer.
    """
    squares = np.zeros(len(work.plan.layers))
    for block, square in zip(work.plan.blocks, work.block_norms, strict=True):
        squares[max(block.layer, 0)] += square
    return tuple(float(v) for v in np.sqrt(squares / updates))

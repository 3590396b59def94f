"""What an engine says of an update that failed, unless somebody who knows more explains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nbmlp.errors import NonFiniteError

__all__ = ["Explain", "bare_fact", "ended_elsewhere"]


def bare_fact(engine: Any) -> NonFiniteError:
    """All that an engine knows of the update that it stands before: which, and of which rows."""
    rows = engine.rows.names.row_numbers(engine.batch_places())
    step = engine.state.step
    return NonFiniteError(
        f"a value became NaN or infinite in update {step + 1}; the weights are as before it.",
        step=step, batch_rows=np.sort(rows),
    )  # fmt: skip


#: Given an engine, what went wrong in the batch that it stands before: to be raised.
Explain = Callable[[Any], NonFiniteError]


def ended_elsewhere(step: int) -> NonFiniteError:
    """Of an update that another engine could not make."""
    return NonFiniteError(
        f"update {step + 1} was not made: another of those who train together could not go on, and"
        " says why.", step=step,
    )  # fmt: skip

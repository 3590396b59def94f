"""Whether inputs want a column plan at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.table import Table

__all__ = ["wants_plan"]

#: Bytes that never reach this are no pictures: a quarter of the range is left to dark ones.
_DARKEST_PICTURE = 64


def wants_plan(X: NDArray[Any] | Table) -> bool:
    """Whether a column plan would help: X is not yet of the size that nets learn well from.

    Parameters
    ----------
    X : Table or ndarray of shape (rows, columns)

    Returns
    -------
    bool
        True for a table, for a float matrix with a value outside [-1, 1] or missing, and for
        bytes that all lie below 64 and so are no pictures (whose bytes are divided by 255).
    """
    if isinstance(X, Table):
        return True
    if X.dtype == np.uint8:
        return bool(X.max() < _DARKEST_PICTURE)
    step = max(1, (1 << 17) // X.shape[1])
    pieces = (X[start : start + step] for start in range(0, len(X), step))
    return not all(bool((np.abs(piece) <= 1).all()) for piece in pieces)

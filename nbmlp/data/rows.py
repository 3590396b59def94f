"""Rows of whatever users bring: tables, matrices, sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.check import check_length
from nbmlp.data.sparse import as_csr, is_sparse
from nbmlp.data.table import as_table

__all__ = ["as_rows", "n_rows", "take_rows"]


def as_rows(X: Any, y: Any) -> tuple[Any, NDArray[Any]]:
    """Data whose rows can be taken, and their targets.

    Raises
    ------
    DataError
        They differ in length.
    """
    table = as_table(X)
    data: Any = table
    if table is None:
        data = as_csr(X) if is_sparse(X) else np.asarray(X)
    targets = np.asarray(y)
    check_length(targets, n_rows(data))
    return data, targets


def n_rows(X: Any) -> int:
    """Rows of a table, a matrix or a sparse matrix."""
    return int(X.shape[0]) if is_sparse(X) else len(X)


def take_rows(X: Any, rows: NDArray[Any]) -> Any:
    """Some rows of a table, a data frame, a matrix or a sparse matrix."""
    table = as_table(X)
    if table is not None:
        return table.take(rows)
    return as_csr(X)[rows] if is_sparse(X) else np.asarray(X)[rows]

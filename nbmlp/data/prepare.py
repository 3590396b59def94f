"""Inputs as every path hands them to a net: the same file gives the same columns everywhere.

The command line reads numbers as a matrix, a server keeps them as a table; programs may do either.
What is done with them is decided here, from what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.columns import ColumnPlan, Told, as_taken, wants_plan
from nbmlp.data.dataset import Dataset
from nbmlp.data.encode import infer_task
from nbmlp.data.passes import fits_bytes
from nbmlp.data.table import Table
from nbmlp.errors import DataError

__all__ = ["prepared", "told_of"]


def prepared(data: Dataset, wanted: bool | None = None, task: str = "auto") -> Dataset:
    """The data, with inputs as a Table where a column plan is to be made, else as a matrix.

    Parameters
    ----------
    data : Dataset
    wanted : bool, optional
        Whether numbers are to be scaled; by default where it helps. A table with text, dates or
        booleans always gets a plan.
    task : str
        ``"classes"``, ``"regression"`` or ``"auto"``.
    """
    X = _as_matrix(data.X) if isinstance(data.X, Table) else data.X
    if isinstance(X, Table):
        return data
    if wanted is None:
        wanted = wants_plan(X) or _large_targets(X, data.y, task)
    if not wanted:
        return replace(data, X=X)
    if isinstance(data.X, Table):
        return data
    return replace(data, X=Table(dict(zip(data.feature_names, X.T, strict=True))))


def _as_matrix(table: Table) -> NDArray[Any] | Table:
    """Columns of nothing but numbers as a matrix: of bytes, if all are as those of pictures."""
    columns = table.columns.values()
    if table.kinds or any(column.dtype.kind not in "fu" for column in columns):
        return table
    if all(column.dtype == np.uint8 or fits_bytes(column) for column in columns):
        return np.column_stack([column.astype(np.uint8, copy=False) for column in columns])
    return np.column_stack([column.astype(np.float64, copy=False) for column in columns])


def _large_targets(X: NDArray[Any], y: NDArray[Any] | None, task: str) -> bool:
    """Whether numeric targets need scaling, beside inputs that are no pictures."""
    if X.dtype == np.uint8 or y is None or y.dtype.kind not in "iuf":
        return False
    if task == "classes" or (task == "auto" and infer_task(y) == "classes"):
        return False
    return wants_plan(y.reshape(len(y), -1).astype(np.float64))


def told_of(data: Dataset, names: Sequence[str] = ()) -> list[Told]:
    """What would become of each column by default.

    Parameters
    ----------
    data : Dataset
    names : sequence of str
        Of the columns, where the data do not name them.

    Raises
    ------
    DataError
        An infinite value, or no columns that a net could learn from.
    """
    ready = prepared(data)
    if isinstance(ready.X, Table):
        return ColumnPlan.fit(ready.X).told()
    if not len(ready.X):
        raise DataError(f"{data.source} has no rows.")
    known = ready.feature_names or tuple(names) or tuple(f"x{j}" for j in range(ready.X.shape[1]))
    return as_taken(known, ready.X.dtype == np.uint8)

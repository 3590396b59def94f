"""What the columns of a model are worth, where finding it out costs a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nbmlp.data import Given, is_sparse

if TYPE_CHECKING:
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = ["FLOPS", "importance"]

#: Of so many columns at most, on so many of the rows that were measured; so many are told.
_MOST_COLUMNS, _MOST_ROWS, _TOLD, _REPEATS = 100, 2000, 20, 3
#: Floating-point operations that are a moment, whatever the training took.
FLOPS = 2e10


def importance(
    model: MLP | TabularModel, given: Given, parameters: int, metric: str | None = None,
    most: float = FLOPS,
) -> dict[str, Any]:  # fmt: skip
    """For the evaluation of a model; empty where it would cost much.

    Parameters
    ----------
    model : MLP or TabularModel
    given : Given
        Rows that it has not learned from; some of them are taken.
    parameters : int
        That a row goes through.
    metric : str, optional
    most : float
        Floating-point operations that may be spent.
    """
    columns = given.X.shape[1]
    cost = 2.0 * parameters * columns * _REPEATS
    n = int(min(len(given.y), _MOST_ROWS, most / cost))
    if is_sparse(given.X) or not 1 < columns <= _MOST_COLUMNS or n < min(len(given.y), 100):
        return {}
    few = given.take(np.linspace(0, len(given.y) - 1, n).astype(np.int64))
    names = [few.names.place("X", 0, j).name or str(j) for j in range(columns)]
    found = model.importance(few.X, few.y, metric, repeats=_REPEATS, names=names)
    if not np.isfinite(found.mean).all():
        return {}
    told = [[c["name"], c["mean"], c["deviation"]] for c in found.to_dict()["columns"]]
    return {"importance": {"score": found.score, "columns": told[:_TOLD]}}

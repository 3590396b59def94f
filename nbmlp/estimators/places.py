"""The row and column that scikit-learn's messages about NaN and infinities lack."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from nbmlp.data import as_table, is_sparse
from nbmlp.data.mend import bad_inputs, bad_targets
from nbmlp.errors import Place, RowError
from nbmlp.rows import PLAIN, Names

__all__ = ["names_of", "with_place"]

#: How scikit-learn begins: which of its arrays, and what is in it; not where we have said so.
_SAID = re.compile(
    r"(?!.* at row )Input ((?:X|y|y_true|sample_weight) )?contains"
    r" (NaN|infinity[^\n]*?)\.?(\n|$)"
)


def names_of(X: Any) -> Names:
    """What the columns of a data frame are called."""
    known = getattr(X, "columns", None)
    return PLAIN if known is None else Names(columns=tuple(map(str, known)))


def with_place(
    error: Exception, names: Names, X: Any, y: Any = None, sample_weight: Any = None
) -> Exception:
    """An error of scikit-learn's with the first row and column that it is about.

    Parameters
    ----------
    error : Exception
        Of its validation.
    names : Names
        Of the arrays.
    X, y, sample_weight : optional
        As they were validated.

    Returns
    -------
    Exception
        The same, if it is about something else.
    """
    said = _SAID.match(str(error))
    if isinstance(error, RowError) or (said is None and not isinstance(error, TypeError)):
        return error
    array = (said[1] or "y").strip().removesuffix("_true") if said else "y"
    given = {"X": X, "y": y, "sample_weight": sample_weight}[array]
    place = None if given is None else _first_bad(array, given, names)
    if place is None:
        return error
    title = names.title(array)
    if said is None:  # it stumbled over None among labels
        return ValueError(
            f"{title} has no value at {place}: each row needs its target; mend it or leave that"
            " row out."
        )
    head = f"Input {title} contains {said[2]} at {place}."
    return ValueError(f"{head}{said[3]}{str(error)[said.end() :]}")


def _first_bad(array: str, given: Any, names: Names) -> Place | None:
    try:
        if array != "X":
            rows = bad_targets(np.asarray(given), "float64")
            return names.place(array, int(rows[0])) if len(rows) else None
        rows, columns = bad_inputs(_numbers(given), "float64")
        return names.place("X", int(rows[0]), int(columns[0])) if len(rows) else None
    except (TypeError, ValueError):  # it is wrong in other ways, too
        return None


def _numbers(X: Any) -> Any:
    """X in a form that can be searched."""
    table = as_table(X)
    if table is not None or is_sparse(X):
        return X.tocsr() if table is None else table
    array = np.asarray(X)
    return array.astype(np.float64) if array.dtype == object else array

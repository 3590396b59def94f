"""What scikit-learn's callers pass, checked in its words: inputs, targets, seeds, threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import column_or_1d, validate_data

from nbmlp.checks import whole
from nbmlp.data import Table, as_table
from nbmlp.tuning import available_threads

__all__ = ["checked_inputs", "checked_numbers", "is_plain", "seed_of", "threads_of"]

_NOT_GIVEN = object()


def checked_inputs(estimator: Any, X: Any, y: Any = _NOT_GIVEN, *, reset: bool) -> Any:
    """X as a table or matrix; the estimator learns its columns, or compares them.

    Raises
    ------
    ValueError
        No matrix or no table, other columns, no targets, or another number of them.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    if isinstance(X, Table | Mapping) and not hasattr(X, "toarray"):
        X = X if isinstance(X, Table) else Table(X)
        _check_names(estimator, X.names, reset)
    elif hasattr(X, "columns") and hasattr(X, "to_numpy"):
        table = as_table(X)  # says in a sentence what is wrong with names
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        X = table
    else:
        X = validate_data(
            estimator, _kept_apart(X), reset=reset, dtype=None, ensure_all_finite=False
        )
    if y is not _NOT_GIVEN:
        check_consistent_length(X, y)
    return X


def _kept_apart(X: Any) -> Any:
    """Lists in which numbers stand beside text: NumPy would make text of all."""
    if any(hasattr(X, name) for name in ("dtype", "__array__", "toarray")):
        return X
    array = np.asarray(X)
    return np.array(X, dtype=object) if array.dtype.kind in "US" else array


def _check_names(estimator: Any, names: tuple[str, ...], reset: bool) -> None:
    """Columns of a mapping, as scikit-learn remembers and compares those of a frame."""
    if reset:
        estimator.feature_names_in_ = np.array(names, dtype=object)
        estimator.n_features_in_ = len(names)
        return
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None and tuple(known) != names:
        lacking = [name for name in known if name not in names]
        extra = [name for name in names if name not in known]
        parts = [f"lacks {lacking}"] * bool(lacking) + [f"has {extra} besides"] * bool(extra)
        raise ValueError(
            f"X {' and '.join(parts) or 'has its columns in another order'}: the model was"
            f" fitted on {list(known)}."
        )


def checked_numbers(y: Any) -> NDArray[Any]:
    """Numeric targets (rows,) or (rows, targets).

    Raises
    ------
    ValueError
        Text, NaN or infinity.
    """
    values: NDArray[Any] = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    return values.astype(np.float64, copy=False)


def seed_of(random_state: Any) -> int:
    """One number for all that is drawn."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def threads_of(n_jobs: Any) -> int | None:
    """Cores to use, None for all; negative numbers count from all, as in joblib."""
    jobs = -1 if n_jobs is None else whole("n_jobs", n_jobs, -(1 << 31))
    if jobs == -1:
        return None
    return max(1, available_threads() + 1 + jobs if jobs < 0 else jobs)


def is_plain(value: Any) -> bool:
    """Whether a file can hold a setting as it is."""
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)

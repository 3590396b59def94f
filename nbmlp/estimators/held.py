"""Rows that an estimator validates with: a share of those to train on, or the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length, validate_data

from nbmlp.data import check_finite
from nbmlp.data.check import check_y
from nbmlp.data.mend import bad_targets
from nbmlp.data.sparse import SparseRows, as_csr, check_sparse
from nbmlp.errors import Place, RowError
from nbmlp.estimators.extensions import mended
from nbmlp.estimators.places import with_place
from nbmlp.predict import Rows
from nbmlp.rows import Names
from nbmlp.state import known_finite

__all__ = ["Held", "compressed", "own_rows", "readable", "rows_of", "set_aside"]

Array = NDArray[Any]


class Held(NamedTuple):
    """Rows to validate with: X and y as the user gave them, and as the net reads them."""

    X: Any
    y: Any
    sample_weight: Array | None
    rows: Rows


def compressed(X: Any) -> Any:
    """X in a format that scikit-learn leaves as it is: scipy converts damaged matrices unseen."""
    return as_csr(X) if issparse(X) and X.format not in ("csr", "csc") else X


def readable(X: Any, dtype: str) -> Array | SparseRows:
    """Rows as the kernels read them: float32 or float64, each row in one piece, or sparse."""
    if issparse(X):
        return check_sparse(X, None, "X", dtype)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(dtype)
    return X if X.strides[1] == X.itemsize else np.ascontiguousarray(X)


def rows_of(model: Any, X: Any, y: Array, sample_weight: Array | None, names: Names) -> Rows:
    """Rows for the engine.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
    X
    y : ndarray (n, n_outputs)
        Classes one-hot or as one column of zeros and ones.
    sample_weight
    names : Names

    Raises
    ------
    DataError
        A target is not finite in the net's type.
    """
    dtype = model.coefs_[0].dtype
    with names.telling():
        if model.out_activation_ == "softmax":
            targets = np.argmax(y, axis=1).astype(np.int32)
        else:
            targets = check_y(y, len(y), dtype=dtype, known_finite=known_finite)
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    return Rows(readable(X, dtype.name), targets, weights, names=names)


def set_aside(
    model: Any, X: Any, y: Array, sample_weight: Array | None, names: Names
) -> tuple[tuple[Any, ...], Held]:
    """X, y, weights and names to train on, and rows to validate with."""
    stratify = y if is_classifier(model) and model.n_outputs_ == 1 else None
    arrays = [X, y, np.arange(len(y))] + ([] if sample_weight is None else [sample_weight])
    parts = train_test_split(
        *arrays, random_state=model._random_state, test_size=model.validation_fraction,
        stratify=stratify,
    )  # fmt: skip
    X_val, encoded, places = parts[1], parts[3], parts[5]
    if X_val.shape[0] < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    decode = model._label_binarizer.inverse_transform if is_classifier(model) else np.asarray
    weights = (None, None) if sample_weight is None else (parts[6], parts[7])
    train = (parts[0], parts[2], weights[0], names.take(parts[4]))
    rows = rows_of(model, X_val, encoded, weights[1], names.take(places))
    return train, Held(X_val, decode(encoded), weights[1], rows)


def own_rows(model: Any, X: Any, y: Any) -> Held | None:
    """The data that `fit` was given to validate with, if it was."""
    if X is None and y is None:
        return None
    if X is None or y is None:
        raise ValueError("X_val and y_val belong together: give both or none.")
    policy = "drop_rows" if model.on_nonfinite == "impute" else model.on_nonfinite
    X, y, _, names = mended(policy, X, y)
    names, y = replace(names, X="X_val", y="y_val"), np.asarray(y)
    try:
        X = validate_data(model, compressed(X), accept_sparse=["csr", "csc"], reset=False)
    except ValueError as error:
        raise with_place(error, names, X) from None
    check_consistent_length(X, y)
    with names.telling():
        encoded = _encoded_labels(model, y) if is_classifier(model) else _numbers(model, y)
        rows = rows_of(model, X, encoded, None, names)
        check_finite(rows.x, model.coefs_[0].dtype)
    return Held(X, y, None, rows)


def _encoded_labels(model: Any, y: Array) -> Array:
    gaps = bad_targets(y, "float64")
    if len(gaps):
        raise RowError("y", "has no value", Place(int(gaps[0])), ": each row needs its target.")
    unknown = np.flatnonzero(~np.isin(y, model.classes_)) if y.ndim == 1 else gaps
    if len(unknown):
        row = int(unknown[0])
        label = y[row].item() if isinstance(y[row], np.generic) else y[row]
        raise RowError("y", f"has the label {label!r}", Place(row), ", which y does not have.")
    encode: Callable[[Array], Array] = model._label_binarizer.transform
    return encode(y)


def _numbers(model: Any, y: Array) -> Array:
    y = y.reshape(len(y), -1)
    if y.shape[1] != model.n_outputs_:
        raise ValueError(f"y_val has {y.shape[1]} columns, y has {model.n_outputs_}.")
    return y

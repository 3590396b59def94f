"""Arrays from users: taken without a copy where possible, else refused with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nbmlp.data.sparse import SparseRows, check_sparse, finite_in, is_sparse
from nbmlp.data.table import is_missing
from nbmlp.errors import DataError, Place, RowError

__all__ = [
    "check_X",
    "check_finite",
    "check_length",
    "check_weights",
    "check_y",
    "first_nonfinite",
]

#: Kinds of input that the kernels read as they are.
_NATIVE = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))
_CHUNK_BYTES = 1 << 20
_MEND = ": mend it or leave that row out."


def check_X(
    X: ArrayLike | SparseRows,
    n_features: int | None = None,
    name: str = "X",
    dtype: DTypeLike = np.float32,
) -> NDArray[Any] | SparseRows:
    """Inputs as the kernels read them: rows of float32, float64 or uint8.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (rows, columns)
        float32, float64 and uint8 arrays are returned without a copy, memory-mapped or strided
        between rows, as long as each row is contiguous. What has been returned is so again.
    n_features : int, optional
        Columns that the model was fitted on.
    name : str
        What messages call it.
    dtype : dtype
        What other numbers and booleans become.

    Returns
    -------
    ndarray or SparseRows of shape (rows, columns)
        float32, float64 or uint8, native byte order, aligned, rows contiguous. Values are not
        looked at: see :func:`first_nonfinite`.

    Raises
    ------
    DataError
        Text, objects, complex, not two-dimensional, empty, or another number of columns.
    """
    if _fits(X, n_features):
        return X
    if isinstance(X, SparseRows):
        _check_width(X.shape[1], n_features, name)
        return X
    if is_sparse(X):
        return check_sparse(X, n_features, name, dtype)
    array = _as_numbers(X, name)
    if array.ndim != 2:
        raise DataError(f"{name} has shape {array.shape}: {_reshape_hint(array, name)}")
    if 0 in array.shape:
        raise DataError(f"{name} has shape {array.shape}: at least one row and column are needed.")
    _check_width(array.shape[1], n_features, name)
    if array.dtype not in _NATIVE:
        swapped = array.dtype.newbyteorder("=")
        return np.ascontiguousarray(array, dtype=swapped if swapped in _NATIVE else dtype)
    return array if _readable(array) else array.copy(order="C")


def _check_width(width: int, n_features: int | None, name: str) -> None:
    if n_features is not None and width != n_features:
        raise DataError(f"{name} has {width} columns: the model was fitted on {n_features}.")


def _fits(X: ArrayLike | SparseRows, n_features: int | None) -> TypeGuard[NDArray[Any]]:
    """The common case, told in half a microsecond: an array that the kernels read as it is."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.shape[1] == n_features
        and X.dtype in _NATIVE
        and X.flags.c_contiguous
        and X.flags.aligned
        and len(X) > 0
    )


def _as_numbers(X: ArrayLike, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(X)
    except ValueError:
        raise DataError(f"{name} has rows of different lengths: make it a full matrix.") from None
    if array.dtype.kind not in "biuf":
        raise _no_numbers(array, name)
    return array


def _no_numbers(array: NDArray[Any], name: str) -> DataError:
    if array.dtype.kind == "c":
        return DataError(f"{name} holds complex numbers: pass real and imaginary parts as columns.")
    if array.dtype.kind not in "OUS":
        return DataError(f"{name} holds {array.dtype}: turn it into numbers first.")
    for index, cell in np.ndenumerate(array.astype(object)):
        if not isinstance(cell, int | float | np.number):
            return _no_number(cell, index, name)
    return DataError(f"{name} holds Python objects ({array.dtype}): pass it as .astype(float).")


def _no_number(cell: object, index: tuple[int, ...], name: str) -> DataError:
    if not 1 <= len(index) <= 2:
        return DataError(f"{name} holds {cell!r} at position {index}: numbers are needed.")
    place = Place(index[0], index[1] if len(index) == 2 else None)
    if not isinstance(cell, str) and is_missing(cell):
        return RowError(name, "has no value", place, _MEND)
    what = ": numbers are needed; a Table takes text columns."
    return RowError(name, f"holds {cell!r}", place, what)


def _reshape_hint(array: NDArray[Any], name: str) -> str:
    if array.ndim == 1:
        return (
            "rows and columns are needed; reshape(1, -1) makes it one row, reshape(-1, 1) one"
            " column."
        )
    if array.ndim > 2:
        return f"rows and columns are needed; {name}.reshape(len({name}), -1) makes rows of it."
    return "rows and columns are needed."


def _readable(array: NDArray[Any]) -> bool:
    row, item = array.strides
    return (
        array.flags.aligned
        and (item == array.itemsize or array.shape[1] == 1)
        and row >= 0
        and row % array.itemsize == 0
    )


def check_y(
    y: ArrayLike,
    n_rows: int,
    n_outputs: int | None = None,
    name: str = "y",
    dtype: DTypeLike = np.float32,
    known_finite: Callable[[NDArray[Any]], bool] | None = None,
) -> NDArray[Any]:
    """Numeric targets, one row for each row of X.

    Parameters
    ----------
    y : array-like of shape (rows,) or (rows, outputs)
        Numbers of any kind, all finite.
    n_rows : int
        Rows of X.
    n_outputs : int, optional
        Columns that the model was fitted on.
    name : str
        What messages call it.
    dtype : dtype
        Kind of the result.
    known_finite : callable, optional
        Tells of the result, quicker than NumPy does, that it is finite; if it cannot, it is
        looked through for the first value that is not.

    Returns
    -------
    ndarray of shape (rows, outputs)
        C-contiguous.

    Raises
    ------
    DataError
        No numbers, another length or number of columns, or a value that is not finite (or not
        in `dtype`); its row is named.
    """
    array = _as_numbers(y, name)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2:
        raise DataError(f"{name} has shape {array.shape}: one row for each row of X is needed.")
    check_length(array, n_rows, name)
    if n_outputs is not None and array.shape[1] != n_outputs:
        raise DataError(f"{name} has {array.shape[1]} columns: the model has {n_outputs} outputs.")
    return _finite(array, name, np.dtype(dtype), known_finite)


def _finite(
    array: NDArray[Any],
    name: str,
    dtype: np.dtype[Any],
    known_finite: Callable[[NDArray[Any]], bool] | None = None,
) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=dtype)
    if known_finite is not None and known_finite(converted):
        return converted
    if (place := first_nonfinite(converted)) is not None:
        where = Place(place[0], place[1] if array.shape[1] > 1 else None)
        raise _not_finite(array[place], where, name, dtype)
    return converted


def check_length(array: NDArray[Any], n_rows: int, name: str = "y") -> None:
    """Raise DataError unless there is one row for each row of X."""
    if len(array) != n_rows:
        raise DataError(
            f"{name} has {len(array)} rows and X has {n_rows}: each row of X needs its own."
        )


def check_weights(weights: ArrayLike, n_rows: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Weights of the rows.

    Parameters
    ----------
    weights : array-like of shape (rows,) or (rows, 1)
        Finite, not negative, not all 0.
    n_rows : int
        Rows of X.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray of shape (rows,)
        C-contiguous.

    Raises
    ------
    DataError
        Anything else; the first wrong row is named.
    """
    name = "sample_weight"
    array = _as_numbers(weights, name)
    if array.shape not in ((n_rows,), (n_rows, 1)):
        raise DataError(f"{name} has shape {array.shape}: one weight for each of {n_rows} rows.")
    array = _finite(array.reshape(n_rows, 1), name, np.dtype(dtype))[:, 0]
    negative = np.flatnonzero(array < 0)
    if negative.size:
        row = int(negative[0])
        raise RowError(name, f"is {array[row]:g}", Place(row), ": weights must be 0 or more.")
    if not array.any():
        raise DataError(f"{name} is 0 in every row: at least one row needs weight.")
    return array


def first_nonfinite(
    X: NDArray[Any] | SparseRows,
    dtype: DTypeLike | None = None,
    start: int = 0,
    end: int | None = None,
) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity, row by row; None if there is none.

    Parameters
    ----------
    X : ndarray of shape (rows, columns)
        Looked at in chunks of about 1 MB, so that a mapped file is not held in memory.
    dtype : dtype, optional
        What is infinite in it counts as well, as 1e39 in float32.
    start, end : int
        Row to begin at, and the one to end before.
    """
    end = len(X) if end is None else end
    if isinstance(X, SparseRows):
        return X.first_nonfinite(dtype, start, end)
    if X.dtype.kind != "f" or X.size == 0:
        return None
    step = max(1, _CHUNK_BYTES // (X.shape[1] * X.itemsize))
    for first in range(start, end, step):
        finite = finite_in(X[first : min(first + step, end)], dtype)
        if not finite.all():
            row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
            return first + int(row), int(column)
    return None


def check_finite(
    X: NDArray[Any] | SparseRows,
    dtype: DTypeLike | None = None,
    name: str = "X",
    rows: tuple[int, int | None] = (0, None),
) -> None:
    """Raise RowError about the first value that :func:`first_nonfinite` finds in some rows."""
    if (place := first_nonfinite(X, dtype, *rows)) is not None:
        raise _not_finite(X[place], Place(*place), name, dtype)


def _not_finite(value: Any, place: Place, name: str, dtype: DTypeLike | None) -> RowError:
    if np.isfinite(value):
        return RowError(name, f"has {value:g}", place, f": too large for {np.dtype(dtype)}.")
    what = "has NaN" if np.isnan(value) else "has an infinite value"
    return RowError(name, what, place, _MEND)

"""Sparse inputs: a CSR matrix that the kernels read row by row; only a batch is ever dense."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nbmlp import tuning
from nbmlp.errors import DataError

__all__ = ["SparseRows", "as_csr", "check_sparse", "finite_in", "is_sparse"]


def finite_in(values: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[np.bool_]:
    """Which values are finite, and stay so in `dtype` if it is given."""
    with np.errstate(over="ignore"):
        cast = values if dtype is None else values.astype(dtype, copy=False)
    return np.asarray(np.isfinite(cast))


class SparseRows:
    """A CSR matrix in the place of a dense array of rows.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array or csr_matrix (rows, columns)
        In canonical form, values float32 or float64, indices and row starts both int32 or both
        int64; each array in one piece.
    given : dtype, optional
        What its values were before they were converted.

    Attributes
    ----------
    table : ndarray of int64 (3,)
        Addresses of values, column numbers and row starts: what the kernels are given.
    kind : str
        Of the pieces that read its rows.
    thin : bool
        So few values that products over them alone are quicker than over rows written out.
    """

    #: Rows are found by their starts, not by a distance.
    strides = (0, 0)

    def __init__(self, matrix: Any, given: np.dtype[Any] | None = None) -> None:
        self.matrix, self.shape, self.dtype = matrix, matrix.shape, matrix.dtype
        self.given = given or self.dtype
        # Kept: the addresses hold even if the user gives his matrix other arrays meanwhile.
        self._parts = (matrix.data, matrix.indices, matrix.indptr)
        self.table = np.array([part.ctypes.data for part in self._parts], np.int64)
        values = matrix.nnz / len(self)
        self.thin = self.shape[1] >= max(tuning.THIN_COLUMNS, values * tuning.THIN_SHARE)
        self.kind = f"csr_{matrix.data.dtype.name}_{matrix.indices.dtype.name}"

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, place: Any) -> Any:
        """One row as a dense array, one element, or several rows, sparse: a slice or numbers."""
        if isinstance(place, slice | np.ndarray):
            return SparseRows(self.matrix[place])
        if isinstance(place, tuple):
            return self[place[0]][place[1]]
        return self.matrix[[place]].toarray()[0]

    def take(self, rows: NDArray[np.int64]) -> SparseRows:
        """A copy of some rows, in the order given."""
        return SparseRows(_in_one_piece(self.matrix[rows], self.dtype))

    def first_nonfinite(
        self, dtype: DTypeLike | None = None, start: int = 0, end: int = -1
    ) -> tuple[int, int] | None:
        """Row and column of the first NaN or infinity in rows start..end, None if there is none.

        With `dtype`, what is infinite in it counts as well.
        """
        first, behind = self.matrix.indptr[[start, end]].tolist()
        finite = finite_in(self.matrix.data[first:behind], dtype)
        if finite.all():
            return None
        place = first + int(np.argmin(finite))
        row = int(np.searchsorted(self.matrix.indptr, place, side="right")) - 1
        return row, int(self.matrix.indices[place])


def is_sparse(X: Any) -> bool:
    """Whether it is one of scipy's sparse matrices or arrays."""
    return hasattr(X, "tocsr")


def as_csr(X: Any, name: str = "X") -> Any:
    """A sparse matrix of any format in CSR format, safe to take rows from; CSR itself is returned.

    Raises
    ------
    DataError
        Not two-dimensional, empty, or damaged: a place outside the matrix is named.
    """
    if getattr(X, "ndim", 2) != 2 or 0 in X.shape:
        raise DataError(f"{name} has shape {X.shape}: rows and columns are needed, at least one.")
    if X.format == "coo":
        _check_coordinates(X, name)
    elif X.format in ("csr", "csc", "bsr"):
        _check_places(X, name)
    matrix = X.tocsr()
    if matrix is not X:
        _check_places(matrix, name)
    return matrix


def check_sparse(X: Any, n_features: int | None, name: str, dtype: DTypeLike) -> SparseRows:
    """Rows of a sparse matrix of any format; a CSR matrix in canonical form is not copied.

    Raises
    ------
    DataError
        What :func:`as_csr` refuses, complex numbers, or another number of columns.
    """
    matrix = as_csr(X, name)
    if n_features is not None and X.shape[1] != n_features:
        raise DataError(f"{name} has {X.shape[1]} columns: the model was fitted on {n_features}.")
    if X.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {X.dtype}: numbers are needed.")
    matrix = _in_one_piece(matrix, dtype)
    if not _rise_in_rows(matrix):
        # A matrix of its own, as the flags of the user's may lie.
        parts = (matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy())
        matrix = type(matrix)(parts, shape=matrix.shape)
        matrix.sum_duplicates()
    return SparseRows(matrix, X.dtype)


def _rise_in_rows(matrix: Any) -> bool:
    """Whether the column numbers of each row rise, so that none comes twice."""
    starts = matrix.indptr
    used = matrix.indices[: starts[-1]]
    rises = used[1:] > used[:-1]
    firsts = starts[1:-1]  # of rows: they may be less than what is before them
    rises[firsts[(firsts > 0) & (firsts < len(used))] - 1] = True
    return bool(rises.all())


def _check_places(matrix: Any, name: str) -> None:
    """Refuse a CSR, CSC or BSR matrix that would make compiled code read or write elsewhere."""
    block = matrix.blocksize if matrix.format == "bsr" else (1, 1)
    lines, width = (size // part for size, part in zip(matrix.shape, block, strict=True))
    if matrix.format == "csc":
        lines, width = width, lines
    places, starts = matrix.indices, matrix.indptr
    whole = len(starts) == lines + 1 and starts[0] == 0
    rising = whole and np.all(starts[1:] >= starts[:-1])
    if not rising or starts[-1] > min(len(places), len(matrix.data)):
        kind = matrix.format.upper()
        raise DataError(
            f"{name} is a damaged {kind} matrix: its indptr does not rise from 0 to nnz."
        )
    used = places[: starts[-1]]
    outside = (used < 0) | (used >= width)
    if outside.any():
        at = int(np.argmax(outside))
        line = int(np.searchsorted(starts, at, side="right")) - 1
        row, column = (used[at], line) if matrix.format == "csc" else (line, used[at])
        _refuse_place(matrix, name, (row * block[0], column * block[1]))


def _check_coordinates(matrix: Any, name: str) -> None:
    """Refuse a COO matrix that would make scipy's conversion write elsewhere."""
    rows, columns = matrix.row, matrix.col
    outside = (rows < 0) | (rows >= matrix.shape[0]) | (columns < 0) | (columns >= matrix.shape[1])
    if outside.any():
        at = int(np.argmax(outside))
        _refuse_place(matrix, name, (rows[at], columns[at]))


def _refuse_place(matrix: Any, name: str, place: tuple[int, int]) -> None:
    (row, column), (rows, columns), kind = place, matrix.shape, matrix.format.upper()
    raise DataError(
        f"{name} is a damaged {kind} matrix: it has a value at row {row} of {rows},"
        f" column {column} of {columns} (counted from 0)."
    )


def _in_one_piece(matrix: Any, dtype: DTypeLike) -> Any:
    """The matrix, or one like it, whose arrays have no gaps, and types that a kernel reads."""
    index: Any = np.int32 if matrix.indices.dtype == matrix.indptr.dtype == np.int32 else np.int64
    values: Any = matrix.dtype if matrix.dtype in (np.float32, np.float64) else dtype
    given = (matrix.data, matrix.indices, matrix.indptr)
    types = (values, index, index)
    wanted = [np.require(a, t, ["C", "A"]) for a, t in zip(given, types, strict=True)]
    if all(a is b for a, b in zip(given, wanted, strict=True)):
        return matrix
    return type(matrix)(tuple(wanted), shape=matrix.shape)

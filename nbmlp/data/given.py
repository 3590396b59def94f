"""Rows as users give them, of any kind: parts of them, and what to do about NaN and infinities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.checks import number
from nbmlp.data.check import check_length
from nbmlp.data.mend import Mended, bad_inputs, bad_targets, with_medians
from nbmlp.data.sparse import as_csr, is_sparse
from nbmlp.data.split import split
from nbmlp.data.table import Table, as_table
from nbmlp.data.unread import Unread
from nbmlp.errors import DataError, SpecError
from nbmlp.rows import PLAIN, Names

__all__ = ["Given", "Mended", "division"]


@dataclass(frozen=True, eq=False)
class Given:
    """Inputs, targets and weights of the same rows.

    Attributes
    ----------
    X : ndarray, CSR matrix, Table or Unread
    y : ndarray (rows,) or (rows, targets)
    weights : ndarray (rows,) or None
    names : Names
        What rows and columns are called.

    Notes
    -----
    Made by :meth:`of` its arrays are of these kinds; made directly it just holds what it is given.
    """

    X: Any
    y: Any
    weights: Any = None
    names: Names = PLAIN

    @classmethod
    def of(
        cls, X: Any, y: Any, weights: Any = None, numbers: Names | ArrayLike | None = None
    ) -> Given:
        """Data of any kind.

        Parameters
        ----------
        X, y, weights
        numbers : Names or array-like of int (rows,), optional
            What the rows are called; by default 0, 1, ...

        Raises
        ------
        DataError
            Lengths that differ, or a damaged sparse matrix.
        """
        table = as_table(X)
        data: Any = X if table is None else table
        if table is None and not isinstance(X, Unread):
            data = as_csr(X) if is_sparse(X) else np.asarray(X)
        n, y = data.shape[0] if data.shape else 0, np.asarray(y)
        check_length(y, n)
        given = None if weights is None else np.asarray(weights)
        if given is not None:
            check_length(given, n, "sample_weight")
        names = Names.of(numbers)
        if names.rows is not None:
            check_length(names.rows, n, "row_numbers")
        if table is not None and not names.columns:
            names = replace(names, columns=table.names)
        return cls(data, y, given, names)

    @classmethod
    def named(cls, X: Any, y: Any, weights: Any, numbers: Names | ArrayLike | None) -> Given:
        """The data as they are, unless there is something to say of what rows are called."""
        return cls(X, y, weights) if numbers is None else cls.of(X, y, weights, numbers)

    def take(self, rows: NDArray[np.int64]) -> Given:
        """Some of the rows."""
        X = self.X.take(rows) if isinstance(self.X, Table | Unread) else self.X[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Given(X, self.y[rows], weights, self.names.take(rows))

    # -- parts

    def divided(self, validation: Any, seed: int, classes: bool) -> tuple[Given, Given | None]:
        """Rows to train on, and rows to validate on.

        Parameters
        ----------
        validation : (X, y), Given, float or None
            Data to validate on, or the share of the rows to set aside.
        seed : int
            Of the draw.
        classes : bool
            y holds classes, whose shares both parts keep.

        Raises
        ------
        SpecError
            Anything else, or a share outside of (0, 1).
        """
        if validation is None or isinstance(validation, Given):
            return self, validation
        if isinstance(validation, tuple | list) and len(validation) == 2:
            return self, Given(validation[0], validation[1], names=_OTHERS)
        if not isinstance(validation, Real):
            raise SpecError("validation must be (X, y) or a share of the rows, e.g. 0.1.")
        share = number("validation", validation, high=1.0, closed_low=False)
        given = Given.of(self.X, self.y, self.weights, self.names)
        return given.set_aside(share, seed, classes)

    def set_aside(self, share: float, seed: int, classes: bool) -> tuple[Given, Given]:
        """Rows to train on, and a share to validate on; `classes` keep theirs in both."""
        first, second = division(self.y, share, seed, classes)
        return self.take(first), self.take(second)

    # -- values that are not finite

    def mended(self, policy: str, dtype: str) -> tuple[Given, Mended]:
        """The rows to train with, as the setting ``on_nonfinite`` says about such values."""
        if policy not in ("drop_rows", "impute"):
            return self, Mended()
        given = Given.of(self.X, self.y, self.weights, self.names)
        return given.without_bad_rows(dtype) if policy == "drop_rows" else given.imputed(dtype)

    def without_bad_rows(self, dtype: str, missing: bool = False) -> tuple[Given, Mended]:
        """The rows whose inputs are finite in `dtype`, and that have a target.

        Parameters
        ----------
        dtype : str
        missing : bool
            Inputs may be NaN: a column plan fills them in.

        Raises
        ------
        DataError
            There are none.
        """
        rows, columns = bad_inputs(self.X, dtype, missing)
        return self.without(np.union1d(rows, bad_targets(self.y, dtype)), columns)

    def imputed(self, dtype: str) -> tuple[Given, Mended]:
        """The median of a column's finite values for those that are not; bad targets left out.

        Raises
        ------
        DataError
            A column or the targets have no finite value.
        """
        rows, columns = bad_inputs(self.X, dtype)
        given = self
        if len(rows):
            given = replace(self, X=with_medians(self.X, rows, columns, self.names))
        return given.without(bad_targets(self.y, dtype), columns, len(rows))

    def without(
        self, bad: NDArray[np.int64], columns: NDArray[np.int64], imputed: int = 0
    ) -> tuple[Given, Mended]:
        """Without some rows, in rising order; `columns` held what is not finite.

        Raises
        ------
        DataError
            None is left.
        """
        if len(bad) == len(self.y):
            raise DataError("every row has a value that is NaN or infinite: none is left.")
        names, columns = self.names, np.unique(columns)
        done = Mended(
            tuple(names.row_numbers(bad).tolist()), imputed, names.column_numbers(columns),
            names.column_words(columns),
        )  # fmt: skip
        if not len(bad):
            return self, done
        found = self.take(np.delete(np.arange(len(self.y)), bad))
        return replace(found, y=_without_gaps(found.y)), done


def division(
    y: NDArray[Any], share: float, seed: int, classes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows to train on and of those to validate on, as `Given.set_aside` says."""
    stratify = None
    if y.ndim == 1 and (classes or y.dtype.kind in "biuUO"):
        texts = y if y.dtype.kind in "biuf" else y.astype(str)
        few = np.unique(texts).size <= len(y) // 10
        stratify = y if few else None
    return split(len(y), share, seed, stratify)


#: Rows that are none of those to train on.
_OTHERS = Names(X="validation X", y="validation y")


def _without_gaps(y: NDArray[Any]) -> NDArray[Any]:
    """Numbers that were Python's objects because of gaps among them, in a type of their own."""
    if y.dtype != object:
        return y
    cells = y.ravel().tolist()
    numbers = all(isinstance(c, int | float | np.number) and not isinstance(c, bool) for c in cells)
    return np.array(cells).reshape(y.shape) if numbers else y

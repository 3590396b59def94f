"""What a reader hands over: inputs, targets, their names, and the test part if there is one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.split import split
from nbmlp.data.table import Table
from nbmlp.errors import DataError
from nbmlp.rows import Names

__all__ = ["Choice", "ColumnRef", "Dataset", "choose", "from_matrix"]

#: One column, or several, by name or by number (negative counts from the end).
ColumnRef = str | int | Sequence[str | int]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data with their names, as read from one source.

    Attributes
    ----------
    X : ndarray of shape (rows, features) or Table
        A matrix (uint8 where the source holds bytes) or named columns of mixed kinds.
    y : ndarray of shape (rows,) or (rows, targets), or None
        Labels or numbers as the source has them; None when the source has no target.
    feature_names : tuple of str
        One per column of X.
    target_names : tuple of str
        One per target; empty without y.
    test : Dataset or None
        The part that the source keeps for testing.
    source : str
        Where the data come from, for messages and reports.
    numbers : ndarray of int64 (rows,), or None
        Which rows of the source these are; None: all, in order.
    whole : bool
        The targets are whole numbers, which only those that are missing make floating-point ones.
    """

    X: NDArray[Any] | Table
    y: NDArray[Any] | None = None
    feature_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    test: Dataset | None = None
    source: str = ""
    numbers: NDArray[np.int64] | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.y is not None and len(self.y) != len(self.X):
            raise DataError(
                f"{self.source or 'the data'}: X has {len(self.X)} rows and y {len(self.y)}:"
                " each row needs its target."
            )

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        kind = "table" if isinstance(self.X, Table) else self.X.dtype
        parts = [f"{self.source}: {self.X.shape[0]} x {self.X.shape[1]} {kind}"]
        if self.y is not None:
            parts.append(f"target {', '.join(self.target_names)}")
        if self.test is not None:
            parts.append(f"{len(self.test)} test rows")
        return f"Dataset({'; '.join(parts)})"

    def take(self, rows: NDArray[Any] | slice) -> Dataset:
        """Some rows, without the test part."""
        X = self.X.take(rows) if isinstance(self.X, Table) else self.X[rows]
        y = None if self.y is None else self.y[rows]
        numbers = np.arange(len(self)) if self.numbers is None else self.numbers
        return replace(self, X=X, y=y, test=None, numbers=numbers[rows])

    @property
    def names(self) -> Names:
        """What messages call its rows and columns."""
        columns, source = self.feature_names, self.source
        if not columns and isinstance(self.X, Table):
            columns = self.X.names
        return Names(
            self.numbers, columns, targets=self.target_names, X=source or "X", y=source or "y"
        )

    def split(self, fraction: float, seed: int = 0, stratify: bool = False) -> Dataset:
        """The same data with `fraction` of the rows set aside as the test part.

        Parameters
        ----------
        fraction, seed : float, int
            See :func:`nbmlp.data.split.split`.
        stratify : bool
            Keep the shares of the classes in y.
        """
        train, test = split(len(self), fraction, seed, self.y if stratify else None)
        return replace(self.take(train), test=self.take(test))


class Choice(NamedTuple):
    """Numbers of the columns that are inputs and of those that are targets."""

    features: list[int]
    targets: list[int]


def _number(ref: str | int, names: Sequence[str], source: str) -> int:
    if isinstance(ref, str) and ref in names:
        return names.index(ref)
    try:
        number = int(ref) if isinstance(ref, str) else index(ref)
    except (ValueError, TypeError):
        near = difflib.get_close_matches(str(ref), names, n=1, cutoff=0.5)
        shown = ", ".join(names[:8]) + (" and so on" if len(names) > 8 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"its columns are {shown}."
        raise DataError(f"{source} has no column {ref!r}: {hint}") from None
    if not -len(names) <= number < len(names):
        raise DataError(
            f"{source} has no column {number}: its {len(names)} columns are 0 to {len(names) - 1}."
        )
    return number % len(names)


def _numbers(refs: ColumnRef, names: Sequence[str], source: str) -> list[int]:
    each = list(refs) if isinstance(refs, Iterable) and not isinstance(refs, str) else [refs]
    return [_number(ref, names, source) for ref in each]


def choose(
    names: Sequence[str],
    target: ColumnRef | None,
    columns: ColumnRef | None,
    source: str,
    require_target: bool = True,
) -> Choice:
    """Tell inputs from targets.

    Parameters
    ----------
    names : sequence of str
        All columns of the source.
    target, columns : names or numbers, or None
        Targets (None: there are none) and inputs (None: all that are not targets).
    source : str
        Named in errors.
    require_target : bool
        When False, a source without the target columns is accepted: it has no targets.

    Raises
    ------
    DataError
        A column that does not exist (the nearest name is suggested), one that is both input
        and target, or no input left.
    """
    try:
        targets = [] if target is None else _numbers(target, names, source)
    except DataError:
        if require_target:
            raise
        targets = []
    if columns is None:
        features = [j for j in range(len(names)) if j not in targets]
    else:
        features = _numbers(columns, names, source)
    both = set(features) & set(targets)
    if both:
        raise DataError(f"{source}: column {names[min(both)]!r} is both input and target.")
    if not features:
        raise DataError(f"{source}: no input columns are left beside the target.")
    return Choice(features, targets)


def _take_columns(A: NDArray[Any], columns: list[int]) -> NDArray[Any]:
    """A view when the columns are neighbours (a memory-mapped file stays mapped), else a copy."""
    first, count = columns[0], len(columns)
    if columns == list(range(first, first + count)):
        return A[:, first : first + count]
    return A[:, columns]


def from_matrix(
    A: NDArray[Any],
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    y: NDArray[Any] | None = None,
    source: str = "",
    require_target: bool = True,
) -> Dataset:
    """A Dataset out of one array, its targets among the columns or in `y`.

    Parameters
    ----------
    A : ndarray of shape (rows, ...)
        Pictures of any shape are laid out as rows.
    target, columns, require_target
        See :func:`choose`.
    y : ndarray of shape (rows,) or (rows, targets) or None
        Targets beside the array.
    source : str
        Named in errors.

    Raises
    ------
    DataError
        The array has fewer than two dimensions or holds no numbers; as :func:`choose`.
    """
    if A.dtype.kind not in "biuf":
        raise DataError(f"{source} holds {A.dtype}: inputs must be numbers.")
    if A.ndim < 2:
        raise DataError(f"{source} has shape {A.shape}: inputs need rows and columns.")
    A = A.reshape(len(A), int(np.prod(A.shape[1:])))
    names = [f"x{j}" for j in range(A.shape[1])]
    choice = choose(names, target, columns, source, require_target)
    target_names: tuple[str, ...] = ()
    if choice.targets:
        y = A[:, choice.targets]
        y = y[:, 0] if len(choice.targets) == 1 else y
        target_names = tuple(names[j] for j in choice.targets)
    elif y is not None:
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        target_names = ("y",) if y.ndim == 1 else tuple(f"y{j}" for j in range(y.shape[1]))
    X = _take_columns(A, choice.features)
    if X.strides[1] != X.itemsize:
        X = np.ascontiguousarray(X)
    return Dataset(
        X=X,
        y=y,
        feature_names=tuple(names[j] for j in choice.features),
        target_names=target_names,
        source=source,
    )

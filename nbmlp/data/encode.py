"""Labels of any kind to class numbers and back, and the guess whether y holds classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.data.table import is_missing
from nbmlp.errors import DataError, Place, RowError, listing

__all__ = ["Labels", "Task", "infer_task"]

Task = Literal["classes", "regression"]
Label = int | float | bool | str

#: More distinct whole numbers than this are quantities, not classes.
MOST_INTEGER_CLASSES = 100

_NEEDED = ": each row needs its target; mend it or leave that row out."
_KINDS: dict[str, Callable[[Any], Label]] = {"int": int, "float": float, "bool": bool, "str": str}


def _column(y: ArrayLike, name: str) -> NDArray[Any]:
    """One-dimensional bool, int64, float64 or text, without missing entries."""
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"{name} has shape {values.shape}: labels are one column; of one-hot rows take"
            " argmax(axis=1)."
        )
    if values.dtype == object:
        values = _from_objects(values, name)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            what = "has NaN" if np.isnan(values[bad[0]]) else "has an infinite value"
            raise RowError(name, what, Place(int(bad[0])), _NEEDED)
        return values.astype(np.float64)
    if values.dtype.kind not in "bU":
        raise DataError(f"{name} holds {values.dtype}: labels are whole numbers, text or booleans.")
    return values


def _from_objects(values: NDArray[Any], name: str) -> NDArray[Any]:
    cells = values.tolist()
    for row, cell in enumerate(cells):
        if is_missing(cell):
            raise RowError(name, "has no value", Place(row), _NEEDED)
    kinds = {type(cell) for cell in cells}
    if len(kinds) > 1:
        first = type(cells[0])
        row = next(r for r, cell in enumerate(cells) if type(cell) is not first)
        kinds_met = f"mixes {first.__name__} with {type(cells[row]).__name__}"
        raise RowError(name, kinds_met, Place(row), ": make all labels one type.")
    return np.array(cells) if cells else np.empty(0, dtype=np.int64)


def _kind(values: NDArray[Any]) -> str:
    return {"b": "bool", "i": "int", "f": "float", "U": "str"}[values.dtype.kind]


@dataclass(frozen=True)
class Labels:
    """The classes of a data set, in rising order.

    Attributes
    ----------
    classes : tuple
        All of one kind: int (gaps allowed), str, bool or float. The class number is the index.
    kind : str
        ``"int"``, ``"str"``, ``"bool"`` or ``"float"``.
    """

    classes: tuple[Label, ...]
    kind: str

    @classmethod
    def fit(cls, y: ArrayLike) -> Labels:
        """The distinct labels of `y`.

        Parameters
        ----------
        y : array-like of shape (rows,) or (rows, 1)
            Whole numbers, text, booleans, or floating-point numbers.

        Raises
        ------
        DataError
            Missing labels or mixed kinds (the row is named), another shape, or no rows.
        """
        values = _column(y, "y")
        if not values.size:
            raise DataError("y has no rows: there are no labels to learn.")
        return cls(tuple(np.unique(values).tolist()), _kind(values))

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def _array(self) -> NDArray[Any]:
        return np.array(self.classes)

    def encode(self, y: ArrayLike, name: str = "y") -> NDArray[np.int32]:
        """Class numbers of labels.

        Returns
        -------
        ndarray of int32, shape (rows,)
            Index into `classes`.

        Raises
        ------
        DataError
            A label that is not among the classes; its first row is named.
        """
        values, classes = _column(y, name), self._array
        if (values.dtype.kind == "U") != (self.kind == "str") and values.size:
            raise self._unseen(values, 0, name)
        codes = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
        wrong = np.flatnonzero(classes[codes] != values)
        if wrong.size:
            raise self._unseen(values, int(wrong[0]), name)
        return codes.astype(np.int32)

    def _unseen(self, values: NDArray[Any], row: int, name: str) -> RowError:
        shown = listing([repr(label) for label in self.classes], 10)
        rest = f", which was not seen when the labels were fitted: they are {shown}."
        return RowError(name, f"has the label {values[row].item()!r}", Place(row), rest)

    def decode(self, codes: ArrayLike) -> NDArray[Any]:
        """Labels of class numbers, in the kind they came in (int64, float64, bool or str)."""
        labels: NDArray[Any] = self._array[np.asarray(codes)]
        return labels

    def all(self) -> NDArray[Any]:
        """Each label once, in the order of class numbers."""
        return self._array.copy()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the kind is kept, so that 1, 1.0, True and "1" stay apart."""
        return {"kind": self.kind, "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Labels:
        """The inverse of :meth:`to_dict`; raises DataError on anything else."""
        try:
            read = _KINDS[values["kind"]]
            return cls(tuple(read(c) for c in values["classes"]), str(values["kind"]))
        except (KeyError, TypeError, ValueError):
            raise DataError("the stored labels cannot be read: no kind or classes.") from None


def infer_task(y: ArrayLike) -> Task:
    """Guess whether `y` holds classes or quantities.

    Text and booleans are classes. Whole numbers are classes if there are at most two distinct
    ones, or at most 100 and, on average, at least two rows of each. Floating-point numbers are
    quantities even where all of them are whole, and so is anything with several columns: who
    means otherwise says so with the task.

    Parameters
    ----------
    y : array-like of shape (rows,) or (rows, targets)

    Returns
    -------
    str
        ``"classes"`` or ``"regression"``.

    Raises
    ------
    DataError
        As :meth:`Labels.fit`.
    """
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] > 1:
        return "regression"
    if values.dtype.kind == "f":
        return "regression"
    values = _column(values, "y")
    if values.dtype.kind in "bU":
        return "classes"
    if values.dtype.kind == "f":
        return "regression"
    most = min(MOST_INTEGER_CLASSES, max(2, len(values) // 2))
    return "classes" if len(np.unique(values)) <= most else "regression"

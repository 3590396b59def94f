"""What users call the rows and columns of their data, carried to every message about them.

Code that checks or computes counts rows and columns in the arrays that it was given. These are
parts of what the user has: rows were dropped, set aside or drawn, columns scaled and encoded. So
each part of the data takes along a :class:`Names`, and what goes wrong in it is told by these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.errors import DataError, Place, RowError

__all__ = ["PLAIN", "Names"]


@dataclass(frozen=True, eq=False)
class Names:
    """What the rows and columns of some arrays are called in the user's data.

    Attributes
    ----------
    rows : ndarray of int64 (rows,), or None
        Numbers of the rows; None: 0, 1, ...
    columns : tuple of str
        Names of the user's columns, in their order; empty where they have none.
    places : ndarray of int64 (columns of X,), or None
        Which of the user's columns each column of X comes from; None: 0, 1, ...
    targets : tuple of str
        Names of the columns of y.
    X, y : str
        What the sentence calls them, e.g. both by the name of their file.
    """

    rows: NDArray[np.int64] | None = None
    columns: tuple[str, ...] = ()
    places: NDArray[np.int64] | None = None
    targets: tuple[str, ...] = ()
    X: str = "X"
    y: str = "y"

    @classmethod
    def of(cls, numbers: Names | ArrayLike | None) -> Names:
        """The names as they are, or those of rows with the numbers given.

        Raises
        ------
        DataError
            Numbers that are not whole, or not in one row.
        """
        if numbers is None:
            return PLAIN
        if isinstance(numbers, Names):
            return numbers
        rows = np.asarray(numbers)
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise DataError("row_numbers must be whole numbers.")
        return cls(rows.astype(np.int64))

    # -- parts of the data

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Of some of the rows."""
        return replace(self, rows=self.row_numbers(rows))

    def take_columns(self, places: NDArray[Any]) -> Self:
        """Of an X whose columns come from these columns of X."""
        places = np.asarray(places, np.int64)
        return replace(self, places=places if self.places is None else self.places[places])

    # -- what they are called

    def row_numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of some rows."""
        return rows if self.rows is None else self.rows[rows]

    def column_numbers(self, columns: ArrayLike) -> tuple[int, ...]:
        """Numbers of the user's columns that some columns of X come from, each once."""
        given = np.asarray(columns, np.int64)
        found = given if self.places is None else self.places[given]
        return tuple(dict.fromkeys(found.tolist()))

    def column_words(self, columns: ArrayLike) -> tuple[str, ...]:
        """The same by name, in quotes, where they have names."""
        numbers = self.column_numbers(columns)
        return tuple(repr(self.columns[j]) if self.columns else str(j) for j in numbers)

    def place(self, array: str, row: int, column: int | None = None) -> Place:
        """Where the user finds a row of X or y, or a value in it."""
        row = row if self.rows is None else int(self.rows[row])
        if array == "y":
            known = self.targets if column is not None or len(self.targets) == 1 else ()
            return Place(row, column, known[column or 0] if known else "")
        if array == "X" and column is not None:
            column = column if self.places is None else int(self.places[column])
            return Place(row, column, self.columns[column] if self.columns else "")
        return Place(row, column)

    def title(self, array: str) -> str:
        """What a sentence calls X or y."""
        return {"X": self.X, "y": self.y}.get(array, array)

    def called(self, error: RowError) -> RowError:
        """The error in the user's words; unchanged if it has already been put into them."""
        if error.array not in ("X", "y", "sample_weight"):
            return error
        place = self.place(error.array, error.place.row, error.place.column)
        place = place._replace(name=error.place.name or place.name)
        told = RowError(self.title(error.array), error.fault, place, error.rest)
        return told.with_traceback(error.__traceback__)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong with a row in here is told in the user's words."""
        try:
            yield
        except RowError as error:
            raise self.called(error) from None


#: Of data that are all that the user has given.
PLAIN = Names()

"""Every exception that nbmlp raises on purpose.

Each message is one sentence or two: what was wrong, where, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Cell",
    "DataError",
    "MissingPackageError",
    "ModelFileError",
    "NbmlpError",
    "NonFiniteError",
    "NotFittedError",
    "Place",
    "RowError",
    "SpecError",
    "TrainingWarning",
    "listing",
    "missing_package",
    "unknown_name",
]


class NbmlpError(Exception):
    """Base of all errors raised by nbmlp."""


class SpecError(NbmlpError, ValueError):
    """A setting is wrong: unknown name, value out of range, or two that contradict."""


class DataError(NbmlpError, ValueError):
    """The data are wrong: shape, dtype, a NaN, an unseen label, an unreadable file."""


class Place(NamedTuple):
    """A row of the data, or one value of it; prints as part of a sentence.

    Attributes
    ----------
    row : int
        Counted from 0; of a file, header and blank lines left out.
    column : int or None
        Counted from 0; None where the row as a whole is meant, or has but one value.
    name : str
        Of the column; empty where it has none.
    """

    row: int
    column: int | None = None
    name: str = ""

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column}"
        column = f", column {self.name!r}" if self.name else column
        return f"row {self.row}{column} (counted from 0)"


class RowError(DataError):
    """One row of the data is wrong.

    Attributes
    ----------
    array : str
        What holds it: ``"X"``, ``"y"``, ``"sample_weight"``, or what the user calls these.
    fault : str
        What is wrong, as a verb and its object, e.g. ``"has NaN"``.
    place : Place
    rest : str
        Of the sentence, from its colon or comma.

    Notes
    -----
    Who raises it counts rows and columns in the arrays at hand; who has cut these arrays out of
    the user's data puts in what they are called there: :meth:`nbmlp.rows.Names.called`.
    """

    def __init__(self, array: str, fault: str, place: Place, rest: str) -> None:
        super().__init__(array, fault, place, rest)
        self.array, self.fault, self.place, self.rest = array, fault, place, rest

    def __str__(self) -> str:
        return f"{self.array} {self.fault} at {self.place}{self.rest}"


class ModelFileError(NbmlpError, ValueError):
    """A model file or checkpoint is damaged, too new, or not one of ours."""


class MissingPackageError(NbmlpError, ImportError):
    """An optional package is not installed; the message says how to install it."""


class NotFittedError(NbmlpError, RuntimeError):
    """Parameters were asked for before the model had any."""


class Cell(NamedTuple):
    """A value of the data that is to blame.

    Attributes
    ----------
    array : str
        ``"X"`` or ``"y"``.
    row, column : int
        Its place there.
    value : float
    """

    array: str
    row: int
    column: int
    value: float


class NonFiniteError(NbmlpError, ArithmeticError):
    """Training met a NaN or an infinity and stopped; the last good weights are kept.

    Attributes
    ----------
    step : int
        Updates done (since the first fit) when it was met.
    operation : str
        What gave the first such value: ``"input"``, ``"product z of layer 2"``, ``"activation of
        layer 2"``, ``"loss"``, ``"delta of layer 1"``, ``"gradient of W1"``, ``"update of
        W2"``, or an optimizer's vector, e.g. ``"optimizer's mean_square of W2"``.
    layer : int or None
        Its layer (1 = first hidden); None for inputs.
    blame : str
        ``"data"`` or ``"dynamics"``.
    row, column : int or None
        Of the first value to blame in the data; with the dynamics to blame, the first row where
        the operation failed, if it has rows.
    rows, units : tuple of int
        All rows of the batch, and all columns of X or units of the layer, where the operation
        gave such a value. Rows are those of the data as given.
    columns : tuple of int
        All columns of the batch's data that are to blame.
    cells : tuple of Cell
        The values to blame, the first hundred.
    batch_rows : ndarray of int64, or None
        All rows of the batch, rising.
    bundle : object or None
        The failed update: ``error.bundle.save(path)`` writes what ``nbmlp replay`` repeats.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int = 0,
        operation: str = "",
        layer: int | None = None,
        blame: str = "dynamics",
        row: int | None = None,
        column: int | None = None,
        rows: tuple[int, ...] = (),
        units: tuple[int, ...] = (),
        cells: tuple[Cell, ...] = (),
        columns: tuple[int, ...] = (),
        batch_rows: Any = None,
    ) -> None:
        super().__init__(message)
        self.step, self.operation, self.layer, self.blame = step, operation, layer, blame
        self.rows, self.units, self.cells, self.columns = rows, units, cells, columns
        self.row, self.column = row, column
        self.batch_rows = batch_rows
        self.bundle: Any = None


class TrainingWarning(UserWarning):
    """Training ended early or differently than asked; the model is usable."""


def listing(items: Sequence[object], most: int) -> str:
    """The first few of some items, as part of a sentence."""
    return ", ".join(map(str, items[:most])) + (", ..." if len(items) > most else "")


def missing_package(purpose: str, packages: str, extra: str) -> MissingPackageError:
    """Build the error for an optional package that is not installed.

    Parameters
    ----------
    purpose : str
        What was asked for, e.g. ``"a learning curve"``.
    packages : str
        What it needs, e.g. ``"matplotlib"``.
    extra : str
        The extra of nbmlp that brings it.
    """
    return MissingPackageError(f'{purpose} needs {packages}: pip install "nbmlp[{extra}]".')


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> SpecError:
    """Build the error for an unknown name, with the nearest valid one.

    Parameters
    ----------
    kind : str
        What the name stands for, e.g. ``"activation"``.
    name : object
        What the user gave.
    valid : iterable of str
        The names that exist.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of " + ", ".join(names) + "."
    return SpecError(f"unknown {kind} {name!r}: {hint}")

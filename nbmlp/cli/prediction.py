"""``nbmlp predict``: rows in, labels or numbers out, as CSV, a sentence or JSON."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nbmlp.cli import files, report
from nbmlp.data.origin import Origin
from nbmlp.errors import DataError
from nbmlp.predictions import prediction_names

if TYPE_CHECKING:
    from nbmlp.data import Dataset
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = ["Predictions", "pick_row", "predict_rows", "print_row"]


@dataclass(frozen=True)
class Predictions:
    """Predictions as columns of a table.

    Attributes
    ----------
    names : tuple of str
        Of the columns.
    columns : ndarray of shape (rows, columns)
        Text.
    """

    names: tuple[str, ...]
    columns: NDArray[np.str_]

    def write(self, file: TextIO) -> None:
        """Write all as CSV, with a header."""
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.names)
        writer.writerows(self.columns)

    def save(self, path: str | None) -> None:
        """Write them to a file, whole or not at all, or to stdout."""
        if path is None:
            self.write(sys.stdout)
        else:
            files.write_text(path, self.write)


def _texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Columns of text; numbers with the digits that they have."""
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.dtype.kind != "f":
        return values.astype(str)
    digits = 8 if values.dtype == np.float32 else 9
    return np.char.mod(f"%.{digits}g", values)


def predict_rows(model: MLP | TabularModel, data: Dataset, proba: bool) -> Predictions:
    """Predict all rows.

    Parameters
    ----------
    model : MLP or TabularModel
    data : Dataset
    proba : bool
        Add a column with each class's probability.

    Raises
    ------
    DataError
        A value is not finite or text stands where numbers should.
    SpecError
        Probabilities of a net that predicts numbers.
    """
    with data.names.telling():
        found = model.predict(data.X)
    width = 1 if found.ndim == 1 else found.shape[1]
    origin = Origin.noted(model.notes)
    known = origin.target_names if origin else ()
    columns, labels = _texts(found), []
    if proba:
        shares = model.predict_proba(data.X)
        assert model.classes is not None
        labels = model.classes.tolist()
        columns = np.hstack([columns, _texts(shares)])
    return Predictions(prediction_names(known, width, labels), columns)


def pick_row(data: Dataset, row: int) -> Dataset:
    """One row of the data; raises DataError when there is no such row."""
    if not 0 <= row < len(data):
        raise DataError(f"{data.source} has no row {row}: its rows are 0 to {len(data) - 1}.")
    return data.take(np.array([row]))


def print_row(model: MLP | TabularModel, data: Dataset, row: int, as_json: bool) -> None:
    """Predict one row and say so, beside the truth where the data tell it.

    Parameters
    ----------
    model : MLP or TabularModel
    data : Dataset
    row : int
        Counted from 0.
    as_json : bool
        Print an object instead of a sentence.
    """
    one = pick_row(data, row)
    with one.names.telling():
        found = model.predict(one.X)[0]
    truth = None if one.y is None else one.y[0]
    shares = _shares(model, one)
    if as_json:
        values = {"row": row, "prediction": _listable(found), "target": _listable(truth)}
        report.print_json(values if shares is None else {**values, "probabilities": shares})
        return
    sentence = f"row {row} of {data.source}: predicted {_worded(found)}"
    if shares is not None:
        sentence += f" with probability {max(shares.values()):.4f}"
    print(sentence + ("" if truth is None else f"; the data say {_worded(truth)}"))


def _shares(model: MLP | TabularModel, one: Dataset) -> dict[str, float] | None:
    """Probability of each label, where the net gives any."""
    if model.classes is None or not model.gives_probabilities:
        return None
    shares = model.predict_proba(one.X)[0]
    return dict(zip(map(str, model.classes.tolist()), shares.tolist(), strict=True))


def _listable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _worded(value: Any) -> str:
    return ", ".join(_texts(np.atleast_1d(value))[:, 0])

"""Text tables (.csv, .tsv, space-separated; gzip or not): what of them is inputs and targets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import Choice, ColumnRef, Dataset, choose
from nbmlp.data.layout import Dialect, guess_layout
from nbmlp.data.notation import read_columns
from nbmlp.data.passes import Source
from nbmlp.data.table import Table
from nbmlp.errors import DataError

__all__ = ["read_delimited", "whole_numbers"]


def whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """As int64 if every value is a whole number that int64 holds, else unchanged."""
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    return integers if (integers == values).all() else values


def read_delimited(
    path: Path,
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    header: bool | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    text: Collection[str] = (),
    require_target: bool = True,
) -> Dataset:
    """Read a text table.

    Inputs that are all numbers become a matrix: uint8 if all are whole numbers of 0 to 255, else
    float64 with NaN where missing. If any is text they become a Table. A target of whole numbers
    becomes int64, other numbers float64, text an object array.

    Parameters
    ----------
    path : Path
        The file, gzip or not.
    target, columns, require_target
        See :func:`nbmlp.data.dataset.choose`.
    header : bool, optional
        See :func:`nbmlp.data.layout.guess_layout`.
    decimal, encoding, separator : str, optional
        See :class:`nbmlp.data.layout.Dialect`; guessed by default.
    text : collection of str
        Names of columns that are text, whatever they hold.

    Raises
    ------
    DataError
        No rows, a ragged line (its number is given), two columns of one name, a column that
        does not exist, bytes that the encoding does not have, numbers that could be read in two
        ways.
    """
    dialect = Dialect(decimal, encoding, separator)
    layout = guess_layout(path, header, dialect)
    choice = choose(layout.names, target, columns, str(path), require_target)
    known = {j for j in (*choice.features, *choice.targets) if layout.names[j] in text}
    found = read_columns(Source(path, layout, choice), dialect.decimal, known)
    X, Y, texts = found.finish()
    if any(j in texts for j in choice.features):
        numeric = {j: np.ascontiguousarray(X[:, k]) for k, j in enumerate(found.features)}
        cells = numeric | texts
        inputs: NDArray[Any] | Table = Table({layout.names[j]: cells[j] for j in choice.features})
    else:
        inputs = X
    return Dataset(
        X=inputs,
        y=_target(choice, Y, texts, path),
        feature_names=tuple(layout.names[j] for j in choice.features),
        target_names=tuple(layout.names[j] for j in choice.targets),
        source=str(path),
    )


def _target(
    choice: Choice, Y: NDArray[Any], text: dict[int, NDArray[Any]], path: Path
) -> NDArray[Any] | None:
    if not choice.targets:
        return None
    if len(choice.targets) == 1:
        only = choice.targets[0]
        return text[only] if only in text else whole_numbers(Y[:, 0])
    if any(j in text for j in choice.targets):
        raise DataError(f"{path}: several targets have to be numbers, and one of these is text.")
    return Y.astype(np.float64)

"""What `fit` makes of files: rows to train and to validate on, and what the model is to note."""

from __future__ import annotations

import os
from numbers import Real
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from nbmlp.checks import number
from nbmlp.data.dataset import ColumnRef
from nbmlp.data.given import Given
from nbmlp.data.origin import Origin
from nbmlp.errors import SpecError
from nbmlp.spec import TaskSpec, TrainSpec
from nbmlp.stream.making import Making
from nbmlp.stream.prepare import Wanted, prepare, prepare_more
from nbmlp.stream.source import names_files

__all__ = ["FromFiles", "check_arrays", "check_files", "from_files", "refuse_files"]


class FromFiles(NamedTuple):
    """Rows out of files.

    Attributes
    ----------
    train : Given
    held : Given or None
    remark : str
        What is odd about their values, in a sentence; empty where nothing is.
    texts : tuple of str
        Columns of text.
    """

    train: Given
    held: Given | None
    remark: str
    texts: tuple[str, ...]

    @property
    def origin(self) -> Origin:
        """What the model has to know to read such rows again."""
        plan, names = self.train.X.plan, self.train.names
        texts = self.texts + (names.targets if self.train.y.dtype == object else ())
        return Origin(plan.columns, names.targets, True, names.X, texts)


def from_files(
    files: str | os.PathLike[str],
    task: TaskSpec,
    train: TrainSpec,
    making: Making,
    target: ColumnRef | None,
    columns: ColumnRef | None,
    weights: ArrayLike | None,
    validation: Any,
) -> FromFiles:
    """Make the rows of files ready.

    Parameters
    ----------
    files : path, folder, pattern or address
    task, train : TaskSpec, TrainSpec
    making : Making
    target, columns : names or numbers, or None
    weights : array-like (rows,) or the name of a column, optional
    validation : float, files, (X, y) or None

    Raises
    ------
    DataError, SpecError
    """
    if train.on_nonfinite in ("drop_rows", "impute"):
        raise SpecError(
            f"on_nonfinite={train.on_nonfinite!r} does not go with files: missing values are filled"
            " in by the column plan, and infinite ones have to be mended there."
        )
    share = None
    if isinstance(validation, Real) and not isinstance(validation, bool):
        share = number("validation", validation, high=1.0, closed_low=False)
    wanted = Wanted(target, columns, task, train.seed, share, weights)
    given, held, told = prepare(files, wanted, making)
    if names_files(validation):
        held = prepare_more(validation, given.X.plan, given.names.targets, making)
    elif share is None:
        _, held = given.divided(validation, train.seed, False)
    return FromFiles(given, held, *told)


def check_arrays(y: object, target: object, columns: object, validation: object) -> None:
    """Refuse what goes with files only. Raises SpecError."""
    if target is not None or columns is not None:
        raise SpecError("target and columns name those of files: give y beside arrays.")
    if y is None:
        raise SpecError("y is missing: give the targets, or files and target=, their column.")
    if names_files(validation):
        raise SpecError("validation names files, and X is data: give (X, y) there, or a share.")


def check_files(read: bool, y: object, row_numbers: object, *others: object) -> None:
    """Refuse what goes with arrays only, and of files that are `read` what was said there.

    Raises
    ------
    SpecError
    """
    if y is not None or row_numbers is not None:
        raise SpecError("y and row_numbers do not go with files: target= names their column.")
    if read and any(other is not None for other in others):
        raise SpecError(
            "target, columns, validation and sample_weight of files are named in read_files."
        )


def refuse_files(data: object, who: str, instead: str) -> None:
    """Raise SpecError where files are given to what takes arrays only."""
    if names_files(data):
        raise SpecError(f"{who} takes arrays and tables, no files: {instead}.")

"""From options to rows: what to train on, what to test on, and what is wrong with them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.cli.groups import Learning, Parts, Source
from nbmlp.data import (
    Dataset,
    Given,
    Labels,
    Mended,
    Table,
    check_finite,
    check_y,
    first_nonfinite,
    infer_task,
    prepared,
    read,
)
from nbmlp.data.delimited import whole_numbers
from nbmlp.data.mend import bad_inputs
from nbmlp.data.origin import Origin
from nbmlp.errors import DataError, Place, RowError, SpecError, TrainingWarning, listing
from nbmlp.spec import TaskSpec
from nbmlp.stream import ReadyRows, names_many

if TYPE_CHECKING:
    from nbmlp.mlp import MLP

__all__ = ["Rows", "read_again", "read_training"]


@dataclass(frozen=True)
class Rows:
    """Data to train with.

    Attributes
    ----------
    train : Dataset
    test : Dataset or None
    set_aside : bool
        The test rows were drawn from the source.
    mended : Mended
        What was done about values that are not finite.
    """

    train: Dataset
    test: Dataset | None
    set_aside: bool = False
    mended: Mended = field(default_factory=Mended)

    def measurable(self, dtype: str) -> Rows:
        """Without training rows that cannot be predicted: those that were ignored."""
        X = self.train.X
        if isinstance(X, Table | ReadyRows) or first_nonfinite(X, dtype) is None:
            return self
        given, _ = _given(self.train).without_bad_rows(dtype)
        return replace(self, train=_of(given, self.train))

    @property
    def targets(self) -> NDArray[Any]:
        """Targets of the training rows."""
        assert self.train.y is not None
        return self.train.y

    @property
    def origin(self) -> Origin:
        """What the model has to know to read such rows again."""
        return Origin.of(self.train)


def _form(source: Source) -> dict[str, Any]:
    return {
        "target": source.target, "columns": source.columns, "variables": source.variables,
        "header": source.header, "decimal": source.decimal, "encoding": source.encoding,
        "separator": source.separator,
    }  # fmt: skip


def _name(source: Source) -> str:
    if source.data is None:
        raise SpecError(
            "--data is missing: name a file, a folder with MNIST's files, digits or glyphs."
        )
    if source.stream or names_many(source.data):
        raise SpecError(
            f"{source.data} is read by batches, which train, predict and evaluate of one net do:"
            " name one file here, and leave --stream out."
        )
    return source.data


def read_training(
    source: Source, parts: Parts, learning: Learning, model: MLP, any_values: bool = False
) -> Rows:
    """Read, check and divide the data of a training.

    Parameters
    ----------
    source, parts, learning
    model : MLP
        Its task says what targets are; its seed draws the test rows; its `on_nonfinite` says what
        to do about NaN, and about what is infinite in its element type.
    any_values : bool
        Values that are not finite are let through: a diagnosis will name them.

    Raises
    ------
    DataError, SpecError
        Whatever is wrong, with row and column of the file.
    """
    data = read(_name(source), **_form(source))
    if data.y is None:
        raise DataError(
            f"{data.source} needs a target column, named with --target: its columns are"
            f" {listing(data.feature_names, 8)}."
        )
    train, dtype, task = model.train_spec, model.dtype, model.get_params()["task"]
    data, mended = _mended(data, train.on_nonfinite, dtype)
    data = prepared(data, True if _wishes(model) else learning.standardise, task)
    if any_values:
        return _divide(data, source, parts, train.seed, False)
    ignore = train.on_nonfinite == "ignore"
    classes = _check(data, task, dtype, finite=not ignore)
    rows = _divide(data, source, parts, train.seed, classes)
    if rows.test is not None:
        policy = "raise" if train.on_nonfinite in ("raise", "warn") else "drop_rows"
        rows = replace(rows, test=_mended(rows.test, policy, dtype)[0])
    if rows.test is not None and not rows.set_aside:
        _check(rows.test, "classes" if classes else "regression", dtype)
        if classes:
            _check_labels(rows.train, rows.test)
    return replace(rows, mended=mended)


def _given(data: Dataset) -> Given:
    return Given.of(data.X, data.y, numbers=data.names)


def _of(given: Given, data: Dataset) -> Dataset:
    """Some of the rows of the data, which may be whole numbers again for lack of gaps."""
    y = whole_numbers(given.y) if data.whole else given.y
    return replace(data, X=given.X, y=y, numbers=given.names.rows)


def _mended(data: Dataset, policy: str, dtype: str) -> tuple[Dataset, Mended]:
    """The data without values that are not finite, if so wanted."""
    given, done = _given(data).mended(policy, dtype)
    if sentence := done.describe(f"{data.source}: "):
        warnings.warn(sentence, TrainingWarning, stacklevel=2)
    return (data if done == Mended() else _of(given, data)), done


def _wishes(model: MLP) -> bool:
    """Whether the settings say something about columns that have to be prepared for it."""
    given = model.get_params()
    names = ("scaling", "bins", "category_embedding", "column_kinds")
    return TaskSpec(**{name: given[name] for name in names}).prepares


def _check(data: Dataset, task: str, dtype: str, finite: bool = True) -> bool:
    """Refuse what training would stumble over, by row and column; True for classes."""
    assert data.y is not None
    with data.names.telling():
        if finite:
            _check_inputs(data.X, dtype)
        if task == "regression" or (task == "auto" and infer_task(data.y) == "regression"):
            check_y(data.y, len(data), dtype=np.float64)
            return False
        if task == "classes" or task == "auto":
            Labels.fit(data.y)
    return True


def _check_inputs(X: NDArray[Any] | Table, dtype: str) -> None:
    """NaN in a table stands for a missing value, which a column plan fills in."""
    if not isinstance(X, Table):
        check_finite(X, dtype)
        return
    rows, columns = bad_inputs(X, dtype, missing=True)
    if len(rows):
        place = Place(int(rows[0]), int(columns[0]))
        raise RowError("X", "has an infinite value", place, ": mend it or leave that row out.")


def _divide(data: Dataset, source: Source, parts: Parts, seed: int, classes: bool) -> Rows:
    if parts.test is not None:
        form = _form(source) | {"columns": None}
        test = Origin.of(data).read(parts.test, **form)
        return Rows(replace(data, test=None), _with_target(test))
    if data.test is not None:
        return Rows(replace(data, test=None), data.test)
    if parts.test_fraction == 0:
        return Rows(data, None)
    divided = data.split(parts.test_fraction, seed, stratify=classes)
    return Rows(replace(divided, test=None), divided.test, set_aside=True)


def _with_target(data: Dataset) -> Dataset:
    if data.y is None:
        raise DataError(f"{data.source} has no target column to compare with: add --target.")
    return data


def _check_labels(train: Dataset, test: Dataset) -> None:
    assert train.y is not None
    assert test.y is not None
    with test.names.telling():
        Labels.fit(train.y).encode(test.y)


def read_again(
    notes: dict[str, Any], source: Source, part: str | None, targets: bool = False
) -> Dataset:
    """Read rows for a model that was trained here.

    Parameters
    ----------
    notes : dict
        Of the model.
    source : Source
    part : {"train", "test"} or None
        Of a source with a test part; None takes the test part where there is one.
    targets : bool
        Whether targets must be there.

    Raises
    ------
    DataError, SpecError
    """
    if part not in (None, "train", "test"):
        raise SpecError(f"--part {part}: choose train or test.")
    form = _form(source)
    known = Origin.noted(notes)
    if known is None:  # a model saved by Python code, which knows no names
        data = read(_name(source), require_target=source.target is not None, **form)
    else:
        data = known.read(_name(source), **form)
    if part == "test" and data.test is None:
        raise DataError(f"{data.source} has no test part: leave --part out.")
    if part != "train" and data.test is not None:
        data = data.test
    return _with_target(data) if targets else data

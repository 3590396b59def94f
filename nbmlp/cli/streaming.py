"""Parquet files that are read by batches: ``train``, ``predict`` and ``evaluate`` of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbmlp.cli import report
from nbmlp.cli.groups import Learning, Parts, Source
from nbmlp.cli.rows import Rows
from nbmlp.data import Dataset
from nbmlp.data.origin import Origin
from nbmlp.errors import SpecError
from nbmlp.stream import FromFiles, Making, names_many, prepare_more

if TYPE_CHECKING:
    from nbmlp.data import Given
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = ["files_of", "held_for", "predict", "read", "rows_of", "wanted"]

_OF_TEXT = ("variables", "header", "decimal", "encoding", "separator")


def wanted(source: Source) -> bool:
    """Whether the data are to be read by batches: several files, or where it was asked for."""
    return source.data is not None and (source.stream or names_many(source.data))


def files_of(source: Source) -> str:
    """The name of the files. Raises SpecError about options that they do not have."""
    for name in _OF_TEXT:
        if getattr(source, name) is not None:
            raise SpecError(f"--{name} does not go with {source.data}: files are Parquet there.")
    if source.data is None:
        raise SpecError("--data is missing: name files.")
    return source.data


def read(
    source: Source, parts: Parts, learning: Learning, model: MLP, quiet: bool, comm: Any
) -> FromFiles:
    """The rows to train with, made ready by one of the processes that train together.

    Raises
    ------
    DataError, SpecError
        Whatever is wrong with the files or the options.
    """
    if learning.standardise is False:
        raise SpecError("--no-standardise does not go with files that are read by batches.")
    with report.progress(quiet) as progress:
        return model.read_files(
            files_of(source), target=source.target, columns=source.columns,
            validation=parts.validation, sample_weight=learning.sample_weight, progress=progress,
            comm=comm,
        )  # fmt: skip


def rows_of(found: FromFiles, test: str | None, quiet: bool) -> Rows:
    """The same as other rows to train with; the test part is that of files of its own."""
    given = found.train
    train = _dataset(given, given.names.X)
    if test is None:
        return Rows(train, None)
    with report.progress(quiet) as progress, Making(progress) as making:
        held = prepare_more(test, given.X.plan, given.names.targets, making)
    return Rows(train, _dataset(held, test))


def _dataset(given: Given, name: str) -> Dataset:
    names = given.names
    return Dataset(given.X, given.y, names.columns, names.targets, source=name)


def held_for(model: MLP | TabularModel, source: Source) -> Dataset:
    """Rows to measure a model on."""
    plan = getattr(model, "column_plan", None)
    if plan is None:
        raise SpecError(
            "files are read by batches for one net that was trained on a table or on files: name"
            " one file."
        )
    known = Origin.noted(model.notes)
    target = source.target if source.target is not None else known and known.target_names
    if not target:
        raise SpecError("--target is missing: name the column to compare with.")
    return _dataset(prepare_more(files_of(source), plan, target), files_of(source))


def predict(model: MLP | TabularModel, source: Source, proba: bool, out: str | None) -> int:
    """Predict all rows of files into a Parquet file."""
    if out is None or not out.endswith(".parquet"):
        raise SpecError(
            f"predictions of {source.data} are written by batches: name a file with --out that ends"
            " in .parquet."
        )
    write = getattr(model, "predict_files", None)
    if write is None:
        raise SpecError(
            "files are predicted by batches for one net, not for an ensemble: name one file."
        )
    write(files_of(source), out, proba=proba)
    return 0

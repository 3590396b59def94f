"""Predictions of files, written to Parquet batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from numpy.typing import NDArray

from nbmlp.data.table import Table
from nbmlp.errors import DataError
from nbmlp.io.atomic import atomic_write, save_failure
from nbmlp.stream.cells import check_types, table_of_batch
from nbmlp.stream.source import Source

if TYPE_CHECKING:
    import polars as pl

__all__ = ["write_predictions"]

#: What a model says of some rows: columns by name.
Predict = Callable[[Table], Mapping[str, NDArray[Any]]]


def write_predictions(
    files: str | os.PathLike[str],
    columns: Sequence[str],
    predict: Predict,
    out: str | os.PathLike[str],
) -> int:
    """Write what a model says of all rows of some files, in their order.

    Parameters
    ----------
    files : path, folder, pattern or address
    columns : sequence of str
        That the model reads.
    predict : callable
        Called with the rows of one batch after another.
    out : path
        A Parquet file, which appears whole or not at all.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    DataError
        The files lack a column, hold values that the model does not take, or `out` cannot be
        written.
    """
    source = Source.of(files)
    lacking = [name for name in columns if name not in source.schema]
    if lacking:
        raise DataError(f"{source.name} has no column {lacking[0]!r}: the model was fitted on it.")
    check_types(source, columns)
    if not Path(out).parent.is_dir():
        raise DataError(
            f"{os.fspath(out)}: there is no folder {Path(out).parent}; create it first."
        )
    try:
        with atomic_write(out) as file:
            _Writer(source, columns, predict).write(file)
    except OSError as error:
        raise DataError(save_failure(os.fspath(out), error)) from None
    return source.rows


class _Writer:
    """Batches of predictions as polars asks for them, and what went wrong in one of them."""

    def __init__(self, source: Source, columns: Sequence[str], predict: Predict) -> None:
        self._source, self._predict = source, predict
        self._batches = source.batches(columns)
        self._row = 0
        self._failure: BaseException | None = None

    def write(self, file: BinaryIO) -> None:
        """Write all of them. Raises what went wrong, OSError if it was writing."""
        import polars as pl
        from polars.io.plugins import register_io_source

        first = self._next()
        assert first is not None
        self._first: pl.DataFrame | None = first
        lazy = register_io_source(self._given, schema=first.schema)
        try:
            lazy.sink_parquet(file, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            if self._failure is not None:
                raise self._failure from None
            raise OSError(getattr(error, "errno", None), str(error).splitlines()[0]) from None

    def _given(self, *_: object) -> Iterator[pl.DataFrame]:
        """Asked for once: all columns, all rows."""
        batch = self._first
        while batch is not None:
            yield batch
            try:
                batch = self._next()
            except BaseException as error:
                self._failure = error
                raise

    def _next(self) -> pl.DataFrame | None:
        import polars as pl

        batch = next(self._batches, None)
        if batch is None:
            return None
        with self._source.telling(first=self._row):
            found = self._predict(table_of_batch(self._source, batch))
        self._row += len(batch)
        return pl.DataFrame({name: _plain(values) for name, values in found.items()})


def _plain(values: NDArray[Any]) -> Any:
    """Texts as polars takes them."""
    return values.tolist() if values.dtype.kind in "OU" else values

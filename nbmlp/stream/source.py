"""Which Parquet files a pattern names, whether they belong together, and their rows by batches."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.files import detect_format, reading
from nbmlp.errors import DataError, MissingPackageError, RowError, missing_package

if TYPE_CHECKING:
    import polars as pl

__all__ = ["BATCH_ROWS", "Source", "names_files", "names_many"]

#: Rows that are read at a time; nothing that is learned from them depends on it.
BATCH_ROWS = 65_536
_MAGIC = re.compile(r"[*?\[]")
#: Where the environment may hold what opens a store, by the beginning of its addresses.
_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
           "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT",
           "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
    "hf": (), "https": (), "http": (), "file": (),
}  # fmt: skip
#: Characters of what a store answers that are told.
_LONGEST = 400
_SAME = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "adl": "az", "azure": "az"}


def names_files(data: object) -> bool:
    """Whether these are no data, but the name of some."""
    return isinstance(data, str | os.PathLike)


def names_many(name: str) -> bool:
    """Whether a name stands for several files, or for some that lie elsewhere."""
    if "://" in name or _MAGIC.search(name):
        return True
    return os.path.isdir(name) and bool(glob.glob(os.path.join(glob.escape(name), "*.parquet")))


@dataclass(frozen=True)
class Source:
    """Parquet files of the same columns, whose rows follow each other in the order of their names.

    Attributes
    ----------
    name : str
        As it was given.
    files : tuple of str
        Paths, or one address elsewhere.
    schema : dict of str to polars.DataType
    counts : tuple of int
        Rows of each file.
    """

    name: str
    files: tuple[str, ...]
    schema: dict[str, Any]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, name: str | os.PathLike[str]) -> Source:
        """The files that a path, a folder, a pattern or an address names.

        Raises
        ------
        DataError
            There are none, one is damaged, they differ in their columns, or nothing in the
            environment opens the store where they lie.
        MissingPackageError
            polars is not installed, or too old.
        """
        _check_polars()
        text = os.fspath(name)
        files = (text,) if "://" in text else _local(text)
        schemas = [_schema(file) for file in files]
        for file, schema in zip(files[1:], schemas[1:], strict=True):
            _check_same(files[0], schemas[0], file, schema)
        source = cls(text, files, schemas[0], tuple(_rows(file) for file in files))
        if not source.rows:
            raise DataError(f"{text} has no rows.")
        return source

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(self.counts)

    @property
    def elsewhere(self) -> bool:
        """Whether they do not lie in this machine's folders."""
        return "://" in self.files[0]

    def batches(self, columns: Sequence[str], first: int = 0) -> Iterator[pl.DataFrame]:
        """Some columns of all rows from `first` on, in order.

        Raises
        ------
        DataError
            A file is damaged: it is named.
        """
        import polars as pl

        lazy = _scan(self.files).select(columns)
        lazy = lazy.slice(first) if first else lazy
        try:
            yield from lazy.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError):
            raise self._damaged() from None

    def _damaged(self) -> DataError:
        import polars as pl

        for file in self.files:
            try:
                for _ in _scan([file]).collect_batches(chunk_size=BATCH_ROWS):
                    pass
            except (pl.exceptions.PolarsError, OSError):
                return _truncated(file)
        return DataError(f"{self.name} cannot be read to its end: try again.")

    @contextmanager
    def telling(self, rows: NDArray[np.int64] | None = None, first: int = 0) -> Iterator[None]:
        """What is wrong with a row in here is told by its file, and its number there.

        Parameters
        ----------
        rows : ndarray (rows,), optional
            Which rows of all files those at hand are; by default they follow each other ...
        first : int
            ... from here on.
        """
        try:
            yield
        except RowError as error:
            row = error.place.row
            raise self._called(error, first + row if rows is None else int(rows[row])) from None

    def _called(self, error: RowError, row: int) -> RowError:
        ends = np.cumsum(self.counts)
        k = int(np.searchsorted(ends, row, side="right"))
        place = error.place._replace(row=row - int(ends[k]) + self.counts[k])
        return RowError(self.files[k], error.fault, place, error.rest)


def _check_polars() -> None:
    try:
        import polars as pl
    except ImportError:
        raise missing_package("reading Parquet files", "polars", "cli") from None
    if not hasattr(pl.LazyFrame, "collect_batches"):
        raise MissingPackageError(
            f"reading files by batches needs polars 1.34 or later, and {pl.__version__} is"
            " installed: pip install -U polars."
        )


def _local(text: str) -> tuple[str, ...]:
    pattern = os.path.join(glob.escape(text), "*.parquet") if os.path.isdir(text) else text
    if not _MAGIC.search(pattern):
        with reading(Path(text)):
            os.stat(text)
        return (text,)
    found = sorted(name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
    if not found:
        raise DataError(f"no file matches {pattern}.")
    return tuple(found)


def _scan(files: Sequence[str]) -> pl.LazyFrame:
    import polars as pl

    if "://" in files[0]:
        return pl.scan_parquet(files[0])
    return pl.scan_parquet(list(files), glob=False)


def _schema(file: str) -> dict[str, Any]:
    import polars as pl

    if "://" in file:
        return _schema_elsewhere(file)
    path = Path(file)
    with reading(path):
        kind = detect_format(path)
    if kind != "parquet":
        raise DataError(f"{file} is no Parquet file: only these are read by batches.")
    try:
        return dict(pl.read_parquet_schema(file))
    except pl.exceptions.PolarsError:
        raise _truncated(file) from None


def _schema_elsewhere(address: str) -> dict[str, Any]:
    import polars as pl

    store = address.partition("://")[0].lower()
    store = _SAME.get(store, store)
    if store not in _CREDENTIALS:
        raise DataError(f"{address}: {store}:// cannot be read; {', '.join(_CREDENTIALS)} can.")
    wanted = _CREDENTIALS[store]
    if wanted and not any(os.environ.get(name) for name in wanted):
        raise DataError(
            f"{address}: the environment holds nothing that opens {store}://: set"
            f" {' or '.join(wanted[:2])} (and what goes with it), or name files in a folder."
        )
    try:
        return dict(_scan([address]).collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        if "expanded paths were empty" in str(error):
            raise DataError(f"no file matches {address}.") from None
        reason = str(error).strip().splitlines()[0][:_LONGEST].rstrip(".: ")
        raise DataError(f"{address} cannot be read: {reason}.") from None


def _rows(file: str) -> int:
    import polars as pl

    try:
        return int(_scan([file]).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        raise _truncated(file) from None


def _truncated(file: str) -> DataError:
    return DataError(f"{file} is truncated or damaged: save or fetch it again.")


def _check_same(first: str, known: dict[str, Any], file: str, found: dict[str, Any]) -> None:
    """Refuse files of other columns, in another order, or of other types."""
    if list(known) != list(found):
        odd = next((n for n in (*known, *found) if (n in known) != (n in found)), None)
        if odd is None:
            raise DataError(f"{file} has the columns of {first} in another order: write it again.")
        there, lacks = (first, file) if odd in known else (file, first)
        raise DataError(f"{lacks} has no column {odd!r}, and {there} has one: they differ.")
    for name, kind in known.items():
        if found[name] != kind:
            raise DataError(
                f"column {name!r} holds {kind} in {first} and {found[name]} in {file}: write both"
                " with the same type."
            )

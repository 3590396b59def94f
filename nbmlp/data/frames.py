"""Parquet files, through polars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import ColumnRef, Dataset, choose
from nbmlp.data.passes import fits_bytes
from nbmlp.data.table import Table
from nbmlp.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_parquet"]


def _check_type(column: pl.Series, path: Path) -> None:
    import polars as pl

    known = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Duration)
    if not (column.dtype.is_numeric() or column.dtype in known):
        raise DataError(
            f"{path}: column {column.name!r} holds {column.dtype}: numbers, text or dates are"
            " needed; leave that column out."
        )


def _inputs(frame: pl.DataFrame, path: Path) -> NDArray[Any] | Table:
    import polars as pl

    for column in frame:
        _check_type(column, path)
    if not all(column.dtype.is_numeric() for column in frame):
        kinds = (pl.Categorical, pl.Enum)
        said = {c.name: "category" for c in frame if c.dtype in kinds}
        cells = {c.name: c.cast(pl.String) if c.name in said else c for c in frame}
        return Table({name: column.to_numpy() for name, column in cells.items()}, said)
    bytes_only = all(dtype == pl.UInt8 for dtype in frame.dtypes)
    X = (frame if bytes_only else frame.cast(pl.Float64)).to_numpy(order="c")
    return X.astype(np.uint8, copy=False) if fits_bytes(X) else X


def read_parquet(
    path: Path,
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    require_target: bool = True,
) -> Dataset:
    """Read a Parquet file; the kinds of X and y are those of :func:`read_delimited`.

    Parameters
    ----------
    path : Path
        The file.
    target, columns, require_target
        See :func:`nbmlp.data.dataset.choose`.

    Raises
    ------
    DataError
        polars is not installed, the file is damaged, or a wanted column holds neither numbers
        nor text.
    """
    try:
        import polars as pl
    except ImportError:
        raise DataError(
            f"{path} is a Parquet file, which needs polars: pip install 'nbmlp[cli]'."
        ) from None
    try:
        names = list(pl.read_parquet_schema(path))
        choice = choose(names, target, columns, str(path), require_target)
        wanted = [names[j] for j in (*choice.features, *choice.targets)]
        frame = pl.read_parquet(path, columns=wanted)
    except pl.exceptions.PolarsError:
        raise DataError(f"{path} is truncated or damaged: save or fetch it again.") from None
    features = [names[j] for j in choice.features]
    targets = [names[j] for j in choice.targets]
    y, whole = None, False
    if len(targets) == 1:
        y, whole = frame[targets[0]].to_numpy(), frame[targets[0]].dtype.is_integer()
    elif targets:
        y = frame.select(pl.col(targets).cast(pl.Float64)).to_numpy(order="c")
    return Dataset(
        X=_inputs(frame.select(features), path),
        y=y,
        feature_names=tuple(features),
        target_names=tuple(targets),
        source=str(path),
        whole=whole,
    )

"""One door to all files: their content says how to read them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.arrays import Variables, read_mat, read_npy, read_npz
from nbmlp.data.dataset import ColumnRef, Dataset, from_matrix
from nbmlp.data.delimited import read_delimited
from nbmlp.data.files import detect_format, is_gzip, reading
from nbmlp.data.frames import read_parquet
from nbmlp.data.idx import read_idx, read_idx_folder
from nbmlp.data.samples import SAMPLES
from nbmlp.errors import DataError

__all__ = ["read"]


def _read_idx_file(
    path: Path,
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    require_target: bool = True,
) -> Dataset:
    return from_matrix(
        read_idx(path),
        target=target,
        columns=columns,
        source=str(path),
        require_target=require_target,
    )


_READERS = {
    "idx": _read_idx_file,
    "npy": read_npy,
    "npz": read_npz,
    "mat": read_mat,
    "parquet": read_parquet,
    "text": read_delimited,
}
#: Options that only some formats have.
_SPECIAL = {"variables": (".npz", ".mat")} | dict.fromkeys(
    ("header", "decimal", "encoding", "separator"), ("text",)
)


def _check_options(kind: str, options: Iterable[str], source: object) -> None:
    for name in options:
        formats = _SPECIAL[name]
        if kind not in (f.removeprefix(".") for f in formats):
            raise DataError(f"{name} does not go with {source}: it is for {' and '.join(formats)}.")


def _check_prepared(data: Dataset, target: object, others: Iterable[object]) -> Dataset:
    """Data sets that come with their own target take no options."""
    if (target is not None and target not in data.target_names) or any(
        option is not None for option in others
    ):
        raise DataError(
            f"{data.source} comes with its inputs and its target {data.target_names[0]!r}: leave"
            " target, columns and the like out."
        )
    return data


def read(
    source: str | os.PathLike[str],
    *,
    target: ColumnRef | None = None,
    variables: Variables | None = None,
    columns: ColumnRef | None = None,
    header: bool | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    text: Collection[str] = (),
    require_target: bool = True,
) -> Dataset:
    """Read data from a file, a folder with MNIST's files, or a data set by name.

    Parameters
    ----------
    source : str or path
        A .csv, .tsv or other text table (gzip or not), .npy (mapped into memory), .npz, .mat
        (version 7.3 needs h5py), .parquet (needs polars), an IDX file (gzip or not), a folder with
        ``train-images*-ubyte``, ``train-labels*-ubyte`` and perhaps ``t10k-*`` files, or
        ``"digits"`` or ``"glyphs"`` (see :mod:`nbmlp.datasets`).
    target : str, int or sequence of them, optional
        Target column or columns, by name or number (negative counts from the end). For .npy
        also the path of a second .npy file.
    variables : str, sequence or mapping, optional
        For .npz and .mat: names of the variables that hold X, y, X_test and y_test.
    columns : str, int or sequence of them, optional
        Input columns; by default all that are not targets.
    header : bool, optional
        For text: whether the first line holds names; guessed by default.
    decimal : {".", ","}, optional
        For text: the decimal mark; the other one, spaces and apostrophes may separate thousands.
        By default the file's numbers decide together.
    encoding : str, optional
        For text, such as ``"cp1252"``; by default what a mark at the beginning says, else UTF-8.
    separator : str, optional
        For text: one character, or ``"tab"``; guessed by default.
    text : collection of str
        Columns of a text table that are text although they may hold nothing but numbers.
    require_target : bool
        When False, a file without the target column is read as inputs only.

    Returns
    -------
    Dataset
        X is a matrix, or a Table when some input column is text. Bytes stay uint8, and so do
        whole numbers of 0 to 255 out of text.

    Raises
    ------
    DataError
        Whatever is wrong with the file or the columns, in one sentence.
    """
    path = Path(source)
    special = {
        "variables": variables, "header": header, "decimal": decimal, "encoding": encoding,
        "separator": separator,
    }  # fmt: skip
    if not path.exists():
        if str(source) in SAMPLES:
            return _check_prepared(SAMPLES[str(source)](), target, (columns, *special.values()))
        if near := difflib.get_close_matches(str(source), SAMPLES, n=1):
            raise DataError(f"{source}: no such file; did you mean the data set {near[0]!r}?")
    with reading(path):
        if path.is_dir():
            return _check_prepared(read_idx_folder(path), target, (columns, *special.values()))
        kind = detect_format(path, text=encoding is not None)
        given: dict[str, Any] = {k: value for k, value in special.items() if value is not None}
        _check_options(kind, given, path)
        if kind not in ("text", "idx") and is_gzip(path):
            raise DataError(f"{path} is packed with gzip: unpack it first.")
        if kind == "text":
            given["text"] = text
        reader: Callable[..., Dataset] = _READERS[kind]
        data = reader(path, target=target, columns=columns, require_target=require_target, **given)
        return replace(data, whole=_whole(data.y)) if kind == "text" else data


def _whole(y: NDArray[Any] | None) -> bool:
    """Whether targets are whole numbers but for those that are missing."""
    if y is None or y.dtype.kind != "f" or y.ndim > 1:
        return False
    there = y[~np.isnan(y)]
    return 0 < len(there) < len(y) and bool((there == np.floor(there)).all())

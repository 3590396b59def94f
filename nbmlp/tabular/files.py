"""Ensembles <-> one file: nets by number, all else as JSON."""

from __future__ import annotations

import os

from nbmlp.errors import ModelFileError, NbmlpError
from nbmlp.io.archive import read, write
from nbmlp.io.model_file import check_features
from nbmlp.tabular.model import TabularModel
from nbmlp.tabular.packing import packed, unpacked

__all__ = ["KIND", "load", "save"]

KIND = "tabular model"
_Path = str | os.PathLike[str]


def save(model: TabularModel, path: _Path) -> None:
    """Write a model, whole or not at all.

    Raises
    ------
    ModelFileError
        It cannot be written; a file that was there is untouched.
    """
    write(path, *packed(model), kind=KIND)


def load(path: _Path, threads: int | None = None) -> TabularModel:
    """Read a model; nothing in the file is executed.

    Raises
    ------
    ModelFileError
        Missing, damaged, newer than this version, or no such model.
    """
    arrays, metadata = read(path, kind=KIND)
    check_features(path, metadata.get("features", ()))
    try:
        return TabularModel.of(unpacked(arrays, metadata), threads)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, NbmlpError) as error:
        raise ModelFileError(
            f"{os.fspath(path)} is not a model that fits together: {error}"
        ) from error

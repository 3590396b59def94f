"""Models of any kind out of their files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nbmlp.io.archive import stored_kind
from nbmlp.mlp import MLP
from nbmlp.tabular import files

if TYPE_CHECKING:
    from nbmlp.tabular.estimators import TabularClassifier, TabularRegressor
    from nbmlp.tabular.model import TabularModel

__all__ = ["load", "load_plain"]

_Path = str | os.PathLike[str]


def load(path: _Path, threads: int | None = None) -> MLP | TabularClassifier | TabularRegressor:
    """Read a model of whatever kind; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
    threads : int, optional
        To use from now on.

    Raises
    ------
    ModelFileError
        Missing, damaged, newer than this version, or no model.
    """
    if stored_kind(path) != files.KIND:
        return MLP.load(path, threads)
    from nbmlp.tabular.restored import restored

    return restored(files.load(path, threads))


def load_plain(path: _Path, threads: int | None = None) -> MLP | TabularModel:
    """The same without scikit-learn's interface around it, which takes a second to load."""
    if stored_kind(path) != files.KIND:
        return MLP.load(path, threads)
    return files.load(path, threads)

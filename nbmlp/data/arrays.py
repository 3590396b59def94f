"""Files of arrays: NumPy's .npy and .npz, and MATLAB's .mat (versions 4 to 7.3)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import ColumnRef, Dataset, from_matrix
from nbmlp.data.files import reading
from nbmlp.data.mat73 import Mat73, is_mat73
from nbmlp.errors import DataError

__all__ = ["Variables", "read_mat", "read_npy", "read_npz"]

#: Names of the variables to read: one for X; or those of X, y, X_test, y_test in this order; or
#: a mapping with these keys.
Variables = str | Sequence[str] | Mapping[str, str]

_ROLES = ("X", "y", "X_test", "y_test")
#: What a role is called in files when nobody says; compared without regard to case.
_CUSTOMARY = {
    "X": ("x", "x_train"),
    "y": ("y", "y_train"),
    "X_test": ("x_test",),
    "y_test": ("y_test",),
}


def _roles(names: Sequence[str], variables: Variables | None, path: Path) -> dict[str, str]:
    """Role -> name of its variable."""
    if variables is None:
        return _customary_roles(names, path)
    if isinstance(variables, str):
        roles = {"X": variables}
    elif isinstance(variables, Mapping):
        roles = dict(variables)
    else:
        roles = dict(zip(_ROLES, variables, strict=False))
    if "X" not in roles or not set(roles) <= set(_ROLES):
        raise DataError(f"variables={variables!r}: name those of X, y, X_test and y_test.")
    for name in roles.values():
        if name not in names:
            raise DataError(f"{path} has no variable {name!r}: it has {', '.join(names)}.")
    return roles


def _customary_roles(names: Sequence[str], path: Path) -> dict[str, str]:
    roles: dict[str, str] = {}
    for role, customary in _CUSTOMARY.items():
        for name in names:
            if name.lower() in customary:
                roles.setdefault(role, name)
    if "X" not in roles and len(names) == 1:
        return {"X": names[0]}
    if "X" not in roles:
        raise DataError(
            f"{path} has the variables {', '.join(names) or '(none)'}, and none is called X:"
            " say with variables= which one holds the inputs."
        )
    return roles


def _assemble(
    load: Callable[[str], NDArray[Any]],
    roles: Mapping[str, str],
    path: Path,
    target: ColumnRef | None,
    columns: ColumnRef | None,
    require_target: bool,
) -> Dataset:
    def part(X: str, y: str) -> Dataset:
        return from_matrix(
            load(roles[X]),
            y=load(roles[y]) if y in roles else None,
            target=target,
            columns=columns,
            require_target=require_target,
            source=f"{path}[{roles[X]}]",
        )

    train = part("X", "y")
    test = part("X_test", "y_test") if "X_test" in roles else None
    return Dataset(train.X, train.y, train.feature_names, train.target_names, test, str(path))


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _refusal(path, error) from None
    return np.asarray(array)


def _refusal(where: Path | str, error: Exception) -> DataError:
    if "bject" in str(error):  # NumPy has no class of its own for this refusal
        return DataError(
            f"{where} holds Python objects, which are never loaded: save an array of numbers."
        )
    return DataError(f"{where} is truncated or damaged: save or fetch it again.")


def read_npy(
    path: Path,
    *,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    require_target: bool = True,
) -> Dataset:
    """Read an array, mapped into memory: only the rows in use are fetched.

    Parameters
    ----------
    path : Path
        The file; an array of shape (rows, ...).
    target : column or columns, or str
        Columns of the array, or the path of a second .npy file that holds the targets.
    columns, require_target
        See :func:`nbmlp.data.dataset.choose`.

    Raises
    ------
    DataError
        Truncated, Python objects, text, or an array without columns.
    """
    y = None
    if isinstance(target, str) and target.endswith(".npy"):
        with reading(Path(target)):
            y, target = _load_npy(Path(target)), None
    return from_matrix(
        _load_npy(path),
        y=y,
        target=target,
        columns=columns,
        source=str(path),
        require_target=require_target,
    )


def read_npz(
    path: Path,
    *,
    variables: Variables | None = None,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    require_target: bool = True,
) -> Dataset:
    """Read arrays out of an .npz file; pickled ones are refused.

    Parameters
    ----------
    path : Path
        The file.
    variables : Variables, optional
        By default X and y, or x_train, y_train, x_test and y_test in any case, or the only one.
    target, columns, require_target
        See :func:`nbmlp.data.dataset.choose`; they mean columns of X.

    Raises
    ------
    DataError
        Truncated, no such variable, Python objects.
    """
    try:
        with open(path, "rb") as f, np.load(f, allow_pickle=False) as arrays:
            roles = _roles(arrays.files, variables, path)

            def load(name: str) -> NDArray[Any]:
                try:
                    array: NDArray[Any] = arrays[name]
                except ValueError as error:
                    raise _refusal(f"{path}[{name}]", error) from None
                if not isinstance(array, np.ndarray):
                    raise DataError(f"{path}[{name}] is no array.")
                return array

            return _assemble(load, roles, path, target, columns, require_target)
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise _refusal(path, error) from None


def read_mat(
    path: Path,
    *,
    variables: Variables | None = None,
    target: ColumnRef | None = None,
    columns: ColumnRef | None = None,
    require_target: bool = True,
) -> Dataset:
    """Read matrices out of a MATLAB file, also of version 7.3 (which needs h5py).

    Parameters
    ----------
    path : Path
        The file.
    variables, target, columns, require_target
        As in :func:`read_npz`; ``target=5, columns=range(5)`` takes both from one matrix.

    Raises
    ------
    DataError
        Truncated, no such variable, or one that is no matrix of numbers.
    MissingPackageError
        A file of version 7.3, and no h5py.
    """
    if is_mat73(path):
        with Mat73(path) as file:
            roles = _roles(file.names, variables, path)
            return _assemble(file.load, roles, path, target, columns, require_target)
    from scipy.io import loadmat, whosmat

    def load(name: str) -> NDArray[Any]:
        value = _call_scipy(loadmat, path, variable_names=[name])[name]
        if not isinstance(value, np.ndarray):
            raise DataError(f"{path}[{name}] is sparse: save full({name}) in MATLAB.")
        return cast("NDArray[Any]", value)

    names = [name for name, _, _ in _call_scipy(whosmat, path)]
    roles = _roles(names, variables, path)
    return _assemble(load, roles, path, target, columns, require_target)


def _call_scipy(function: Callable[..., Any], path: Path, **options: Any) -> Any:
    try:
        return function(path, **options)
    except Exception:  # over damaged bytes scipy's reader stumbles in many ways
        raise DataError(f"{path} is truncated or damaged: save or fetch it again.") from None

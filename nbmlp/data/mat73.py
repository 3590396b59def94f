"""MATLAB files of version 7.3, which are HDF5: plain matrices of numbers, and nothing else.

A file may come from anywhere: links out of it, data kept in other files, and matrices that are
far larger than what is stored are refused before anything is allocated or followed.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import DataError, missing_package

__all__ = ["Mat73", "is_mat73"]

_MARKS = (b"MATLAB 7.3", b"\x89HDF")
#: HDF5's own filters for numbers: deflate, shuffle, checksum. All others are loaded as plugins.
_FILTERS = {1, 2, 3}
#: No deflated byte stands for more than this.
_MOST_DEFLATED = 1032
#: Rows of the file that are transposed at a time, in bytes.
_BLOCK = 1 << 24


def is_mat73(path: Path) -> bool:
    """Whether the file begins as MATLAB 7.3's, or HDF5, do."""
    with open(path, "rb") as f:
        return f.read(10).startswith(_MARKS)


class Mat73:
    """An open file; a context manager.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingPackageError
        h5py is not installed.
    DataError
        Truncated or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError:
            raise missing_package("a MATLAB 7.3 file", "h5py", "mat") from None
        self._h5py, self._path = h5py, path
        try:
            self._file = h5py.File(path, "r")
        except OSError:
            raise self._damaged() from None

    def __enter__(self) -> Mat73:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _damaged(self) -> DataError:
        return DataError(f"{self._path} is truncated or damaged: save or fetch it again.")

    @property
    def names(self) -> list[str]:
        """Its variables."""
        try:
            return [name for name in self._file if not name.startswith("#")]
        except (RuntimeError, OSError, UnicodeError):
            raise self._damaged() from None

    def load(self, name: str) -> NDArray[Any]:
        """A variable as MATLAB shows it, rows first.

        Raises
        ------
        DataError
            No matrix of real numbers, not stored in this file, or damaged.
        """
        where = f"{self._path}[{name}]"
        try:
            self._check_link(name, where)
            stored = self._file[name]
            self._check(stored, where)
            return self._transposed(stored)
        except (RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where} is damaged: save or fetch the file again.") from None

    # -- what is refused

    def _check_link(self, name: str, where: str) -> None:
        link = self._file.get(name, getlink=True)
        if not isinstance(link, self._h5py.HardLink):
            raise DataError(f"{where} is a link to somewhere else: links are never followed.")

    def _check(self, stored: Any, where: str) -> None:
        kind = stored.attrs.get("MATLAB_class", b"")
        kind = kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)
        if "MATLAB_sparse" in stored.attrs:
            raise DataError(f"{where} is sparse: save it as a full matrix in MATLAB, full(...).")
        if not isinstance(stored, self._h5py.Dataset):
            raise DataError(f"{where} is a {kind or 'group'}: save its matrices as variables.")
        if kind in ("char", "cell", "struct", "function_handle", "string", "table"):
            raise DataError(f"{where} is of MATLAB's class {kind}: inputs must be numbers.")
        if stored.dtype.kind not in "biuf":
            what = "complex or other compound values" if stored.dtype.kind in "Vc" else "no numbers"
            raise DataError(f"{where} holds {what}: inputs must be real numbers.")
        if stored.shape is None or not stored.size or "MATLAB_empty" in stored.attrs:
            raise DataError(f"{where} is empty.")
        self._check_storage(stored, where)

    def _check_storage(self, stored: Any, where: str) -> None:
        settings = stored.id.get_create_plist()
        if stored.external or stored.is_virtual:
            raise DataError(f"{where} keeps its values in other files, which are never read.")
        filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
        if filters - _FILTERS:
            raise DataError(f"{where} is compressed as MATLAB never does: save it in MATLAB.")
        held = stored.id.get_storage_size() * (_MOST_DEFLATED if 1 in filters else 1)
        chunk = prod(stored.chunks or (0,)) * stored.dtype.itemsize  # is unpacked as a whole
        if (claimed := max(stored.nbytes, chunk)) > held:
            raise DataError(
                f"{where} claims {claimed:,} bytes, but no more than {held:,} are in the file:"
                " save or fetch it again."
            )

    # -- reading

    def _transposed(self, stored: Any) -> NDArray[Any]:
        """MATLAB writes columns first: its dimensions come out of the file in reverse."""
        dtype = np.dtype(bool) if self._is_logical(stored) else stored.dtype.newbyteorder("=")
        if stored.ndim < 2:
            return np.asarray(stored[()], dtype)
        out = np.empty(stored.shape[::-1], dtype)
        step = max(1, _BLOCK * len(stored) // stored.nbytes)
        for start in range(0, len(stored), step):
            out[..., start : start + step] = stored[start : start + step].T
        return out

    def _is_logical(self, stored: Any) -> bool:
        return stored.attrs.get("MATLAB_class") in (b"logical", "logical")

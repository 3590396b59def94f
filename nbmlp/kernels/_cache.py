"""Numba's cache over our folder: what cannot be read, or not be trusted, is compiled again."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from numba.core import caching
from numba.core.runtime import rtsys

from nbmlp.errors import TrainingWarning
from nbmlp.kernels.code_folder import cache_folder, make, usable_folder, why_not

__all__ = ["CodeCache"]


class _Locator:
    """Where one function's compiled code lies (the interface of Numba's cache locators)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure_cache_path(self) -> None:
        make(self._folder)

    def get_cache_path(self) -> str:
        return str(self._folder)


class _Impl(caching.CompileResultCacheImpl):
    """Numba's (de)serialisation with our place and name instead of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._locator = _Locator(folder)
        self._filename_base = f"{name}-py{sys.version_info[0]}{sys.version_info[1]}"
        self._lineno = 0


class _Files(caching.IndexDataCacheFile):
    """One function's files: read only if nobody else could have written them, written likewise."""

    _told = False

    def _load_index(self) -> dict[Any, Any]:
        return super()._load_index() if self._is_safe(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)
        if not self._is_safe(path):
            raise PermissionError(path)
        return super()._load_data(name)

    @staticmethod
    def _is_safe(path: str) -> bool:
        try:
            reason = why_not(Path(path))
        except OSError:  # it is not there
            return True
        if reason and not _Files._told:
            _Files._told = True
            kept = "the compiled code in it, and in others like it, is compiled again."
            warnings.warn(f"{reason}: {kept}", TrainingWarning, stacklevel=2)
        return not reason

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BinaryIO]:
        hidden = f"{filepath}.tmp.{uuid.uuid4().hex[:16]}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            with open(os.open(hidden, flags, 0o600), "wb") as file:
                yield file
            os.replace(hidden, filepath)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise


class CodeCache(caching.Cache):
    """A cache that never stops training: what cannot be read or written is compiled again.

    Parameters
    ----------
    function : callable
        Before it is compiled.
    name : str
        Of its files.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name, self._py_func = name, function
        usable = usable_folder()
        folder = usable or cache_folder()
        self._impl = _Impl(folder, name)
        self._cache_path = str(folder)
        self._cache_file = _Files(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=cache_folder().name,
        )
        if usable:
            self.enable()
        else:
            self.disable()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba would hash the closure's pickle, which differs between processes for functions.
        return sig, codegen.magic_tuple(), self._name

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            # Numba would load all that it can compile with first, which takes longer than our code.
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception:  # a torn or foreign file is as good as none
            with contextlib.suppress(OSError):
                self.flush()  # a torn index would fail again when the new code is saved
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # read-only or full: training goes on with what was compiled
            return

"""MPI's functions for compiled code: their addresses, and what they are given."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Native", "native_of"]


class Native(NamedTuple):
    """Addresses of C functions, and handles, which are numbers or addresses.

    Attributes
    ----------
    allgatherv, alltoallv : int
        ``MPI_Allgatherv`` and ``MPI_Alltoallv``.
    comm : int
    in_place : int
        What is given as sent where that lies in its place of what is received.
    types : dict of dtype to int
    describe : callable
        What a code means that such a function has returned.
    """

    allgatherv: int
    alltoallv: int
    comm: int
    in_place: int
    types: dict[Any, int]
    describe: Callable[[int], str]


def native_of(comm: Any) -> Native:
    """Those of the library that mpi4py has loaded, whichever MPI it is; called by all processes.

    Errors are returned, not fatal: on a communicator of its own, as the caller's keeps its way.
    """
    MPI = sys.modules[type(comm).__module__]
    library = ctypes.CDLL(MPI.__file__)  # finds what the extension itself is linked to
    own = _duplicate(comm, MPI)
    types = {np.dtype(np.float32): MPI.FLOAT, np.dtype(np.float64): MPI.DOUBLE}
    return Native(
        _address(library.MPI_Allgatherv), _address(library.MPI_Alltoallv), _handle(MPI, own),
        int(MPI.IN_PLACE), {dtype: _handle(MPI, kind) for dtype, kind in types.items()},
        MPI.Get_error_string,
    )  # fmt: skip


def _handle(MPI: Any, of: Any) -> int:
    """An int (MPICH) or an address (Open MPI), as a signed number of 64 bits."""
    return ctypes.c_int64(MPI._handleof(of)).value


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


_KEYS: dict[str, int] = {}


def _duplicate(comm: Any, MPI: Any) -> Any:
    """Made once, and kept with the communicator: there may be a few thousand at most."""
    key = _KEYS.setdefault(MPI.__name__, MPI.KEYVAL_INVALID)
    if key == MPI.KEYVAL_INVALID:
        key = _KEYS[MPI.__name__] = MPI.Comm.Create_keyval()
    own = comm.Get_attr(key)
    if own is None:
        own = comm.Dup()
        own.Set_errhandler(MPI.ERRORS_RETURN)
        comm.Set_attr(key, own)
    return own

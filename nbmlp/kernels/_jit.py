"""The only place that spells Numba's options.

A *piece* is a small compiled function with a C signature of int64 and float64 only, that of its
family (`abi`), built for one element type and called by its address. Pieces are compiled when a
plan first asks for them, cached one by one on disk, and linked into nobody: a kernel that calls
forty of them is not forty times as long to compile, and a new topology compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core import ccallback

from nbmlp.kernels._cache import CodeCache
from nbmlp.kernels.family import Family

__all__ = [
    "compiled_pieces",
    "in_order",
    "inner",
    "make",
    "parallel",
    "piece",
    "piece_address",
    "piece_function",
    "registered_pieces",
    "spliced",
]

Maker = Callable[[type], Callable[..., Any]]

#: Options of every compiled function: no Python exceptions from arithmetic, no NaN assumptions.
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
#: a*b + c may be rounded once. Nothing here may reorder sums or assume that NaN does not occur.
_CONTRACT = {"contract"}

_MAKERS: dict[str, tuple[Family, Maker]] = {}


def inner(function: Callable[..., Any]) -> Any:
    """A function for use inside pieces only; compiled with whoever calls it.

    Nobody else does: without entry points for Python and C it takes two thirds of the time.
    """
    return njit(
        function, fastmath=_CONTRACT, forceinline=True, no_cpython_wrapper=True,
        no_cfunc_wrapper=True, **_OPTIONS,
    )  # fmt: skip


def spliced(function: Callable[..., Any]) -> Any:
    """A function that becomes part of whoever calls it before anything is compiled.

    For those with much machine code: an `inner` one is optimised once by itself and once more with
    its caller.
    """
    return njit(function, inline="always", fastmath=_CONTRACT, **_OPTIONS)


def piece(name: str, family: Any) -> Callable[[Maker], Maker]:
    """Register a maker: given np.float32 or np.float64 it returns the function to compile.

    Parameters
    ----------
    name : str
    family : one of those in `abi`
        The function has its parameters, annotated ``int`` (int64) or ``float`` (float64).
    """

    def register(maker: Maker) -> Maker:
        if name in _MAKERS:
            raise RuntimeError(f"two pieces are called {name}")
        _MAKERS[name] = family.family, maker
        return maker

    return register


def registered_pieces() -> dict[str, Family]:
    """The family of every piece, by name."""
    return {name: family for name, (family, _) in _MAKERS.items()}


def make(name: str, scalar: type) -> Callable[..., Any]:
    """The function of a piece for np.float32 or np.float64, before it is compiled.

    Raises
    ------
    TypeError
        It does not have the parameters of its family.
    """
    family, maker = _MAKERS[name]
    function = maker(scalar)
    family.check(name, function)
    return function


_KEEP: dict[tuple[str, str], Any] = {}
_FUNCTIONS: dict[tuple[str, Any], Callable[..., Any]] = {}


def piece_address(name: str, dtype: Any, family: Any = None) -> int:
    """Address of a piece for an element type, compiled or loaded from the cache on first use.

    Raises
    ------
    TypeError
        It is not of the `family` that is wanted, if one is given.
    """
    scalar = np.dtype(dtype).type
    key = (name, scalar.__name__)
    own = _MAKERS[name][0]
    if family is not None and own is not family.family:
        raise TypeError(f"Piece {name} is of family {own.name}, not {family.family.name}.")
    if key not in _KEEP:
        function, sig = make(name, scalar), own.signature
        compiled = ccallback.CFunc(
            function, (sig.args, sig.return_type), {}, {"fastmath": _CONTRACT, **_OPTIONS}
        )
        compiled._cache = CodeCache(function, ".".join(key))
        compiled.compile()
        # Of two threads that compile at once the first wins: its address may be in use already.
        _KEEP.setdefault(key, compiled)
    return int(_KEEP[key].address)


def piece_function(name: str, dtype: Any) -> Callable[..., Any]:
    """The same piece as a Python callable (ctypes: releases the GIL); see :func:`in_order`."""
    key = (name, dtype)
    if key not in _FUNCTIONS:
        piece_address(name, dtype)
        _FUNCTIONS[key] = _KEEP[name, np.dtype(dtype).type.__name__].ctypes
    return _FUNCTIONS[key]


def in_order(piece: str, **arguments: float) -> tuple[float, ...]:
    """Arguments of :func:`piece_function`, which wants them in the order of the piece's family."""
    return _MAKERS[piece][0].order(**arguments)


def compiled_pieces() -> list[tuple[str, str]]:
    """(name, element type) of the pieces that this process has compiled or loaded."""
    return sorted(_KEEP)


def _entry(function: Callable[..., Any], **options: Any) -> Any:
    dispatcher = njit(function, nogil=True, **options, **_OPTIONS)
    dispatcher._cache = CodeCache(function, function.__name__)
    return dispatcher


def parallel(function: Callable[..., Any]) -> Any:
    """A kernel with parallel regions, called from Python; releases the GIL."""
    return _entry(function, parallel=True)

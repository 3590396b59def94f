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
from numba.core.compiler_lock import global_compiler_lock

from nbmlp.kernels._cache import CodeCache
from nbmlp.kernels.family import Family

__all__ = [
    "compiled_pieces",
    "in_order",
    "inner",
    "make",
    "native_address",
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
#: Names of pieces that are the same for all element types.
_UNTYPED: set[str] = set()


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


def piece(name: str, family: Any, typed: bool = True) -> Callable[[Maker], Maker]:
    """Register a maker: given np.float32 or np.float64 it returns the function to compile.

    Parameters
    ----------
    name : str
    family : one of those in `abi`
        The function has its parameters, annotated ``int`` (int64) or ``float`` (float64).
    typed : bool
        Built for each element type; else once, as it touches no element but hands on to pieces
        that do.
    """

    def register(maker: Maker) -> Maker:
        if name in _MAKERS:
            raise RuntimeError(f"two pieces are called {name}")
        _MAKERS[name] = family.family, maker
        if not typed:
            _UNTYPED.add(name)
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


def _scalar(name: str, dtype: Any) -> type:
    """The type that a piece is built for."""
    return np.float64 if name in _UNTYPED else np.dtype(dtype).type


def piece_address(name: str, dtype: Any, family: Any = None) -> int:
    """Address of a piece for an element type, compiled or loaded from the cache on first use.

    Raises
    ------
    TypeError
        It is not of the `family` that is wanted, if one is given.
    """
    scalar = _scalar(name, dtype)
    key = (name, scalar.__name__)
    own = _MAKERS[name][0]
    if family is not None and own is not family.family:
        raise TypeError(f"Piece {name} is of family {own.name}, not {family.family.name}.")
    if key not in _KEEP:
        with global_compiler_lock:  # of two threads that come at once, one compiles
            if key not in _KEEP:
                _KEEP[key] = _compile(name, scalar)
    return int(_KEEP[key].at)


def _compile(name: str, scalar: type) -> Any:
    """The compiled function, which knows as ``at`` where compiled code calls it."""
    function, sig, full = (
        make(name, scalar),
        _MAKERS[name][0].signature,
        f"{name}.{scalar.__name__}",
    )
    # Else pieces that several processes have compiled may be one symbol to the linker.
    function.__qualname__ = full
    options = {"fastmath": _CONTRACT, **_OPTIONS}
    compiled = ccallback.CFunc(function, (sig.args, sig.return_type), {}, options)
    compiled._cache = CodeCache(function, full)
    compiled.compile()
    compiled.at = native_address(compiled)
    return compiled


def native_address(compiled: Any) -> int:
    """Where compiled code calls a function, without its entry from C (a call and 20 instructions).

    By Numba's own convention, which `_llvm.make_call` keeps.
    """
    name = compiled.native_name.removeprefix("cfunc.")
    return int(compiled._library.get_pointer_to_function(name))


def piece_function(name: str, dtype: Any) -> Callable[..., Any]:
    """The same piece as a Python callable (ctypes: releases the GIL); see :func:`in_order`."""
    key = (name, dtype)
    if key not in _FUNCTIONS:
        piece_address(name, dtype)
        _FUNCTIONS[key] = _KEEP[name, _scalar(name, dtype).__name__].ctypes
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

"""The only place that spells Numba's options.

A *piece* is a small compiled function with a C signature of int64 and float64 only, built for one
element type and called by its address. Pieces are compiled when a plan first asks for them, cached
one by one on disk, and linked into nobody: a kernel that calls forty of them is not forty times
as long to compile, and a new topology compiles nothing.
"""

# mypy: disable-error-code="no-untyped-call, misc, no-any-return"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import ccallback
from numba.core.typing import signature

from nbmlp.kernels._cache import CodeCache

__all__ = [
    "compiled_pieces",
    "inner",
    "parallel",
    "piece",
    "piece_address",
    "piece_function",
    "spliced",
]

Maker = Callable[[type], Callable[..., Any]]

#: Options of every compiled function: no Python exceptions from arithmetic, no NaN assumptions.
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
#: a*b + c may be rounded once. Nothing here may reorder sums or assume that NaN does not occur.
_CONTRACT = {"contract"}

_NUMBA = {"int": types.int64, "float": types.float64, "None": types.void}
_MAKERS: dict[str, Maker] = {}


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


def piece(name: str) -> Callable[[Maker], Maker]:
    """Register a maker: given np.float32 or np.float64 it returns the function to compile.

    The function's parameters are annotated ``int`` (int64) or ``float`` (float64) and it returns
    ``int`` or ``float``.
    """

    def register(maker: Maker) -> Maker:
        if name in _MAKERS:
            raise RuntimeError(f"two pieces are called {name}")
        _MAKERS[name] = maker
        return maker

    return register


def _signature(function: Callable[..., Any]) -> Any:
    notes = dict(function.__annotations__)
    returns = _NUMBA[notes.pop("return")]
    return signature(returns, *(_NUMBA[note] for note in notes.values()))


_KEEP: dict[tuple[str, str], Any] = {}
_FUNCTIONS: dict[tuple[str, Any], Callable[..., Any]] = {}


def piece_address(name: str, dtype: Any) -> int:
    """Address of a piece for an element type, compiled or loaded from the cache on first use."""
    scalar = np.dtype(dtype).type
    key = (name, scalar.__name__)
    if key not in _KEEP:
        function = _MAKERS[name](scalar)
        sig = _signature(function)
        compiled = ccallback.CFunc(
            function, (sig.args, sig.return_type), {}, {"fastmath": _CONTRACT, **_OPTIONS}
        )
        compiled._cache = CodeCache(function, ".".join(key))
        compiled.compile()
        # Of two threads that compile at once the first wins: its address may be in use already.
        _KEEP.setdefault(key, compiled)
    return int(_KEEP[key].address)


def piece_function(name: str, dtype: Any) -> Callable[..., Any]:
    """The same piece as a Python callable (ctypes: releases the GIL)."""
    key = (name, dtype)
    if key not in _FUNCTIONS:
        piece_address(name, dtype)
        _FUNCTIONS[key] = _KEEP[name, np.dtype(dtype).type.__name__].ctypes
    return _FUNCTIONS[key]


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

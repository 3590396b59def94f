"""The only place that spells Numba's options.

A *piece* is a small compiled function with a C signature of int64 and float64 only, that of its
family (`abi`), built for one type of elements and called by its address. Pieces are compiled when a
plan first asks for them, cached one by one on disk, and linked into nobody: a kernel that calls
forty of them is not forty times as long to compile, and a new topology compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import njit
from numba.core import ccallback
from numba.core.compiler_lock import global_compiler_lock

from nbmlp.kernels._cache import CodeCache
from nbmlp.kernels.family import Family
from nbmlp.names import ELEMENTS, Element, element_of

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
    "version",
]

Maker = Callable[[type], Callable[..., Any]]

#: Options of every compiled function: no Python exceptions from arithmetic, no NaN assumptions.
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
#: a*b + c may be rounded once. Nothing here may reorder sums or assume that NaN does not occur.
_CONTRACT = {"contract"}

_MAKERS: dict[str, tuple[Family, Maker]] = {}
#: Names of pieces that are the same for all types of elements, and for all that compute alike.
_UNTYPED: set[str] = set()
_OF_MASTERS: set[str] = set()
#: What takes the place of a piece, by its name, for the type of elements that is named.
_INSTEAD: dict[tuple[str, str], Maker] = {}


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


def piece(
    name: str, family: Any, typed: bool = True, masters: bool = False
) -> Callable[[Maker], Maker]:
    """Register a maker: given np.float32 or np.float64 it returns the function to compile.

    It is built for each plain type of elements. Others, which keep what products read in another
    type than they compute in, share what is of `masters`; all else needs a version for them.

    Parameters
    ----------
    name : str
    family : one of those in `abi`
        The function has its parameters, annotated ``int`` (int64) or ``float`` (float64).
    typed : bool
        Else it is built once, as it touches no element but hands on to pieces that do.
    masters : bool
        It touches masters only (`names/elements.py`): all elements that compute alike share it.
    """

    def register(maker: Maker) -> Maker:
        if name in _MAKERS:
            raise RuntimeError(f"two pieces are called {name}")
        _MAKERS[name] = family.family, maker
        if not typed:
            _UNTYPED.add(name)
        if masters:
            _OF_MASTERS.add(name)
        return maker

    return register


def version(name: str, element: Element) -> Callable[[Maker], Maker]:
    """Register what takes the place of a piece for one type of elements, of the same family."""

    def register(maker: Maker) -> Maker:
        if (name, element.name) in _INSTEAD:
            raise RuntimeError(f"{name} has two versions for {element.name}")
        _INSTEAD[name, element.name] = maker
        return maker

    return register


def registered_pieces() -> dict[str, Family]:
    """The family of every piece, by name."""
    return {name: family for name, (family, _) in _MAKERS.items()}


class _Build(NamedTuple):
    """A piece for a type of elements, which others may share.

    Attributes
    ----------
    kind : str
        What its name ends in.
    scalar : type
        That it computes in.
    maker : callable
    """

    kind: str
    scalar: type
    maker: Maker


def _build(name: str, of: Any) -> _Build:
    """Which build of a piece serves elements, given by their row or by NumPy's type."""
    element, maker = element_of(of), _MAKERS[name][1]
    instead = _INSTEAD.get((name, element.name))
    if instead is not None:
        return _Build(element.name, element.compute, instead)
    if not element.plain and name not in _OF_MASTERS:
        raise TypeError(f"Piece {name} has no version for elements of {element.name}.")
    scalar = ELEMENTS["float64"].compute if name in _UNTYPED else element.compute
    return _Build(scalar.__name__, scalar, maker)


def make(name: str, of: Any) -> Callable[..., Any]:
    """The function of a piece for a type of elements, before it is compiled.

    Raises
    ------
    TypeError
        It does not have the parameters of its family, or there is none for these elements.
    """
    function = _build(name, of).maker(_build(name, of).scalar)
    _MAKERS[name][0].check(name, function)
    return function


_KEEP: dict[tuple[str, str], Any] = {}
_FUNCTIONS: dict[tuple[str, Any], Callable[..., Any]] = {}


def piece_address(name: str, of: Any, family: Any = None) -> int:
    """Address of a piece, compiled or loaded from the cache on first use.

    Parameters
    ----------
    name : str
    of : Element or type
        What it is built for: elements by their row or, if they are plain, by NumPy's type.
    family : one of those in `abi`, optional
        That it must be of.

    Raises
    ------
    TypeError
        It is of another family, or there is none for these elements.
    """
    key = name, _build(name, of).kind
    own = _MAKERS[name][0]
    if family is not None and own is not family.family:
        raise TypeError(f"Piece {name} is of family {own.name}, not {family.family.name}.")
    if key not in _KEEP:
        with global_compiler_lock:  # of two threads that come at once, one compiles
            if key not in _KEEP:
                _KEEP[key] = _compile(name, of)
    return int(_KEEP[key].at)


def _compile(name: str, of: Any) -> Any:
    """The compiled function, which knows as ``at`` where compiled code calls it."""
    function, sig = make(name, of), _MAKERS[name][0].signature
    full = f"{name}.{_build(name, of).kind}"
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


def piece_function(name: str, of: Any) -> Callable[..., Any]:
    """The same piece as a Python callable (ctypes: releases the GIL); see :func:`in_order`."""
    key = (name, of)
    if key not in _FUNCTIONS:
        piece_address(name, of)
        _FUNCTIONS[key] = _KEEP[name, _build(name, of).kind].ctypes
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

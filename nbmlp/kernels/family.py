"""Families of pieces: what is passed to a piece, by name, checked before anything is compiled.

A piece is called by its address, and an address says nothing about what lies there. So every piece
belongs to a family (`abi` lists them), from which both ends come: the C signature that the piece is
compiled to, and the function that calls it. A maker whose function has other parameters is refused
when its piece is made; a call that lacks an argument, names an unknown one or passes an integer for
a float does not compile. Nothing is cast on the way and nothing depends on an order kept by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.core.typing import signature
from numba.extending import intrinsic

from nbmlp.kernels._llvm import make_call

__all__ = ["Family", "family"]

_KINDS = {int: types.int64, float: types.float64}


@dataclass(frozen=True)
class Family:
    """The parameters that all pieces of a kind have; each returns an int64 (0: nothing to tell).

    Attributes
    ----------
    name : str
    parameters : mapping of str to type
        ``int`` (int64: an address, a stride in bytes, a count) or ``float`` (float64), by name.
    """

    name: str
    parameters: Mapping[str, type]

    @property
    def signature(self) -> Any:
        """Numba's signature of the pieces."""
        return signature(types.int64, *(_KINDS[kind] for kind in self.parameters.values()))

    def check(self, piece: str, function: Callable[..., Any]) -> None:
        """Refuse a function that does not have the family's parameters, in their order and kinds.

        Parameters
        ----------
        piece : str
            Name of the piece, for the error.
        function : callable
            Annotated with ``int`` and ``float``.

        Raises
        ------
        TypeError
        """
        notes = {name: _written(p) for name, p in inspect.signature(function).parameters.items()}
        wrong = _names(self.parameters, notes)
        if not wrong and list(notes) != list(self.parameters):
            wrong = f"its parameters come as {', '.join(notes)}, not {', '.join(self.parameters)}"
        for name, kind in self.parameters.items():
            if not wrong and notes[name] != kind.__name__:
                wrong = f"its parameter {name} is {notes[name] or 'not annotated'}"
                wrong += f", not {kind.__name__}"
        if wrong:
            raise TypeError(f"Piece {piece} does not fit its family {self.name}: {wrong}.")

    def order(self, **arguments: float) -> tuple[float, ...]:
        """Arguments in the order in which a piece takes them, for a call from Python.

        Raises
        ------
        TypeError
            One is missing or unknown.
        """
        if arguments.keys() != self.parameters.keys():
            wrong = _names(self.parameters, arguments)
            raise TypeError(f"A piece of family {self.name} cannot be called so: {wrong}.")
        return tuple(map(arguments.__getitem__, self.parameters))

    def why_not(self, unnamed: tuple[Any, ...], named: Mapping[str, Any]) -> str:
        """What is wrong with a call, told by the Numba types of its arguments; empty if nothing."""
        if unnamed:
            return "its arguments are passed by name, but for the address"
        wrong = _names(self.parameters, named)
        for name, kind in self.parameters.items():
            if not wrong and types.unliteral(named[name]) != _KINDS[kind]:
                wrong = f"{name} is {types.unliteral(named[name])}, not {_KINDS[kind]}"
        return wrong


def _written(parameter: inspect.Parameter) -> str:
    note = parameter.annotation
    return "" if note is parameter.empty else getattr(note, "__name__", str(note))


def _names(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Which names are missing and which unknown; empty if none is."""
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    said = f"missing: {', '.join(missing)}" if missing else ""
    return (
        said
        + (", " if missing and unknown else "")
        + (f"unknown: {', '.join(unknown)}" if unknown else "")
    )


def family(name: str, **parameters: type) -> Any:
    """Make a family: ``call(address, parameter=value, ...)``, for use in compiled code.

    It returns what the piece does. The family itself is its attribute ``family``.
    """
    made = Family(name, parameters)
    kinds = made.signature.args
    called = types.int64(types.int64, *kinds)
    code = make_call(kinds)

    def definition(tyctx, address, *unnamed, **named):
        wrong = made.why_not(unnamed, named)
        if wrong:
            raise TypingError(f"A piece of family {name} cannot be called so: {wrong}.")
        return called, code

    # Numba reads from the signature where each named argument goes.
    places = ("tyctx", "address", *parameters)
    definition.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(place, inspect.Parameter.POSITIONAL_OR_KEYWORD) for place in places]
    )
    definition.family = made  # type: ignore[attr-defined]
    definition.__name__ = definition.__qualname__ = name
    return intrinsic(definition)

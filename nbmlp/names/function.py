"""A function with its parameter, as ``"leaky_relu(0.2)"`` names it: read once, asked everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from nbmlp.checks import number
from nbmlp.errors import SpecError
from nbmlp.names.grammar import Row, parse_call, resolve

__all__ = ["Function", "FunctionRow", "Parameter", "read_function"]


class Parameter(NamedTuple):
    """The number that may stand behind a name.

    Attributes
    ----------
    name : str
    default : float
        Where none is written; it may lie outside of the range, as "no bound" does.
    low, high : float
        Range of what may be written; `high` does not belong to it.
    closed_low : bool
        Whether `low` does.
    """

    name: str
    default: float
    low: float = 0.0
    high: float = math.inf
    closed_low: bool = True


@dataclass(frozen=True, kw_only=True)
class FunctionRow(Row):
    """What activations and losses have in common.

    Attributes
    ----------
    parameter : Parameter or None
    """

    parameter: Parameter | None


Kind = TypeVar("Kind", bound=FunctionRow)


@dataclass(frozen=True)
class Function(Generic[Kind]):
    """One function of a net.

    Attributes
    ----------
    row : Activation or Loss
        What is to be known of the name.
    value : float or None
        The parameter as written.
    """

    row: Kind
    value: float | None = None

    @property
    def name(self) -> str:
        """Without the parameter."""
        return self.row.name

    @property
    def parameter(self) -> float:
        """The parameter, or its default; 0 of a function that has none."""
        if self.value is not None:
            return self.value
        return 0.0 if self.row.parameter is None else self.row.parameter.default

    def __str__(self) -> str:
        """As specs and model files have it."""
        return self.name if self.value is None else f"{self.name}({self.value!r})"


def read_function(text: object, table: Mapping[str, Kind], kind: str) -> Function[Kind]:
    """Read ``name`` or ``name(number)``.

    Parameters
    ----------
    text : str
        What the user wrote; aliases are known.
    table : mapping of str to Activation or Loss
    kind : str
        What it stands for, named in the errors.

    Raises
    ------
    SpecError
        Unknown name, a number that the function does not take or that lies out of its range.
    """
    call = parse_call(text, kind)
    row = table[resolve(call.name, table, kind)]
    values = [*call.args, *call.kwargs.values()]
    if not values:
        return Function(row)
    own = row.parameter
    if own is None or len(values) > 1 or set(call.kwargs) - {own.name}:
        takes = f"one number, its {own.name}" if own else "no number"
        raise SpecError(f"{kind} {text!r}: {row.name} takes {takes}.")
    label = f"{kind} {row.name}: {own.name}"
    return Function(row, number(label, values[0], own.low, own.high, closed_low=own.closed_low))

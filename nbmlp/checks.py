"""Checks of single settings: the value in its plain type, or one sentence on what is wrong."""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from nbmlp.errors import SpecError

__all__ = ["flag", "normalise", "number", "whole"]


def number(
    name: str,
    value: object,
    low: float = 0.0,
    high: float = math.inf,
    *,
    closed_low: bool = True,
    closed_high: bool = False,
) -> float:
    """A finite number of the range, as a float.

    Parameters
    ----------
    name : str
        The setting, named in the error.
    value : object
        What the user gave: any real number of Python or NumPy, booleans excluded.
    low, high : float
        The range.
    closed_low, closed_high : bool
        Whether its ends belong to it.

    Raises
    ------
    SpecError
        When it is not a number or lies outside.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            plain = float(value)
        except OverflowError:  # a whole number beyond 1e308
            plain = math.inf
        above = low <= plain if closed_low else low < plain
        below = plain <= high if closed_high else plain < high
        if above and below and math.isfinite(plain):
            return plain
    left, right = "[" if closed_low else "(", "]" if closed_high else ")"
    raise SpecError(f"{name}={value!r} must be a number in {left}{low:g}, {high:g}{right}.")


def whole(name: str, value: object, low: int = 1, high: int = 2**63 - 1) -> int:
    """A whole number of the range, its ends included, as an int; booleans excluded.

    Raises
    ------
    SpecError
        When it is not a whole number or lies outside.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        plain = int(value)
        if low <= plain <= high:
            return plain
        if plain > high:
            raise SpecError(f"{name}={value!r} must be a whole number, {high} or less.")
    raise SpecError(f"{name}={value!r} must be a whole number, {low} or more.")


def flag(name: str, value: object) -> bool:
    """True or False of Python or NumPy, as a bool.

    Raises
    ------
    SpecError
        When it is anything else.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise SpecError(f"{name}={value!r} must be True or False.")


def normalise(settings: Any) -> None:
    """Turn every float, int and bool field of a frozen dataclass into its plain type.

    So that equal settings print, compare and serialise alike, whatever kind of number the user
    gave. Numbers must be 0 or more. Fields of other types are left alone.

    Raises
    ------
    SpecError
        At the first field that is not of its declared type or is negative.
    """
    owner = settings.name
    for f in fields(settings):
        value: object = getattr(settings, f.name)
        label = f"{owner}: {f.name}"
        if f.type == "float":
            value = number(label, value)
        elif f.type == "int":
            value = whole(label, value, 0)
        elif f.type == "bool":
            value = flag(label, value)
        object.__setattr__(settings, f.name, value)

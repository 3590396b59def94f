"""Checks that settings of both kinds share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from nbmlp.errors import SpecError, unknown_name

__all__ = ["assign", "choice", "from_dict", "known", "several"]

Self = TypeVar("Self")


def assign(settings: object, **values: Any) -> None:
    """Write checked values into a frozen instance that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


def several(value: object) -> bool:
    """Whether a setting has an entry of its own for each layer."""
    return isinstance(value, Iterable) and not isinstance(value, str)


def choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise SpecError unless it is one of the choices."""
    if value not in choices:
        raise SpecError(f"{name}={value!r}: choose {' or '.join(choices)}.")


def known(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The settings themselves, when all of them are fields of the class."""
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise unknown_name("setting", key, names)
    return values


def from_dict(cls: type[Self], values: dict[str, Any]) -> Self:
    """An instance from plain values; raises SpecError on a setting that is unknown or missing."""
    given = known(cls, values)
    for f in fields(cls):  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in given:
            raise SpecError(f"setting {f.name} is missing.")
    return cls(**given)

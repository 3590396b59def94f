"""One grammar for the API, the TOML file and the command line.

``"huber"``, ``"huber(1.5)"``, ``"uniform(-1, 1)"``, ``"adam(beta2=0.99)"``; and names with aliases.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

from nbmlp.errors import SpecError, unknown_name

__all__ = ["Call", "Row", "build", "parse_call", "resolve", "spellings"]

Built = TypeVar("Built")


class Call(NamedTuple):
    """A parsed ``name(args, key=value)``; what the arguments must be is for the name to say."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def parse_call(text: object, kind: str) -> Call:
    """Parse ``name`` or ``name(1, key=2)``; numbers, booleans, strings and None only.

    Parameters
    ----------
    text : str
        What the user wrote.
    kind : str
        What it stands for, named in the error.

    Raises
    ------
    SpecError
        When it is neither a name nor a name with literal arguments.
    """
    try:
        node = ast.parse(str(text).strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return Call(node.id, (), {})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            args = tuple(_literal(a) for a in node.args)
            kwargs = {str(k.arg): _literal(k.value) for k in node.keywords}
            if len(kwargs) == len(node.keywords):  # none is given twice
                return Call(node.func.id, args, kwargs)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass  # all that ast raises on text that is no call of a name with literals
    raise SpecError(f'{kind} {text!r} cannot be read: write a name, or "name(1.5)".')


def _literal(node: ast.expr) -> float | bool | str | None:
    value: object = ast.literal_eval(node)
    if value is None or isinstance(value, int | float | str):
        return value
    raise ValueError


def build(
    value: object, kind: str, table: Mapping[str, type[Built]], *, positional: int | None = None
) -> Built:
    """Make the settings object that a name, ``"name(1, key=2)"`` or a dict with ``name`` means.

    Parameters
    ----------
    value : str or dict
        What the user wrote.
    kind : str
        What it stands for, named in the errors.
    table : mapping of str to dataclass
        The classes by name.
    positional : int, optional
        Settings that may be written without their name; all when not given.

    Raises
    ------
    SpecError
        Unknown name, unknown setting (nearest valid one named) or a value out of range.
    """
    if isinstance(value, dict):
        call = Call(value.get("name", ""), (), {k: v for k, v in value.items() if k != "name"})
    else:
        call = parse_call(str(value), kind)
    name, args, settings = call
    if not isinstance(name, str) or name not in table:
        raise unknown_name(kind, name, table)
    names = [f.name for f in fields(table[name])]  # type: ignore[arg-type]
    first = names[:positional]
    if len(args) > len(first) or (settings and not names):
        takes = ", ".join(first) or "no settings"
        rest = ", the others as name=value" if len(first) < len(names) else ""
        given = len(args) + len(settings)
        raise SpecError(f"{kind} {name} takes {takes}{rest}: {given} given.")
    for key in settings:
        if key not in names:
            raise unknown_name(f"setting of {name}", key, names)
        if key in first[: len(args)]:
            raise SpecError(f"{kind} {name}: {key} is given twice.")
    return table[name](**dict(zip(first, args, strict=False)), **settings)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is to be known of a name.

    Attributes
    ----------
    name : str
        As model files have it, for ever.
    aliases : tuple of str
        What may be written for it.
    """

    name: str
    aliases: tuple[str, ...] = ()


def spellings(table: Mapping[str, Row]) -> dict[str, str]:
    """What may be written for the names of a table, aliases included, and what it means."""
    aliases = {alias: row.name for row in table.values() for alias in row.aliases}
    return {name: name for name in table} | aliases


def resolve(name: str, table: Mapping[str, Row], kind: str) -> str:
    """Turn a name or alias into the name of the table, or raise with the nearest one.

    Raises
    ------
    SpecError
        When `name` is in neither.
    """
    known = spellings(table)
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]

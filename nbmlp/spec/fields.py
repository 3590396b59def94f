"""What the fields of a settings class say of themselves: the one reader for all who offer them."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import MISSING, Field, fields
from typing import Any, NamedTuple

__all__ = ["Setting", "described"]


class Setting(NamedTuple):
    """One thing that may be set.

    Attributes
    ----------
    name : str
    kind : str
        Its type as written, that of the checked value.
    default : object
        None where there is none.
    help : str
        What the class's docstring says of it, as plain text.
    choices : tuple of str
        All values that it may have, if they are few words.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()


def _helps(cls: type) -> dict[str, str]:
    """Name -> text of the Attributes section of a numpydoc docstring."""
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\S.*?) : .*\n((?:[ ]{4}.*\n?|\n)*)", section, re.MULTILINE):
        plain = " ".join(textwrap.dedent(text).split()).replace("``", "")
        found |= dict.fromkeys(names.split(", "), plain)
    return found


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def described(cls: type[Any]) -> dict[str, Setting]:
    """The fields of a dataclass by name, in their order.

    Parameters
    ----------
    cls : type
        Its docstring tells the help; its ``CHOICES``, if there are any, name the values of fields.
    """
    helps, choices = _helps(cls), getattr(cls, "CHOICES", {})
    return {
        f.name: Setting(
            f.name, str(f.type), _default(f), helps.get(f.name, ""), tuple(choices.get(f.name, ()))
        )
        for f in fields(cls)
    }

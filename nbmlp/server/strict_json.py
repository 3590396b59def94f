"""JSON as it was meant: no name twice in an object, no more of anything than requests need."""

from __future__ import annotations

import json
from typing import Any

from nbmlp.errors import DataError

__all__ = ["MalformedError", "loads"]

#: Names of one object; those of the API have a few dozen.
_MOST_NAMES = 1000


class MalformedError(DataError):
    """What was sent is no JSON, or none that is taken (HTTP 400)."""


def loads(text: bytes) -> Any:
    """The value that a text in UTF-8 holds.

    Raises
    ------
    MalformedError
        It is no JSON; a name comes twice; objects or lists lie too deep in each other.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise MalformedError("the request is not UTF-8.") from None
    except RecursionError:
        raise MalformedError("the request is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedError(f"the request is no JSON: {error.msg} at {where}.") from None
    except MalformedError:
        raise
    except ValueError:  # a number of thousands of digits
        raise MalformedError("the request holds a number that is too long.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedError(f"the request has the name {twice[:80]!r} twice in one object.")
    if len(found) > _MOST_NAMES:
        raise MalformedError(
            f"the request has an object of {len(found)} names; at most {_MOST_NAMES} are taken."
        )
    return found

"""What the routes share: the service, the settings, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from nbmlp.server.http.limits import Lanes, Places
from nbmlp.server.http.sessions import Tokens
from nbmlp.server.ports import Page, Service, Token
from nbmlp.server.settings import ServerSettings

__all__ = [
    "After", "Asker", "Context", "Digits", "Identifier", "Limit", "Listing", "Owner", "Who",
]  # fmt: skip

Item = TypeVar("Item")


def _digits(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("write it with digits only")
    return value


#: For numbers in a query or a header: "+1.0" and "1_0" would be taken, too.
Digits = BeforeValidator(_digits)
_ULID = r"^[0-9A-HJKMNP-TV-Z]{26}$"
#: Names that the server has given.
Identifier = Annotated[
    str, StringConstraints(pattern=_ULID), Path(examples=["01J9ZC4N3V0000000000000000"])
]
After = Annotated[
    Annotated[str, StringConstraints(pattern=_ULID)] | SkipJsonSchema[None],
    Query(description="The last id of the page before."),
]
Limit = Annotated[int, Field(ge=1, le=200), Digits, Query(description="Most items.")]


@dataclass(frozen=True)
class Context:
    """Built once for an application.

    Attributes
    ----------
    service : Service
    settings : ServerSettings
    tokens : Tokens
    uploads, streams : Places
        Of each user.
    parsers : Lanes
        Of the processes that read uploaded files.
    """

    service: Service
    settings: ServerSettings
    tokens: Tokens
    uploads: Places
    streams: Places
    parsers: Lanes


class Listing(BaseModel, Generic[Item]):
    """Some of a list, newest first; ask for the next with ``after`` = the last item's id."""

    data: tuple[Item, ...]
    has_more: bool

    @classmethod
    def of(cls, page: Page[Item]) -> Listing[Item]:
        """As the service gives it."""
        return cls(data=page.items, has_more=page.has_more)


@dataclass(frozen=True)
class Who:
    """Who asks.

    Attributes
    ----------
    party : str
        A user's page, or a user's programs: they have places of their own.
    token : Token
        With limits of its own.
    """

    party: str
    token: Token


def _who(request: Request) -> Who:
    return Who(request.state.party, request.state.token)


def _owner(request: Request) -> str:
    token: Token = request.state.token
    return token.label


Asker = Annotated[Who, Depends(_who)]
#: Its label: the owner of what it makes.
Owner = Annotated[str, Depends(_owner)]

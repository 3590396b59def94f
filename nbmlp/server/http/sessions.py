"""Who is asking: tokens of programs, cookies of browsers."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Scope

from nbmlp.server.ports import Service, Token

__all__ = ["Session", "Sessions", "Tokens", "cookie_name", "secret_of"]

_COOKIE = "nbmlp_session"
#: Seconds for which a token that was good counts as good without asking the database.
_TRUSTED = 10.0
_TOKENS_REMEMBERED = 1000
#: Browsers that one user may have signed in with; the oldest one is signed out then.
_SESSIONS = 50
#: Nobody's token is longer; what is longer is not worth hashing.
_LONGEST_SECRET = 512


@dataclass(frozen=True)
class Session:
    """A browser that has signed in.

    Attributes
    ----------
    user : str
        Id of its token.
    csrf : str
        What its writes must carry.
    ends : float
        By the clock of :class:`Sessions`.
    """

    user: str
    csrf: str
    ends: float


class Sessions:
    """Browsers that have signed in; kept in memory, hashed: a restart signs everybody out.

    Parameters
    ----------
    hours : float
        Length of a session.
    clock : callable, optional
        Seconds, rising.
    """

    def __init__(self, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = int(hours * 3600), clock
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, user: str) -> str:
        """A new session's secret."""
        own = [name for name, session in self._sessions.items() if session.user == user]
        for name in own[: max(0, len(own) + 1 - _SESSIONS)]:
            del self._sessions[name]
        secret = secrets.token_urlsafe(32)
        ends = self._clock() + self.seconds
        self._sessions[_digest(secret)] = Session(user, secrets.token_urlsafe(32), ends)
        return secret

    def find(self, secret: str) -> Session | None:
        """The session with this secret."""
        session = self._sessions.get(_digest(secret)) if secret else None
        return session if session and session.ends > self._clock() else None

    def end(self, secret: str) -> None:
        """Sign out."""
        self._sessions.pop(_digest(secret), None)


def cookie_name(scope: Scope) -> str:
    """Of a session; cookies do not know ports: two servers on one machine need two names."""
    _, port = scope["server"]
    return f"{_COOKIE}_{port}"


def secret_of(scope: Scope) -> str:
    """Of the session that a request's cookies name; empty without."""
    return HTTPConnection(scope).cookies.get(cookie_name(scope), "")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """Tokens that are good, remembered for some seconds so that a prediction asks no database.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._good: OrderedDict[bytes | str, tuple[Token, float]] = OrderedDict()
        self._hashes: frozenset[str] = frozenset()
        self._read = -math.inf

    async def knows(self, secret: str) -> bool:
        """Whether there is, or was some seconds ago, a token with this secret.

        That is cheap, however many secrets are tried: the database is asked for the hashes of all
        tokens every few seconds at most.
        """
        if not secret or len(secret) > _LONGEST_SECRET:
            return False
        digest, now = _digest(secret).hex(), time.monotonic()
        if digest not in self._hashes and now > self._read + _TRUSTED:
            self._read = now
            self._hashes = await run_in_threadpool(self._service.token_hashes)
        return digest in self._hashes

    async def of_secret(self, secret: str) -> Token | None:
        """The token with this secret."""
        if not secret or len(secret) > _LONGEST_SECRET:
            return None
        return await self._ask(_digest(secret), self._service.verify_token, secret)

    async def of_id(self, token_id: str) -> Token | None:
        """The token with this id: that of a session may have been revoked since."""
        return await self._ask(token_id, self._service.find_token, token_id)

    async def _ask(
        self, key: bytes | str, ask: Callable[[str], Token | None], what: str
    ) -> Token | None:
        token, until = self._good.get(key, (None, 0.0))
        if until > time.monotonic():
            return token
        token = await run_in_threadpool(ask, what)
        if token is None:
            self._good.pop(key, None)
            return None
        self._good[key] = token, time.monotonic() + _TRUSTED
        if len(self._good) > _TOKENS_REMEMBERED:
            self._good.popitem(last=False)
        return token

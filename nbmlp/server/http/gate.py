"""The outermost layer of the application: nothing gets past it that is not allowed by name."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nbmlp.errors import NbmlpError
from nbmlp.server.http.bodies import Incoming, Pace, in_pieces
from nbmlp.server.http.errors import RefusedError, answer
from nbmlp.server.http.headers import SECURITY
from nbmlp.server.http.limits import Held, RateLimit, Share, TooManyError, network_of
from nbmlp.server.http.memory import Tidy
from nbmlp.server.http.origin import check_host, check_origin
from nbmlp.server.http.sessions import Session, Sessions, Tokens, secret_of
from nbmlp.server.ports import Token
from nbmlp.server.settings import ServerSettings

__all__ = ["UPLOADS", "Answered", "Gate", "is_open"]

_LOG = logging.getLogger("nbmlp.server")
#: They cost nothing, and who watches over the server must get an answer whoever else asks.
_HEALTH = frozenset({"/v2/health/live", "/v2/health/ready"})
#: What needs no token; everything else does.
_OPEN = _HEALTH | {"/login"}
_OPEN_FOLDER = "/static"
#: Files come here: they have limits of their own.
UPLOADS = "/v1/datasets/"
#: Rows to predict come here.
_MODELS, _INFER = "/v2/models/", "/infer"
#: Its form carries the session's token in a field.
_FORMS = frozenset({"/login", "/logout"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
#: Of a body that is neither a file nor rows.
_SMALL, _MB = 1 << 16, 1 << 20
#: Seconds that a request may have to wait for its turn, and that it takes to say that it has none:
#: who asks again at once costs nobody anything.
_PATIENCE, _PENALTY = 5.0, 0.5


@dataclass
class Answered:
    """What the logs and the metrics want to know of a request.

    Attributes
    ----------
    scope : dict
        After routing: ``scope["route"]`` is what answered.
    status : int
        0 when nothing was answered.
    started : float
        By ``time.perf_counter``.
    """

    scope: Scope
    status: int = 0
    started: float = field(default_factory=time.perf_counter)


def is_open(path: str) -> bool:
    """Whether a path needs no token."""
    folder, _, name = path.rpartition("/")
    return path in _OPEN or (folder == _OPEN_FOLDER and name != "")


class Gate:
    """ASGI middleware: host, origin, who asks, how often and how much; headers.

    Parameters
    ----------
    app : ASGI application
        What is behind it.
    settings : ServerSettings
    tokens : Tokens
    sessions : Sessions
    observe : callable(Answered)
        Told of every request when it has ended.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        tokens: Tokens,
        sessions: Sessions,
        observe: Callable[[Answered], None],
    ) -> None:
        self._app, self._settings, self._observe = app, settings, observe
        self._tokens, self._sessions = tokens, sessions
        self._rate = RateLimit(settings.rate, settings.burst, _PATIENCE)
        # Not all: strangers' connections and new ones need places, too.
        self._requests = Share(
            max(2, settings.max_connections * 7 // 8),
            "too many requests of yours are at work: wait until some have ended.",
        )
        self._bytes = Share(
            settings.work_bytes,
            "too many bytes of bodies and answers are at work: wait until some have been sent.",
        )
        self._tidy = Tidy()
        extra = {name.strip().lower() for name in settings.allowed_hosts.split(",")} - {""}
        self._hosts = _LOCAL | extra | {settings.host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        done = Answered(scope)
        send = _hardened(send, done)
        try:
            await self._hand_on(scope, receive, send, done)
        except RefusedError as refusal:
            await _refusal(refusal, scope)(scope, receive, send)
        except NbmlpError as error:
            await answer(error)(scope, receive, send)
        except asyncio.CancelledError:
            if not done.status:
                said = {"error": "the server is about to end: try again in a moment."}
                await JSONResponse(said, 503, {"Retry-After": "5"})(scope, receive, send)
            raise
        finally:
            self._observe(done)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send, done: Answered) -> None:
        headers = Headers(scope=scope)
        network = network_of((scope.get("client") or ("",))[0])
        state = scope.setdefault("state", {})
        state.update(user="", csrf="", token=None, party="")
        check_host(scope, headers, self._hosts)
        if scope["path"] in _HEALTH:
            return await self._call(scope, receive, send, done)
        await self._admit(scope, headers, network)
        party = state["party"] or network
        with self._requests.hold(party, 1), self._bytes.hold(party) as held:
            state["held"] = held
            await self._call(scope, self._bounded(scope, headers, receive, held), send, done)
            large = held.amount > _MB
        if large:
            self._tidy.soon()

    async def _call(self, scope: Scope, receive: Receive, send: Send, done: Answered) -> None:
        """What is behind; its errors are logged, and told as such if nothing was told yet."""
        head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if head else scope
        try:
            await self._app(inner, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be told anything
        except Exception:
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
            if not done.status:
                said = {"error": "the server met an error of its own: see its log."}
                await JSONResponse(said, 500)(scope, receive, send)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]

    # -- who may

    async def _admit(self, scope: Scope, headers: Headers, network: str) -> None:
        path, state, writes = scope["path"], scope["state"], scope["method"] not in _SAFE
        if writes:
            check_origin(scope, headers)
        token, session = await self._identify(scope, headers, network)
        if is_open(path):
            return
        if token is None:
            raise RefusedError(
                401, "sign in, or send Authorization: Bearer and a token.",
                WWW_Authenticate='Bearer realm="nbmlp"',
            )  # fmt: skip
        state.update(user=token.id, token=token)
        if session is not None:
            state["csrf"] = session.csrf
            given = headers.get("x-csrf-token", "")
            same = hmac.compare_digest(given.encode(), session.csrf.encode())
            if writes and path not in _FORMS and not same:
                raise RefusedError(403, "the page's token is missing or old: reload the page.")

    async def _identify(
        self, scope: Scope, headers: Headers, network: str
    ) -> tuple[Token | None, Session | None]:
        """Who asks, when it is their turn: by themselves if they are known, else by address."""
        kind, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip() if kind.lower() == "bearer" else ""
        session = None if kind else self._sessions.find(secret_of(scope))
        # No database is asked about a secret that nobody has: trying many costs the address.
        strange = session is None and not await self._tokens.knows(secret)
        if strange:
            await self._turn(network)
        if session is None:
            token = await self._tokens.of_secret(secret)
        else:
            token = await self._tokens.of_id(session.user)
        if token is None:
            if not strange:
                await self._turn(network)
            return None, None
        # A page and the programs of the same person do not wait for each other.
        scope["state"]["party"] = party = f"{token.id} {'page' if session else 'programs'}"
        await self._turn(party, token)
        return token, session

    async def _turn(self, client: str, token: Token | None = None) -> None:
        """Wait until a client may ask; raises TooManyError."""
        try:
            rate, burst = (token.rate, token.burst) if token else (None, None)
            wait = self._rate.take(client, rate, burst)
        except TooManyError:
            await asyncio.sleep(_PENALTY)
            raise
        if wait:
            await asyncio.sleep(wait)

    # -- what comes in

    def _bounded(self, scope: Scope, headers: Headers, receive: Receive, held: Held) -> Receive:
        method, path, settings = scope["method"], scope["path"], self._settings
        if method in _SAFE:
            return receive
        pace = Pace(settings.body_rate, settings.header_seconds)
        if method == "PUT" and path.startswith(UPLOADS):
            return Incoming(receive, headers, None, math.inf, pace, held)
        rows = path.startswith(_MODELS) and path.endswith(_INFER)
        most = settings.body_mb * _MB if rows else _SMALL
        return Incoming(receive, headers, most, settings.body_seconds, pace, held)


def _hardened(send: Send, done: Answered) -> Send:
    """Headers for every answer; no body for who has asked for the head alone."""
    head = done.scope["method"] == "HEAD"

    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            done.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(SECURITY)
            headers.setdefault("Cache-Control", "no-store")
            await send(message)
            if head:  # at once: a stream would go on
                await send({"type": "http.response.body"})
        elif not head:
            await in_pieces(send, message)

    return hardened


def _refusal(refusal: RefusedError, scope: Scope) -> Response:
    wants_page = "text/html" in Headers(scope=scope).get("accept", "")
    if refusal.status == 401 and wants_page and scope["method"] == "GET":
        query = scope["query_string"].decode("latin-1")
        address = f"/login?next={quote(scope['path'] + (query and f'?{query}'))}"
        page = f'<!doctype html><title>Sign in</title><a href="{address}">Sign in</a>'
        return HTMLResponse(page, 401, {**refusal.headers, "Refresh": f"0; url={address}"})
    return JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)

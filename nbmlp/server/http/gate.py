"""The outermost layer of the application: nothing gets past it that is not allowed by name."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nbmlp.errors import NbmlpError
from nbmlp.server.http.errors import answer
from nbmlp.server.http.limits import RateLimit, network_of
from nbmlp.server.http.sessions import Sessions, Tokens
from nbmlp.server.settings import ServerSettings

__all__ = ["UPLOADS", "Answered", "Gate", "is_open"]

_LOG = logging.getLogger("nbmlp.server")
#: What needs no token; everything else does.
_OPEN = frozenset({"/v2/health/live", "/v2/health/ready", "/login"})
_OPEN_FOLDER = "/static"
#: Files come here: they have limits of their own.
UPLOADS = "/v1/datasets/"
#: Its form carries the session's token in a field.
_FORMS = frozenset({"/login", "/logout"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_MB = 1 << 20
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


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


class _RefusedError(Exception):
    """Not allowed: how to answer."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def is_open(path: str) -> bool:
    """Whether a path needs no token."""
    folder, _, name = path.rpartition("/")
    return path in _OPEN or (folder == _OPEN_FOLDER and name != "")


def _host_name(host: str) -> str:
    """Of a Host header, without its port; empty when it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Gate:
    """ASGI middleware: host, rate, authentication, origin, size and time of bodies, headers.

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
        self._rate = RateLimit(settings.rate, settings.burst)
        extra = {name.strip().lower() for name in settings.allowed_hosts.split(",")} - {""}
        self._hosts = _LOCAL | extra | {settings.host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        done = Answered(scope)
        send = self._hardened(send, done)
        try:
            await self._admit(scope)
        except _RefusedError as refusal:
            await _refusal(refusal, scope)(scope, receive, send)
        except NbmlpError as error:
            await answer(error)(scope, receive, send)
        else:
            await self._call(scope, self._bounded(scope, receive), send, done)
        finally:
            self._observe(done)

    async def _call(self, scope: Scope, receive: Receive, send: Send, done: Answered) -> None:
        """What is behind; its errors are logged, and told as such if nothing was told yet."""
        try:
            await self._app(scope, receive, send)
        except Exception:
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
            if not done.status:
                said = {"error": "the server met an error of its own: see its log."}
                await JSONResponse(said, 500)(scope, receive, send)

    # -- who may

    async def _admit(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        state = scope.setdefault("state", {})
        state.update(user="", csrf="", token=None)
        if _host_name(headers.get("host", "")) not in self._hosts:
            raise _RefusedError(
                400, "this host name is not known here: add it with --allowed-hosts."
            )
        client = scope.get("client") or ("", 0)
        self._rate.take(network_of(client[0]))
        writes = scope["method"] not in _SAFE
        if writes:
            _check_origin(headers)
        if is_open(path):
            return
        await self._authenticate(headers, path, state, writes)
        self._rate.take(state["user"])

    async def _authenticate(
        self, headers: Headers, path: str, state: dict[str, Any], writes: bool
    ) -> None:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (token := await self._tokens.of_secret(secret.strip())):
            state.update(user=token.id, token=token)
            return
        session = None if kind else self._sessions.find(headers.get("cookie", ""))
        token = None if session is None else await self._tokens.of_id(session.user)
        if session is None or token is None:
            raise _RefusedError(
                401, "sign in, or send Authorization: Bearer and a token.",
                WWW_Authenticate='Bearer realm="nbmlp"',
            )  # fmt: skip
        state.update(user=token.id, token=token, csrf=session.csrf)
        given = headers.get("x-csrf-token", "")
        if (
            writes
            and path not in _FORMS
            and not hmac.compare_digest(given.encode(), session.csrf.encode())
        ):
            raise _RefusedError(403, "the page's token is missing or old: reload the page.")

    # -- what comes in and goes out

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Bodies end after some bytes and some time; uploads have their own limits."""
        if scope["method"] in _SAFE or (
            scope["method"] == "PUT" and scope["path"].startswith(UPLOADS)
        ):
            return receive
        most, seconds = self._settings.body_mb * _MB, self._settings.body_seconds
        count, ends, whole = 0, asyncio.get_running_loop().time() + seconds, False

        async def bounded() -> Message:
            nonlocal count, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body took too long to arrive.") from None
            count += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if count > most:
                raise HTTPException(413, f"the body is larger than {most // _MB} MB.")
            return message

        return bounded

    @staticmethod
    def _hardened(send: Send, done: Answered) -> Send:
        """Headers for every answer."""

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                done.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return hardened


def _check_origin(headers: Headers) -> None:
    """A browser says which page asks: it has to be one of ours."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    ours = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not ours or site not in (None, "same-origin", "none"):
        raise _RefusedError(403, "this request comes from a page of another site.")


def _refusal(refusal: _RefusedError, scope: Scope) -> Response:
    wants_page = "text/html" in Headers(scope=scope).get("accept", "")
    if refusal.status == 401 and wants_page and scope["method"] == "GET":
        query = scope["query_string"].decode("latin-1")
        address = f"/login?next={quote(scope['path'] + (query and f'?{query}'))}"
        page = f'<!doctype html><title>Sign in</title><a href="{address}">Sign in</a>'
        return HTMLResponse(page, 401, {**refusal.headers, "Refresh": f"0; url={address}"})
    return JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)

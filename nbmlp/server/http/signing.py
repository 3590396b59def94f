"""Signing in and out, for browsers."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse

from nbmlp.server.http.sessions import COOKIE, Sessions, Tokens

__all__ = ["router"]

_LONGEST_FORM = 8192


def router(tokens: Tokens, sessions: Sessions) -> APIRouter:
    """Routes ``/login`` and ``/logout``; the page shows the form."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/login")
    async def login(request: Request) -> RedirectResponse:
        fields = await _form(request)
        token = await tokens.of_secret(fields.get("token", "").strip())
        place = _own_path(fields.get("next", ""))
        if token is None:
            return RedirectResponse(f"/login?{urlencode({'wrong': 1, 'next': place})}", 303)
        answer = RedirectResponse(place, 303)
        answer.set_cookie(
            COOKIE, sessions.begin(token.id), max_age=sessions.seconds, httponly=True,
            samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    @routes.post("/logout")
    async def logout(request: Request) -> RedirectResponse:
        given = (await _form(request)).get("csrf", "")
        if not hmac.compare_digest(given.encode(), request.state.csrf.encode()):
            raise HTTPException(403, "the page's token is missing or old: reload the page.")
        sessions.end(request.headers.get("cookie", ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return routes


async def _form(request: Request) -> dict[str, str]:
    """Its fields; a stranger's form is read no further than a form is long."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "the form is too long.")
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}


def _own_path(wanted: str) -> str:
    """Where to go after signing in: a path here and nowhere else."""
    parts = urlsplit(wanted)
    here = wanted.startswith("/") and not parts.netloc and not wanted.startswith(("//", "/\\"))
    return wanted if here and wanted.isprintable() else "/"

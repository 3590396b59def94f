"""Signing in and out, for browsers."""

from __future__ import annotations

import hmac
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import QueryParams

from nbmlp.server.http.sessions import Sessions, Tokens, cookie_name, secret_of

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
            cookie_name(request.scope), sessions.begin(token.id), max_age=sessions.seconds,
            httponly=True, samesite="strict", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    @routes.post("/logout")
    async def logout(request: Request) -> RedirectResponse:
        given = (await _form(request)).get("csrf", "")
        if not hmac.compare_digest(given.encode(), request.state.csrf.encode()):
            raise HTTPException(403, "the page's token is missing or old: reload the page.")
        sessions.end(secret_of(request.scope))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(cookie_name(request.scope), httponly=True, samesite="strict")
        return answer

    return routes


async def _form(request: Request) -> QueryParams:
    """Its fields; a stranger's form is read no further than a form is long."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, "the form is too long.")
    return QueryParams(body.decode("utf-8", "replace"))


def _own_path(wanted: str) -> str:
    """Where to go after signing in: a path here and nowhere else."""
    here = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if here and wanted.isprintable() else "/"

"""Whether the server answers and can work: open to everybody, as often as they like."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from nbmlp.server.ports import Service

__all__ = ["ShortWay", "router"]

#: Seconds for which an answer holds: it asks the database, and anybody may ask for it.
_HOLDS = 1.0


class _Ready:
    """Whether the service can work, looked up once for all who ask at the same time."""

    def __init__(self, service: Service) -> None:
        self._service, self._well, self._asked = service, False, -math.inf
        self._one = asyncio.Lock()

    async def __call__(self) -> bool:
        async with self._one:
            if time.monotonic() > self._asked + _HOLDS:
                self._well = (await run_in_threadpool(self._service.health)).ready
                self._asked = time.monotonic()
            return self._well


def router(service: Service) -> APIRouter:
    """Routes below ``/v2/health``."""
    routes = APIRouter(prefix="/v2/health", tags=["server"])
    nobody: dict[str, Any] = {"openapi_extra": {"security": []}}
    well = _Ready(service)

    @routes.get("/live", operation_id="server_live", response_model=dict[str, bool], **nobody)
    async def live() -> JSONResponse:
        """Whether the server answers."""
        return JSONResponse({"live": True})

    @routes.get(
        "/ready",
        operation_id="server_ready",
        responses={503: {"description": "Not now."}},
        **nobody,
    )
    async def ready() -> JSONResponse:
        """Whether it can work; by what was so within the last second."""
        answer = await well()
        return JSONResponse({"ready": answer}, 200 if answer else 503)

    return routes


class ShortWay:
    """ASGI middleware: tells how the server is without a search through all routes.

    That takes several times as long as the answer, and everybody may ask as often as they like: a
    hundred who do so at once would make all others wait.

    Parameters
    ----------
    app : ASGI application
        For all other requests.
    routes : APIRouter
        From :func:`router`: without parameters, and each gives a response.
    """

    def __init__(self, app: ASGIApp, routes: APIRouter) -> None:
        self._app = app
        self._routes = {route.path: route for route in routes.routes if isinstance(route, APIRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        route = self._routes.get(scope["path"]) if scope.get("method") == "GET" else None
        if route is None:
            return await self._app(scope, receive, send)
        scope["route"] = route
        response = await route.endpoint()
        await response(scope, receive, send)

"""Routes whose JSON is read strictly."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from nbmlp.server.strict_json import MalformedError, loads

__all__ = ["StrictRoute"]


class _Request(Request):
    async def json(self) -> Any:
        """The body; FastAPI hands no other errors on than these."""
        try:
            return loads(await self.body())
        except MalformedError as error:
            raise HTTPException(400, str(error)) from None


class StrictRoute(APIRoute):
    """A route that takes no name twice in its JSON, and says where a body is no JSON at all."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return answer

"""/docs: the OpenAPI document for people; rendered here, so that it works offline and safely."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["router"]

_TEMPLATES = Environment(
    loader=PackageLoader("nbmlp.server.http"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def router() -> APIRouter:
    """The route ``/docs``."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        schema: dict[str, Any] = request.app.openapi()
        return HTMLResponse(_TEMPLATES.get_template("docs.html").render(schema=schema))

    return routes

"""The page: what people see of the server, rendered there, brought to life by a little script."""

from __future__ import annotations

from nbmlp.server.page.routes import router

__all__ = ["router"]

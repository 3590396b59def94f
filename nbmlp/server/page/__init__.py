"""The page: what people see of the server, rendered there, brought to life by a little script."""

from __future__ import annotations

from nbmlp.server.page.routes import login_page, router

__all__ = ["login_page", "router"]

"""The application: routes behind the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

import nbmlp
from nbmlp.server.http import datasets, errors, health, jobs, models, observe, schema, signing
from nbmlp.server.http.context import Context
from nbmlp.server.http.feed import Feed
from nbmlp.server.http.gate import Gate
from nbmlp.server.http.inference import Predictions
from nbmlp.server.http.limits import Lanes, Places
from nbmlp.server.http.memory import Tidy
from nbmlp.server.http.serving import Kept
from nbmlp.server.http.sessions import Sessions, Tokens
from nbmlp.server.page.routes import router as page_router
from nbmlp.server.ports import Service
from nbmlp.server.settings import ServerSettings

__all__ = ["create_app"]

#: The largest answer with predictions is one in so many of all bytes that may be at work.
_ANSWERS = 4
_DESCRIPTION = (
    "Trains multilayer perceptrons on this machine's CPUs. Send `Authorization: Bearer <token>`"
    ' with every request; every error is `{"error": sentence}`.'
)


def create_app(service: Service, settings: ServerSettings) -> FastAPI:
    """Everything that is answered over HTTP.

    Parameters
    ----------
    service : Service
        Started and closed with the application.
    settings : ServerSettings

    Returns
    -------
    FastAPI
    """
    feed, kept = Feed(service), Kept(service, settings.models_kept)
    tokens, sessions = Tokens(service), Sessions(settings.session_hours)
    uploads = Places(settings.uploads, "uploads")
    streams = Places(settings.max_streams, "event streams")
    context = Context(service, settings, tokens, uploads, streams, Lanes(settings.parsers))
    predictions = Predictions(settings.work_bytes // _ANSWERS)
    observer = observe.Observer(service, context.streams)
    asking = health.router(service)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        feed.open()
        tidying = asyncio.create_task(Tidy().watch())
        yield
        tidying.cancel()
        feed.close()
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="nbmlp", version=nbmlp.__version__, description=_DESCRIPTION, lifespan=life,
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    for routes in (
        datasets.router(context), jobs.router(context, feed), models.router(context, kept),
        models.inference(kept, predictions), asking, observe.router(observer),
        signing.router(tokens, sessions), page_router(service),
    ):  # fmt: skip
        app.include_router(routes)
    errors.add_handlers(app)
    schema.complete(app)
    app.add_middleware(health.ShortWay, routes=asking)
    app.add_middleware(Gate, settings=settings, tokens=tokens, sessions=sessions, observe=observer)
    app.state.feed = feed
    return app

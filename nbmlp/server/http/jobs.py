"""Jobs: submit, watch, steer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from nbmlp.server.http.context import (
    After,
    Asker,
    Context,
    Digits,
    Identifier,
    Limit,
    Listing,
    Owner,
    Who,
)
from nbmlp.server.http.errors import problems
from nbmlp.server.http.feed import Feed
from nbmlp.server.http.limits import Places
from nbmlp.server.http.sessions import Tokens
from nbmlp.server.http.strict import StrictRoute
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import TERMINAL, CheckpointInfo, Job, JobSummary, Token

__all__ = ["router"]

#: Seconds of silence after which a stream gives a sign of life.
_PATIENCE = 15.0
Key = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]
    | SkipJsonSchema[None],
    Header(description="The same key and body give the same job again; another body is refused."),
]
_Number = Annotated[int, Field(ge=0, le=2**53), Digits]
LastEventId = Annotated[_Number, Header(description="Number of the last event that is known.")]
Event = Annotated[_Number, Query(description="Begin behind the event of this number.")]
Epoch = Annotated[_Number, Query(description="The last epoch of the page before.")]
Rows = Annotated[int, Field(ge=1, le=2000), Digits, Query(description="Most rows.")]
Points = Annotated[
    Annotated[int, Field(ge=10, le=2000), Digits] | SkipJsonSchema[None],
    Query(
        description="Only every n-th of all epochs, of an ensemble every n-th of each net, so that"
        " they are no more than so many. The first, the best and the last are among them."
    ),
]
_FRAME = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "data", "id")},
    "required": ["event", "data"],
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: state, epochs, checkpoint, message and diagnosis with"
        " their numbers as ids, and job (no id) whenever the job has changed. The stream ends when"
        " the job has.",
        "content": {"text/event-stream": {"itemSchema": _FRAME}},
    },
    204: {"description": "The job has ended and there are no further events."},
}


class Epochs(BaseModel):
    """What epochs have left behind; what comes after the event of this number is news."""

    data: tuple[dict[str, Any], ...]
    has_more: bool
    last_event: int


class _Stream(EventSourceResponse):
    """A stream that has a place of its user for as long as it runs."""

    def __init__(self, frames: AsyncIterator[bytes], places: Places, who: Who) -> None:
        super().__init__(frames, headers={"X-Accel-Buffering": "no"})
        self._places, self._who = places, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, if there is a place left."""
        with self._places.hold(self._who.party, self._who.token.streams):
            await super().__call__(scope, receive, send)


async def _while_accepted(
    frames: AsyncGenerator[bytes], tokens: Tokens, token: Token
) -> AsyncIterator[bytes]:
    """Frames, until their reader's token is revoked; silence has its own frames."""
    async with aclosing(frames):
        async for frame in frames:
            if await tokens.of_id(token.id) is None:
                return
            yield frame


def router(context: Context, feed: Feed) -> APIRouter:
    """Routes below ``/v1/jobs``."""
    service = context.service
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)

    @routes.post(
        "", operation_id="submit_job", status_code=201, responses=problems(404, 408, 409, 413, 507)
    )
    def submit(spec: JobSpec, owner: Owner, idempotency_key: Key = None) -> Job:
        """Queue a training."""
        return service.submit(spec, idempotency_key, owner)

    @routes.get("", operation_id="list_jobs", responses=problems())
    def listed(after: After = None, limit: Limit = 50) -> Listing[JobSummary]:
        """Jobs in short, newest first."""
        page = service.list_jobs(after, limit)
        return Listing(data=tuple(map(JobSummary.of, page.items)), has_more=page.has_more)

    @routes.get("/{job_id}", operation_id="get_job", responses=problems(404))
    def get(job_id: Identifier) -> Job:
        """A job as it is now."""
        return service.get_job(job_id)

    @routes.delete(
        "/{job_id}", operation_id="delete_job", status_code=204, responses=problems(404, 409)
    )
    def delete(job_id: Identifier) -> None:
        """Forget a job that has ended, with its events and keys; its model stays."""
        service.delete_job(job_id)

    _add_actions(routes, context)
    _add_results(routes, context, feed)
    return routes


def _add_actions(routes: APIRouter, context: Context) -> None:
    service = context.service
    actions = {
        "cancel": (service.cancel, "End a job and discard what it has learned."),
        "pause": (service.pause, "Stop after the batch at hand and wait, without cores."),
        "resume": (service.resume, "Put a paused job back into the queue."),
        "stop": (service.stop, "End a job after the batch at hand and keep the weights so far."),
    }
    for name, (action, description) in actions.items():
        routes.post(
            f"/{{job_id}}/{name}", operation_id=f"{name}_job", description=description,
            summary=name.capitalize(), responses=problems(404, 409),
        )(_route(action))  # fmt: skip


def _route(action: Callable[[str], Job]) -> Callable[[str], Job]:
    def act(job_id: Identifier) -> Job:
        return action(job_id)

    return act


def _add_results(routes: APIRouter, context: Context, feed: Feed) -> None:
    service = context.service

    @routes.get(
        "/{job_id}/events", operation_id="stream_job_events", response_class=StreamingResponse,
        response_model=None, responses={**problems(404), **_STREAM},
    )  # fmt: skip
    async def events(
        job_id: Identifier, who: Asker, last_event_id: LastEventId = 0, after: Event = 0
    ) -> Response:
        """Follow a job; Last-Event-ID goes on where a stream broke off."""
        if await run_in_threadpool(_is_told, job_id, last_event_id):
            return Response(status_code=204)
        frames = feed.follow(job_id, max(after, last_event_id), _PATIENCE)
        return _Stream(_while_accepted(frames, context.tokens, who.token), context.streams, who)

    def _is_told(job_id: str, after: int) -> bool:
        ended = service.get_job(job_id).state in TERMINAL
        return ended and after > 0 and not service.events(job_id, after, 1)

    @routes.get("/{job_id}/metrics", operation_id="get_job_metrics", responses=problems(404))
    def metrics(
        job_id: Identifier, after: Epoch = 0, limit: Rows = 2000, points: Points = None
    ) -> Epochs:
        """One row for each epoch, in order; ask for the next with ``after`` = the last epoch."""
        curve = service.metrics(job_id, after, limit, points)
        return Epochs(data=curve.rows, has_more=curve.has_more, last_event=curve.last_event)

    @routes.get("/{job_id}/checkpoints", operation_id="list_checkpoints", responses=problems(404))
    def checkpoints(job_id: Identifier) -> list[CheckpointInfo]:
        """The checkpoints that are kept, newest first."""
        return service.checkpoints(job_id)

"""What happens to jobs, for many readers at once: one query for each change, however many listen.

A reader is sent frames of server-sent events as fast as it takes them. Nothing is queued for it:
each looks up what it lacks, in the last events of the job that all readers share, or, if it is
further behind, in the database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from nbmlp.server.ports import TERMINAL, Job, JobEvent, Service

__all__ = ["Feed"]

_RECENT = 500
_BATCH = 500
_JOB, _EVENT = TypeAdapter(Job), TypeAdapter(JobEvent)


class _Frame(NamedTuple):
    seq: int
    data: bytes


def _event_frame(event: JobEvent) -> _Frame:
    data = _EVENT.dump_json(event).decode()
    return _Frame(event.seq, format_sse_event(data_str=data, event=event.kind, id=str(event.seq)))


def _job_frame(job: Job) -> bytes:
    """The job as it is, without an id: a reader that comes back is sent it again."""
    return format_sse_event(data_str=_JOB.dump_json(job).decode(), event="job")


class _Topic:
    """One job that somebody follows; `recent` has no gaps and ends with the newest event."""

    def __init__(self, job: Job) -> None:
        self.recent: deque[_Frame] = deque(maxlen=_RECENT)
        self.readers = self.version = 0
        self.stale = self.busy = False
        self.changed = asyncio.Event()
        self.publish(job, [])

    def publish(self, job: Job, frames: list[_Frame]) -> None:
        self.ended, self.job_frame = job.state in TERMINAL, _job_frame(job)
        self.version += 1
        self.recent.extend(frames)
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def last(self) -> int | None:
        return self.recent[-1].seq if self.recent else None

    def after(self, seq: int) -> list[_Frame] | None:
        """What comes behind `seq`; None when that reaches further back than what is kept."""
        if not self.recent or self.recent[0].seq > seq + 1:
            return None
        return [frame for frame in self.recent if frame.seq > seq]


class Feed:
    """Tells readers what happens to jobs.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._topics: dict[str, _Topic] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop_listening: Callable[[], None] = lambda: None
        self._closed = False

    def open(self) -> None:
        """Begin to listen; to be called in the event loop."""
        loop = asyncio.get_running_loop()

        def changed(job_id: str) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wake, job_id)

        self._stop_listening = self._service.on_change(changed)

    def close(self) -> None:
        """Let all readers end."""
        if self._closed:
            return
        self._closed = True
        self._stop_listening()
        for topic in self._topics.values():
            topic.changed.set()

    def _wake(self, job_id: str) -> None:
        if (topic := self._topics.get(job_id)) is None:
            return
        topic.stale = True
        if not topic.busy:
            task = asyncio.get_running_loop().create_task(self._refresh(job_id, topic))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refresh(self, job_id: str, topic: _Topic) -> None:
        """Fetch what is new, again if something changed meanwhile."""
        topic.busy = True
        try:
            while topic.stale:
                topic.stale = False
                last = topic.last
                job, frames = await run_in_threadpool(self._fetch, job_id, last)
                # A reader filled in the first events while we did not look for any.
                topic.stale |= last != topic.last
                topic.publish(job, frames if last == topic.last else [])
        finally:
            topic.busy = False

    def _fetch(self, job_id: str, last: int | None) -> tuple[Job, list[_Frame]]:
        # The job first: when it has ended, its last events are there.
        job = self._service.get_job(job_id)
        frames: list[_Frame] = []
        while last is not None:
            batch = self._frames(job_id, last)
            frames += batch
            last = batch[-1].seq if len(batch) == _BATCH else None
        return job, frames

    def _frames(self, job_id: str, after: int) -> list[_Frame]:
        return [_event_frame(event) for event in self._service.events(job_id, after, _BATCH)]

    async def follow(self, job_id: str, after: int, patience: float) -> AsyncIterator[bytes]:
        """Frames about a job until it has ended and all is told.

        Parameters
        ----------
        job_id : str
        after : int
            Number of the last event that the reader knows.
        patience : float
            Seconds of silence after which a comment is sent as a sign of life.

        Yields
        ------
        bytes
            Events of the job with their numbers as ids, and ``job`` whenever it has changed.

        Raises
        ------
        NotFoundError
            Before anything is sent.
        """
        topic = await self._join(job_id)
        told = 0
        try:
            while not self._closed:
                version, changed, ended = topic.version, topic.changed, topic.ended
                frames = topic.after(after)
                if frames is None:
                    frames = await self._look_up(topic, job_id, after)
                after = frames[-1].seq if frames else after
                parts = [frame.data for frame in frames]
                if version != told:
                    parts.append(topic.job_frame)
                    told = version
                if parts:
                    yield b"".join(parts)
                elif ended:
                    return
                elif version == topic.version and not await _wait(changed, patience):
                    yield KEEPALIVE_COMMENT
        finally:
            topic.readers -= 1
            if not topic.readers:
                self._topics.pop(job_id, None)

    async def _look_up(self, topic: _Topic, job_id: str, after: int) -> list[_Frame]:
        version = topic.version
        frames = await run_in_threadpool(self._frames, job_id, after)
        newest = len(frames) < _BATCH and version == topic.version
        if newest and not topic.recent and not topic.busy:
            topic.recent.extend(frames)
        return frames

    async def _join(self, job_id: str) -> _Topic:
        if (topic := self._topics.get(job_id)) is None:
            job = await run_in_threadpool(self._service.get_job, job_id)
            topic = self._topics.setdefault(job_id, _Topic(job))
            self._wake(job_id)  # what changed while we looked
        topic.readers += 1
        return topic


async def _wait(changed: asyncio.Event, seconds: float) -> bool:
    """Whether it happened in time."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True

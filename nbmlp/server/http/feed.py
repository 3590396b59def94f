"""What happens to jobs, for many readers at once: one query for each change, however many listen.

A reader is sent frames of server-sent events as fast as it takes them. Nothing is queued for it:
each looks up what it lacks, in the last events of the job that all readers share, or, if it is
further behind, in the database.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple, ParamSpec, TypeVar

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from nbmlp.server.ports import TERMINAL, Job, JobEvent, NotFoundError, Service

__all__ = ["Feed"]

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

#: Bytes of a job's last events that are kept for all, and those sent to a reader at a time: the
#: most that may wait for one that is slow, but for an event that is larger by itself.
_KEPT, _PIECE = 1 << 22, 1 << 16
_MOST = 500
#: Seconds until the service is asked again that could not answer.
_PAUSE = 1.0
_JOB, _EVENT = TypeAdapter(Job), TypeAdapter(JobEvent)


class _ClosedError(Exception):
    """The server ends."""


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
    """One job that somebody follows; `recent` lacks nothing and ends with the newest event."""

    def __init__(self, job: Job) -> None:
        self.recent: deque[_Frame] = deque()
        self._kept = 0
        self.readers = self.version = 0
        self.stale = self.busy = self.ended = False
        self.job_frame = b""
        self.changed = asyncio.Event()
        self.publish(job, [])

    def publish(self, job: Job, frames: list[_Frame]) -> None:
        before, self.job_frame = self.job_frame, _job_frame(job)
        # Whoever saw that nothing is kept has looked by itself, perhaps before this news.
        if self.job_frame == before and not frames and self.recent:
            return
        self.ended = job.state in TERMINAL
        self.version += 1
        self.keep(frames)
        self.wake()

    def end(self) -> None:
        """The job is no longer there."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let all readers look."""
        self.changed.set()
        self.changed = asyncio.Event()

    def keep(self, frames: list[_Frame]) -> None:
        for frame in frames:
            self.recent.append(frame)
            self._kept += len(frame.data)
            while self._kept > _KEPT and len(self.recent) > 1:
                self._kept -= len(self.recent.popleft().data)

    @property
    def last(self) -> int | None:
        return self.recent[-1].seq if self.recent else None

    def after(self, seq: int) -> list[_Frame] | None:
        """What comes behind `seq`; None when that reaches further back than what is kept."""
        if not self.recent or self.recent[0].seq > seq + 1:
            return None
        # Numbers of events that were removed after some time are missing.
        first = bisect_right(self.recent, seq, key=lambda frame: frame.seq)
        return _fitting(itertools.islice(self.recent, first, None))


def _fitting(frames: Iterable[_Frame]) -> list[_Frame]:
    """As many as are sent at a time."""
    found: list[_Frame] = []
    size = 0
    for frame in frames:
        found.append(frame)
        size += len(frame.data)
        if size > _PIECE:
            break
    return found


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
            topic.busy = True  # from now, not from when it begins: two at once lose events
            task = asyncio.get_running_loop().create_task(self._refresh(job_id, topic))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refresh(self, job_id: str, topic: _Topic) -> None:
        """Fetch what is new, again if something changed meanwhile; one at a time for a job."""
        try:
            while topic.stale:
                topic.stale = False
                topic.publish(*await self._ask(self._fetch, job_id, topic.last))
        except (NotFoundError, _ClosedError):
            topic.end()
        finally:
            topic.busy = False

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the service says, in a thread; asked again if it cannot say it now.

        Raises
        ------
        NotFoundError
            It does not know the job.
        _ClosedError
            All readers are to end.
        """
        while not self._closed:
            try:
                return await run_in_threadpool(function, *args, **kwargs)
            except NotFoundError:
                raise
            except Exception as error:
                log.warning("event streams wait: %s", error)
            await asyncio.sleep(_PAUSE)
        raise _ClosedError

    def _fetch(self, job_id: str, last: int | None) -> tuple[Job, list[_Frame]]:
        # The job first: when it has ended, its last events are there.
        job = self._service.get_job(job_id)
        frames: list[_Frame] = []
        while last is not None:
            batch = self._frames(job_id, last, _MOST)
            frames += batch
            last = batch[-1].seq if len(batch) == _MOST else None
        return job, frames

    def _frames(self, job_id: str, after: int, most: int) -> list[_Frame]:
        return [_event_frame(event) for event in self._service.events(job_id, after, most)]

    async def follow(self, job_id: str, after: int, patience: float) -> AsyncGenerator[bytes]:
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
        told, most = b"", 1
        try:
            while not self._closed:
                version, changed, ended = topic.version, topic.changed, topic.ended
                frames = topic.after(after)
                if frames is None:
                    frames = await self._look_up(topic, job_id, after, most)
                    small = sum(len(frame.data) for frame in frames) < _PIECE // 2
                    most = min(2 * most, _MOST) if small else max(most // 2, 1)
                if frames:
                    after = frames[-1].seq
                    yield b"".join(frame.data for frame in frames)
                elif topic.job_frame != told:
                    told = topic.job_frame
                    yield told
                elif ended:
                    return
                elif version == topic.version and not await _wait(changed, patience):
                    yield KEEPALIVE_COMMENT
        except (NotFoundError, _ClosedError):  # deleted since
            return
        finally:
            topic.readers -= 1
            if not topic.readers:
                self._topics.pop(job_id, None)

    async def _look_up(self, topic: _Topic, job_id: str, after: int, most: int) -> list[_Frame]:
        version = topic.version
        frames = await self._ask(self._frames, job_id, after, most)
        newest = len(frames) < most and version == topic.version
        if newest and not topic.recent and not topic.busy:
            topic.keep(frames)
        return frames

    async def _join(self, job_id: str) -> _Topic:
        if (topic := self._topics.get(job_id)) is None:
            job = await self._ask(self._service.get_job, job_id)
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

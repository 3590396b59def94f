"""Connections: not too many, none held open without asking for anything, none that costs much."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nbmlp.server.http.crowd import Crowd, Line
from nbmlp.server.http.headers import refusal
from nbmlp.server.http.limits import network_of
from nbmlp.server.settings import ServerSettings

__all__ = ["bounded_protocol"]

#: Bytes of a body that are read on although its request has been answered.
_UNWANTED = 1 << 16
#: Seconds of silence after which who was refused has heard it, and between two looks at what such
#: connections still send: some 50 MB/s, however many they are.
_SILENCE, _LOOK = 1.0, 0.005
#: Bytes without a byte of a body: of a head, of what is said between the parts of a body, of what
#: follows it. The parser gathers a field as long as it comes, so it must be stopped from outside.
_MOST_SAID, _MOST_HEADERS = 1 << 16, 128
#: Bytes parsed at a time, besides those that are certain to be of a body: no more is parsed while
#: a request waits for the one before it.
_PIECE = 1 << 10
#: An empty rest of what has come would keep all of it.
_NOTHING = memoryview(b"")
_FULL = "too many connections: wait a moment."
_LATE = "the head of the request took too long to arrive."
_LONG = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "the address is longer than 64 kB.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "the headers are longer than 64 kB in all, or"
    f" more than {_MOST_HEADERS}.",
    HTTPStatus.BAD_REQUEST: "this is no HTTP request that can be read.",
}


class _Bounded(HttpToolsProtocol):
    """A connection that has to ask for something, in few words, and to read the answer in time."""

    bounds: ServerSettings
    crowd: Crowd
    line: Line
    _network = ""
    _parting = _in_body = _too_many_headers = _in_line = False
    _said = _unwanted = _left = 0
    _ends = 0.0
    url = b""
    _unread = _NOTHING
    #: The request that is answered now; uvicorn's `cycle` is the last one that has been read, which
    #: waits for its turn when several came at once.
    _current: Any = None
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _slow: asyncio.TimerHandle | None = None

    # -- its life

    def connection_made(self, transport: Any) -> None:
        """Take it, or turn it away."""
        super().connection_made(transport)
        self._network = network_of(self.client[0] if self.client else "")
        if self.crowd.enter(self, self._network):
            self._expect_head()
        else:
            self._refuse(429, _FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.crowd.leave(self)
        self._stop_waiting()
        self._is_read()
        if self._slow is not None:
            self._slow.cancel()
        self._unread = _NOTHING
        super().connection_lost(exc)
        self._drop_requests()
        self.cycle = None  # type: ignore[assignment]  # it refers to us: both would stay for long

    @property
    def party(self) -> str:
        """Who has asked last, if with a good token."""
        return "" if self._current is None else str(self._current.scope["state"].get("party", ""))

    @property
    def works(self) -> bool:
        """Whether a request is not answered yet."""
        current = self._current
        return self._in_line or (current is not None and not current.response_complete)

    def give_way(self) -> None:
        """To somebody else; told even if idle, for a request may be on its way."""
        if not self._parting:
            self._refuse(429, _FULL)
        self._stop_waiting()
        self.transport.close()

    # -- what comes in

    def data_received(self, data: bytes) -> None:
        """Read on, as long as it does not take too long."""
        if self._parting:
            return self._discard()
        self._unread = memoryview(bytes(self._unread) + data if self._unread else data)
        self._parse()
        if self._parting:
            return None
        if self._unwanted > _UNWANTED:
            self._read_slowly()
        return self._stop_waiting() if self.works else self._expect_head()

    def _parse(self) -> None:
        while self._unread and not (self.pipeline or self._in_line or self._is_ending()):
            size = max(_PIECE, self._left)
            piece, self._unread = self._unread[:size], self._unread[size:] or _NOTHING
            self._said += len(piece)
            super().data_received(piece)  # type: ignore[arg-type]
            if self._said > _MOST_SAID and not self._parting:
                address = not self._in_body and len(self.url) > _MOST_SAID // 2
                self._refuse_long(414 if address else 431)
        if self._unread and not self.transport.is_closing():
            self.flow.pause_reading()

    def _is_ending(self) -> bool:
        return self._parting or self.transport.is_closing()

    def on_message_begin(self) -> None:
        """A new request."""
        self._in_body = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One more; what comes behind a body is no header, whatever it says."""
        if self._in_body:
            return
        if len(self.headers) == _MOST_HEADERS:
            self._too_many_headers = True
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_body, self._said = True, 0
        length = dict(self.headers).get(b"content-length", b"0")
        self._left = int(length)  # as the parser has read it
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body, wanted or not."""
        self._said = 0
        self._left -= len(body)
        if self.cycle.response_complete:
            self._unwanted += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._said = self._unwanted = self._left = 0
        self.crowd.drained.discard(self)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """It is the turn of a request."""
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is there: on with what came behind its request, when it is its turn."""
        self.crowd.answered(self, self._network)
        self._current.body.clear()
        if self.pipeline or self._unread:
            self._in_line = True
            self.line.join(self._go_on)
        else:
            super().on_response_complete()

    def _go_on(self) -> None:
        self._in_line = False
        if not self._is_ending():
            super().on_response_complete()
            self._parse()

    # -- what goes out

    def pause_writing(self) -> None:
        """The reader is slower than we are."""
        super().pause_writing()
        # Closing would wait for it to read the rest.
        self._stalled = self.loop.call_later(self.bounds.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._is_read()

    def _is_read(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # -- refusals

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, as all errors are said."""
        self._refuse_long(431 if self._too_many_headers else 400)

    def _refuse_long(self, status: int) -> None:
        self._refuse(status, _LONG[HTTPStatus(status)])

    def _refuse(self, status: int, sentence: str) -> None:
        """Say so, unless an answer is on its way; the application hears of the end."""
        current = self._current
        if current is None or current.response_complete or not current.response_started:
            self.transport.write(refusal(status, sentence))
        self._drop_requests()
        self._part()

    def _drop_requests(self) -> None:
        """Nobody is there any more: let the one at work know, and begin no other."""
        self.pipeline.clear()
        if self._current is not None:
            self._current.disconnected = True
            self._current.message_event.set()
            self._current.body.clear()
            self._current = None

    def _part(self) -> None:
        """Be gone in a moment; what comes is still read, or the answer would be lost on its way."""
        self._parting = True
        self._unread = _NOTHING
        self.connections.discard(self)
        self._stop_waiting()
        self._ends = self.loop.time() + self.bounds.header_seconds
        self._expect_silence()
        self.crowd.part(self)

    def _discard(self) -> None:
        self._stop_waiting()
        if self.loop.time() > self._ends:
            self.transport.close()
        else:
            self._read_slowly()
            self._expect_silence()

    def _read_slowly(self) -> None:
        """What nobody wants: together with all others that send such, so much a second."""
        if not self.transport.is_closing():
            self.crowd.drained.add(self)
            self.flow.pause_reading()
            self._slow = self.loop.call_later(_LOOK * len(self.crowd.drained), self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _expect_silence(self) -> None:
        self._timer = self.loop.call_later(_SILENCE, self.transport.close)

    # -- patience

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.bounds.header_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._said and not self.works:
            self._refuse(408, _LATE)
        elif not self.works:
            self.transport.close()


def bounded_protocol(settings: ServerSettings) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with a cap on connections, and with little patience.

    Parameters
    ----------
    settings : ServerSettings
        ``max_connections``; ``header_seconds`` for the head of a request; ``write_seconds`` for a
        reader that has stalled while 64 kB wait for it.
    """
    shared = {"bounds": settings, "crowd": Crowd(settings.max_connections), "line": Line()}
    return type("Bounded", (_Bounded,), shared)

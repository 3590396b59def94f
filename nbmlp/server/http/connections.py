"""Connections: not too many, and none that is held open without asking for anything."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from nbmlp.server.settings import ServerSettings

__all__ = ["bounded_protocol"]

#: Seconds for reading what somebody sends who is turned away.
_LINGER = 1.0
_SAID = b'{"error": "too many connections: wait a moment."}'
_FULL = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_SAID), _SAID)
)


class _Bounded(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection that has to ask for something, and to read the answer, in time."""

    bounds: ServerSettings
    _turned_away = False
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take it, or turn it away."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.max_connections:
            self._turn_away()
        else:
            self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read on, as long as it does not take too long."""
        if self._turned_away or self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._stop_waiting()
        self._goes_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The reader is slower than we are."""
        super().pause_writing()
        # Closing would wait for it to read the rest.
        self._stalled = self.loop.call_later(self.bounds.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._goes_on()

    def _goes_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _turn_away(self) -> None:
        """Say so; what is asked is still read, or the answer would be lost on the way."""
        self._turned_away = True
        self.connections.discard(self)
        self.transport.write(_FULL)
        self._timer = self.loop.call_later(_LINGER, self.transport.close)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.bounds.header_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def bounded_protocol(settings: ServerSettings) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with a cap on connections, and with little patience.

    Parameters
    ----------
    settings : ServerSettings
        ``max_connections``; ``header_seconds`` for the head of a request; ``write_seconds`` for a
        reader that has stalled while 64 kB wait for it.
    """
    return type("Bounded", (_Bounded,), {"bounds": settings})

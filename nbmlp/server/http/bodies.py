"""What comes in and goes out: bodies within limits of bytes and time, answers in pieces."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Send

from nbmlp.server.http.limits import Held, TooManyError

__all__ = ["Incoming", "Pace", "in_pieces"]

_KB, _MB = 1 << 10, 1 << 20
#: Bytes of an answer that are handed over at a time: the rest waits for the reader, and counts as
#: being at work until then.
_PIECE = 1 << 18


class Pace:
    """The least rate of a body: standing still uses time up, what arrives earns some back.

    Parameters
    ----------
    rate : float
        Bytes per second.
    grace : float
        Seconds for which it may stand still.

    Attributes
    ----------
    left : float
        Seconds until it has been too slow, unless something arrives.
    """

    def __init__(self, rate: float, grace: float) -> None:
        self._rate, self._grace, self.left = rate, grace, grace

    def arrived(self, count: int, waited: float) -> None:
        """So many bytes, for which we have waited so many seconds."""
        self.left = min(self._grace, self.left - waited + count / self._rate)


class Incoming:
    """The body of a request, to be called for each piece; raises HTTPException.

    Parameters
    ----------
    receive : callable
        As ASGI has it.
    headers : Headers
    most : int or None
        Bytes; None when somebody else counts them and does not keep them.
    seconds : float
        For all of it.
    pace : Pace
    held : Held
        Is told of the bytes.
    """

    def __init__(
        self,
        receive: Receive,
        headers: Headers,
        most: int | None,
        seconds: float,
        pace: Pace,
        held: Held,
    ) -> None:
        self._receive, self._most, self._pace, self._held = receive, most, pace, held
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + seconds
        length = headers.get("content-length", "")
        # The parser has seen to it that it is a number of 64 bits.
        self._declared = int(length) if length.isdecimal() else 0
        self._count, self._whole = 0, False

    async def __call__(self) -> Message:
        """The next piece; behind the last one, the end of the connection."""
        if self._whole:
            return await self._receive()
        self._check(self._declared)
        message = await self._next()
        body = message.get("body", b"")
        self._whole = not message.get("more_body", False)
        self._count += len(body)
        self._check(self._count)
        if self._most is not None:
            self._keep(len(body))
        return message

    async def _next(self) -> Message:
        start = self._loop.time()
        ends = min(self._ends, start + self._pace.left)
        try:
            async with asyncio.timeout_at(ends):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body took too long to arrive.") from None
        self._pace.arrived(len(message.get("body", b"")), self._loop.time() - start)
        return message

    def _check(self, count: int) -> None:
        if self._most is not None and count > self._most:
            most = f"{self._most // _MB} MB" if self._most >= _MB else f"{self._most // _KB} kB"
            raise HTTPException(413, f"the body is larger than {most}.")

    def _keep(self, count: int) -> None:
        try:
            self._held.add(count)
        except TooManyError as error:
            # Of another kind it would count as a mistake in the body.
            raise HTTPException(429, str(error), {"Retry-After": str(error.retry_after)}) from None


async def in_pieces(send: Send, message: Message) -> None:
    """Send a body of an answer, never much more at a time than the reader has taken."""
    rest = memoryview(message.get("body", b""))
    while len(rest) > _PIECE:
        await send({**message, "body": rest[:_PIECE], "more_body": True})
        rest = rest[_PIECE:]
    await send({**message, "body": rest})

"""Attacks from outside on what connections cost and on who gets a place: plain sockets, no client.

``ATTACKS`` lists names and functions of the server's address and of a good token. Each stops by
itself after some seconds, however the server takes it; what a stranger does needs no token.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import resource
import time
from collections.abc import Callable, Coroutine
from functools import partial

__all__ = ["ATTACKS"]

Address = tuple[str, int]
Attack = Callable[[Address, str], None]

SECONDS = 4.0
#: Bytes that one connection sends at most.
MOST = 64 << 20
HOST = b"Host: 127.0.0.1\r\n"
HEAD = b"GET /v2/health/live HTTP/1.1\r\n" + HOST
CHUNKED = b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 99000000000\r\n\r\n"
LINES = b"X: " + b"x" * 60 + b"\r\n"


def _authorization(token: str) -> bytes:
    return f"Authorization: Bearer {token}\r\n".encode()


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*address)


async def _pour(address: Address, start: bytes, more: bytes, end: float) -> None:
    """Send without end; whoever hangs up is called again."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _, writer = await _connect(address)
            try:
                writer.write(start)
                for _ in range(MOST // len(more)):
                    writer.write(more)
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + 1.0):
                        await writer.drain()
                    if time.monotonic() > end:
                        return
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.05)


async def _ask(address: Address, request: bytes, end: float) -> None:
    """The same again as soon as it has been answered."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await _connect(address)
            try:
                while time.monotonic() < end:
                    writer.write(request)
                    async with asyncio.timeout(8):
                        head = (await reader.readuntil(b"\r\n\r\n")).lower()
                        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                        await reader.readexactly(int(length or b"0"))
            finally:
                writer.transport.abort()


async def _hold(address: Address, sent: bytes, drip: bytes, end: float) -> None:
    """Keep a connection open, with a byte now and then, and read nothing."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _, writer = await _connect(address)
            try:
                writer.write(sent)
                while time.monotonic() < end and not writer.is_closing():
                    writer.write(drip)
                    await asyncio.sleep(1.0)
            finally:
                writer.transport.abort()


async def _knock(address: Address, end: float) -> None:
    """Come and go."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _, writer = await _connect(address)
            await asyncio.sleep(0)
            writer.transport.abort()


def _together(count: int, each: Callable[[float], Coroutine[None, None, None]], s: float) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))

    async def run() -> None:
        end = time.monotonic() + s
        await asyncio.gather(*(each(end) for _ in range(count)))

    asyncio.run(run())


def _pouring(count: int, start: bytes, more: bytes) -> Attack:
    def attack(address: Address, token: str) -> None:
        _together(count, partial(_pour, address, start, more), SECONDS)

    return attack


def _asking(count: int, *lines: bytes) -> Attack:
    def attack(address: Address, token: str) -> None:
        request = b"\r\n".join([lines[0], HOST + b"\r\n".join(lines[1:])]) + b"\r\n\r\n"
        request = request.replace(b"\r\n\r\n\r\n", b"\r\n\r\n")
        _together(count, partial(_ask, address, request), SECONDS)

    return attack


def _holding(count: int, sent: bytes, drip: bytes = b"") -> Attack:
    def attack(address: Address, token: str) -> None:
        _together(count, partial(_hold, address, sent, drip), SECONDS)

    return attack


def _knocking(address: Address, token: str) -> None:
    _together(20, partial(_knock, address), SECONDS)


def _slow_uploads(address: Address, token: str) -> None:
    """More than there are places, at a byte a second."""
    head = b"PUT /v1/datasets/slow.csv HTTP/1.1\r\n" + HOST + _authorization(token)
    sent = head + b"Content-Length: 1000\r\n\r\na,b\n"
    _together(8, partial(_hold, address, sent, b"1"), 12.0)


def _slow_rows(address: Address, token: str) -> None:
    """Bodies of 8 MB that lack their end: together more than may be at work."""
    found = _ask_once(address, token, "GET", "/v1/models?limit=1")["data"]
    path = f"/v2/models/{found[0]['id'] if found else 'x'}/infer"
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST + _authorization(token)
    sent = head + b"Content-Length: 8000001\r\n\r\n" + b" " * 8_000_000
    _together(60, partial(_hold, address, sent, b""), SECONDS)


def _streams(address: Address, token: str) -> None:
    """Many more of one token than it has places."""
    job = _a_job(address, token)
    request = f"GET /v1/jobs/{job}/events HTTP/1.1\r\n".encode() + HOST + _authorization(token)
    _together(100, partial(_hold, address, request + b"\r\n", b""), SECONDS)


def _a_job(address: Address, token: str) -> str:
    """Any that there is, or a new one."""
    if found := _ask_once(address, token, "GET", "/v1/jobs?limit=1")["data"]:
        return str(found[0]["id"])
    table = b"a,b\n" + b"1,2\n3,5\n" * 50
    data = _ask_once(address, token, "PUT", "/v1/datasets/a.csv", table)["id"]
    spec = {"dataset_id": data, "target": "b", "model": {"hidden": [4], "epochs": 5}}
    return str(_ask_once(address, token, "POST", "/v1/jobs", json.dumps(spec).encode())["id"])


def _ask_once(
    address: Address, token: str, method: str, path: str, body: bytes | None = None
) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(*address, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        return json.loads(connection.getresponse().read())


ATTACKS: list[tuple[str, Attack]] = [
    ("an address without end", _pouring(1, b"GET /", b"x" * 65_536)),
    ("a header without end", _pouring(1, HEAD + b"X: ", b"x" * 65_536)),
    ("headers without end", _pouring(1, HEAD, LINES * 1000)),
    ("a trailer without end", _pouring(1, CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"x" * 65_536)),
    ("trailers without end", _pouring(1, CHUNKED + b"1\r\nx\r\n0\r\n", LINES * 1000)),
    ("an extension without end", _pouring(1, CHUNKED + b"1;", b"x" * 65_536)),
    ("200 addresses without end", _pouring(200, b"GET /", b"x" * 65_536)),
    ("200 headers without end", _pouring(200, HEAD + b"X: ", b"x" * 65_536)),
    ("200 times many headers", _pouring(200, HEAD, LINES * 1000)),
    ("200 trailers without end", _pouring(200, CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"x" * 65_536)),
    ("200 bodies that nobody wants", _pouring(200, BODY, bytes(65_536))),
    ("requests upon requests", _pouring(100, b"", (HEAD + b"\r\n") * 1000)),
    (
        "answers that nobody reads",
        _holding(100, (b"GET /login HTTP/1.1\r\n" + HOST + b"\r\n") * 500),
    ),
    ("idle strangers", _holding(900, b"")),
    ("strangers with half a head", _holding(900, HEAD, b"X")),
    ("strangers with half a form", _holding(300, CHUNKED, b"1\r\nx\r\n")),
    ("strangers who come and go", _knocking),
    ("strangers who ask", _asking(100, b"GET /v1/jobs HTTP/1.1")),
    (
        "strangers who try secrets",
        _asking(100, b"GET /v1/jobs HTTP/1.1", b"Authorization: Bearer x"),
    ),
    ("strangers at the door", _asking(100, b"GET /login HTTP/1.1")),
    ("strangers who ask how it is", _asking(50, b"GET /v2/health/ready HTTP/1.1")),
    ("slow uploads", _slow_uploads),
    ("rows that have no end", _slow_rows),
    ("streams of one token", _streams),
]

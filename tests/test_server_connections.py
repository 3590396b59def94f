"""What one connection may cost: heads, addresses, trailers, and what nobody has asked for."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from server_fake import FakeService
from server_live import Live, live, settings

from nbmlp.server.http.connections import _Bounded
from nbmlp.server.http.crowd import Crowd, Line
from nbmlp.server.http.observe import Observer
from tests.waiting import until

START = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    with live(FakeService(folder), settings(folder)) as running:
        yield running


def told(connection: socket.socket) -> bytes:
    """All that is said until the end."""
    found = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            found += piece
    return found


def sent(server: Live, start: bytes, more: bytes, times: int) -> tuple[bytes, int]:
    """The answer to something without end, and how much of it was taken."""
    taken = 0
    with server.connect() as connection:
        connection.sendall(start)
        with suppress(OSError):
            for _ in range(times):
                connection.sendall(more)
                taken += len(more)
        return told(connection), taken


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (b"GET /", b"x" * 10_000, 414),
        (START + b"X: ", b"x" * 10_000, 431),
        (START, b"X: " + b"x" * 1000 + b"\r\n", 431),
        (START, b"X: x\r\n" * 10, 431),
        (START, b"x" * 10_000, 431),
        (b"", b"\r\n" * 5000, 431),
        (b"no such thing\r\n\r\n", b"", 400),
        (CHUNKED + b"0\r\nX: ", b"x" * 10_000, 431),
        (CHUNKED + b"0\r\n", b"X: " + b"x" * 1000 + b"\r\n", 431),
        (CHUNKED + b"5;", b"x" * 10_000, 431),
        (CHUNKED, b"0" * 10_000, 431),
    ],
)
def test_words_without_end(server: Live, start: bytes, more: bytes, status: int) -> None:
    answer, _ = sent(server, start, more, 100)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"\r\nX-Frame-Options: DENY\r\n" in head
    assert b"\r\nContent-Security-Policy: default-src 'self';" in head
    assert set(json.loads(body)) == {"error"}


def test_as_much_as_is_allowed(server: Live) -> None:
    for more in ({"X": "x" * 60_000}, {f"X-{i}": "x" for i in range(100)}):
        assert httpx.get(f"{server.url}/v2/health/live", headers=more).status_code == 200
    answer = httpx.get(f"{server.url}/v2/health/live?{'x' * 60_000}")
    assert answer.status_code == 200


def test_long_bodies_in_small_pieces(server: Live) -> None:
    """The sizes of the pieces are more than may be said at once, and belong to the body."""
    chunks = b"4\r\na,b\n\r\n" + b"4\r\n1,2\n\r\n" * 20_000 + b"0\r\n\r\n"
    with server.connect() as connection:
        head = server.head("PUT", "/v1/datasets/a.csv", "Transfer-Encoding: chunked")
        connection.sendall(head + chunks)
        assert connection.recv(1000).split()[1] == b"201"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list:
    """Requests that have ended, as the logs are told."""
    found: list = []
    observer = "nbmlp.server.http.observe.Observer.__call__"
    monkeypatch.setattr(observer, lambda _, done: found.append(done))
    return found


def test_what_follows_a_body_is_no_header(server: Live, ended: list) -> None:
    """Whoever looks at the headers later would believe it."""
    with server.connect() as connection:
        connection.sendall(CHUNKED + b"0\r\nX-Trailer: x\r\n\r\n")
        assert connection.recv(1000).split()[1] == b"303"
    while not ended:
        time.sleep(0.01)
    assert [name for name, _ in ended[0].scope["headers"]] == [b"host", b"transfer-encoding"]


def test_who_hangs_up_is_no_error(
    server: Live, ended: list, caplog: pytest.LogCaptureFixture
) -> None:
    """A page of the log for each would be an attack by itself."""
    with server.connect() as connection:
        connection.sendall(CHUNKED)
    while not ended:
        time.sleep(0.01)
    assert ended[0].status == 0
    assert "failed" not in caplog.text


def test_many_requests_at_once_are_answered_one_after_the_other(server: Live) -> None:
    count = 300
    with server.connect() as connection:
        connection.sendall((START + b"\r\n") * (count - 1) + START + b"Connection: close\r\n\r\n")
        answer = told(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == count
    assert answer.count(b'{"live":true}') == count


def follow(server: Live, connection: socket.socket) -> str:
    """The events of a new job, and another request right behind; the job."""
    with server.client() as client:
        data = client.put("/v1/datasets/a.csv", content=b"a,b\n1,2\n").json()["id"]
        job = client.post("/v1/jobs", json={"dataset_id": data, "target": "b"}).json()["id"]
    connection.sendall(server.head("GET", f"/v1/jobs/{job}/events") + START + b"\r\n")
    assert connection.recv(20).split()[1] == b"200"
    return str(job)


def test_who_hangs_up_with_more_requests_waiting_is_no_error(
    server: Live, ended: list, caplog: pytest.LogCaptureFixture
) -> None:
    """The one at work hears of it, not the last that was read; the others never begin."""
    with server.connect() as connection:
        job = follow(server, connection)
    until(lambda: f"/v1/jobs/{job}/events" in [done.scope["path"] for done in ended])
    assert "/v2/health/live" not in [done.scope["path"] for done in ended]
    assert "failed" not in caplog.text


def test_requests_sent_ahead_begin_one_at_a_time(
    server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connections send such: who asks for one thing waits for one of them at most."""
    rounds, ended_in = [0], Counter[int]()

    def count() -> None:
        rounds[0] += 1
        if ended_in.total() < 20 * 49:
            asyncio.get_running_loop().call_soon(count)

    def observe(_: Observer, done: object) -> None:
        if not rounds[0]:
            count()
        if done.scope["path"] == "/v2/health/live" and not done.scope["query_string"]:
            ended_in[rounds[0]] += 1

    monkeypatch.setattr(Observer, "__call__", observe)
    first = START.replace(b"live", b"live?first") + b"\r\n"
    last = START + b"Connection: close\r\n\r\n"
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(20)]
        for connection in connections:
            connection.sendall(first + (START + b"\r\n") * 48 + last)
        assert [told(each).count(b'{"live":true}') for each in connections] == [50] * 20
    until(lambda: ended_in.total() == 20 * 49)
    assert max(ended_in.values()) == 1


def test_the_line_moves_when_one_of_it_fails() -> None:
    found = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        line = Line()
        for begin in (
            lambda: found.append(1),
            lambda: 1 // 0,
            lambda: line.join(lambda: found.append(3)),
        ):
            line.join(begin)
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert found == [1, 3]


def test_what_has_been_read_is_not_kept(server: Live) -> None:
    """A connection may stay open for long after a large body."""
    with server.client() as client:
        answer = client.put("/v1/datasets/a.csv", content=b"a,b\n" + b"1,2\n" * 100_000)
        assert answer.status_code == 201
        kept = [each._unread.obj for each in gc.get_objects() if issubclass(type(each), _Bounded)]
        assert kept
        assert not any(kept)


def test_what_a_connection_was_ends_with_it(server: Live) -> None:
    """Nothing has to be searched for: requests that were never begun would stay for long."""
    with server.connect() as connection:
        follow(server, connection)
        gc.collect()
        gc.disable()
        there = [weakref.ref(each) for each in gc.get_objects() if issubclass(type(each), _Bounded)]
        assert there
    try:
        until(lambda: not any(each() for each in there))
    finally:
        gc.enable()


def test_a_body_that_nobody_wants(tmp_path: Path) -> None:
    """It is read for a while, so that the answer arrives, and then no more."""
    with live(FakeService(tmp_path), settings(tmp_path, header_seconds=0.5)) as server:
        with server.client(signed_in=False) as client:
            assert client.post("/v1/jobs", content=bytes(4 << 20)).status_code == 401
        with server.connect() as connection:
            connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n")
            connection.sendall(b"Content-Length: 99000000000\r\n\r\n")
            with suppress(OSError):
                for _ in range(10_000):
                    connection.sendall(bytes(1 << 20))
                raise AssertionError("all was read.")


class Somebody:
    def __init__(self, party: str = "", works: bool = False) -> None:
        self.party, self.works, self.ended = party, works, False

    def give_way(self) -> None:
        self.ended = True


def test_strangers_of_the_fullest_address_give_way_first() -> None:
    crowd = Crowd(4)
    lonely, first, second = Somebody(), Somebody(), Somebody()
    known = Somebody("somebody")
    for who, network in ((known, "a"), (lonely, "b"), (first, "a"), (second, "a")):
        assert crowd.enter(who, network)
    crowd.answered(known, "a")
    assert crowd.enter(Somebody(), "c")
    assert [who.ended for who in (known, lonely, first, second)] == [False, False, True, False]


def test_idle_ones_of_who_has_most_give_way_next() -> None:
    crowd = Crowd(3)
    many, one = [Somebody("many"), Somebody("many")], Somebody("one")
    for who in (one, *many):
        crowd.enter(who, "a")
        crowd.answered(who, "a")
    crowd.enter(new := Somebody(), "a")
    assert [who.ended for who in (one, *many)] == [False, True, False]
    new.party, new.works = "new", True
    assert crowd.enter(Somebody(), "a")
    assert [who.ended for who in (one, many[1], new)] == [True, False, False]


def test_who_works_for_a_user_stays() -> None:
    crowd = Crowd(2)
    busy = [Somebody("a", True), Somebody("b", True)]
    for who in busy:
        crowd.enter(who, "here")
    assert not crowd.enter(Somebody(), "here")
    busy[1].works = False
    crowd.answered(busy[1], "here")
    assert crowd.enter(Somebody(), "here")
    assert [who.ended for who in busy] == [False, True]


def test_only_few_linger() -> None:
    crowd = Crowd(1)
    refused = [Somebody() for _ in range(65)]
    for who in refused:
        crowd.part(who)
    assert [who.ended for who in refused] == [True, *[False] * 64]
    assert crowd.enter(Somebody(), "here")
    for who in refused:
        crowd.leave(who)
    assert crowd.parting == 0


def test_strangers_do_not_take_the_places_of_users(tmp_path: Path) -> None:
    """From the same address: idle ones, and one that follows a job goes on meanwhile.

    Also when that has sent more requests, of which nobody knows yet whose they are.
    """
    few = settings(tmp_path, max_connections=8)
    with live(FakeService(tmp_path), few) as server, server.connect() as follower:
        job = follow(server, follower)
        idle = [server.connect() for _ in range(30)]
        for _ in range(5):
            with server.client() as client:
                assert client.get("/v1/jobs").status_code == 200
        server.service.cancel(job)
        found = b""
        while b'"cancelled"' not in found:
            piece = follower.recv(1 << 16)
            assert piece, "it was cut off"
            found += piece
        for connection in idle:
            connection.close()

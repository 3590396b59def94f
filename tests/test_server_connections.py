"""What one connection may cost: heads, addresses, trailers, and what nobody has asked for."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from server_fake import FakeService
from server_live import Live, live, settings

from nbmlp.server.http.crowd import Crowd

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
    """From the same address: idle ones, and one that follows a job goes on meanwhile."""
    with live(FakeService(tmp_path), settings(tmp_path, max_connections=8)) as server:
        with server.client() as client:
            data = client.put("/v1/datasets/a.csv", content=b"a,b\n1,2\n").json()["id"]
            job = client.post("/v1/jobs", json={"dataset_id": data, "target": "b"}).json()["id"]
        with server.connect() as follower:
            follower.sendall(server.head("GET", f"/v1/jobs/{job}/events"))
            assert follower.recv(20).split()[1] == b"200"
            idle = [server.connect() for _ in range(30)]
            for _ in range(5):
                with server.client() as client:
                    assert client.get("/v1/jobs").status_code == 200
            server.service.cancel(job)
            assert b'"cancelled"' in told(follower)
            for connection in idle:
                connection.close()

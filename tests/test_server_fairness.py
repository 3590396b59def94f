"""Nobody's requests, bodies and streams keep others from theirs."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from server_fake import FakeService
from server_live import Live, live, settings

from nbmlp.server.http.bodies import Pace
from nbmlp.server.http.gate import Gate
from nbmlp.server.http.limits import Lanes, Places, RateLimit, Share, TooManyError
from nbmlp.server.http.memory import Tidy
from nbmlp.server.http.sessions import Sessions, Tokens

CSV = b"a,b\n1,2\n3,4\n"


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Live]:
    """A server that has no patience with strangers."""
    with live(FakeService(tmp_path), settings(tmp_path, rate=0.01, burst=8)) as running:
        yield running


def flood(server: Live, **headers: str) -> int:
    """As a stranger, until that is too much; requests that were answered."""
    with httpx.Client(base_url=server.url, headers=headers) as client:
        for count in range(100):
            if (answer := client.get("/v1/jobs")).status_code == 429:
                return count
            assert answer.status_code == 401
    raise AssertionError("there is no limit.")


def test_strangers_do_not_use_up_what_token_holders_have(few: Live) -> None:
    flood(few)
    with few.client() as client:
        assert client.get("/v1/jobs").status_code == 200
        for _ in range(3):
            assert httpx.get(f"{few.url}/v2/health/live").status_code == 200
            assert httpx.get(f"{few.url}/v2/health/ready").status_code == 200


def test_how_it_is_is_told_without_a_search_through_all_routes(
    few: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which costs several times as much, and a hundred may ask at the same time."""

    async def search(*_: object) -> None:
        raise AssertionError("searched")

    with few.client() as client:
        monkeypatch.setattr("fastapi.routing.APIRouter.__call__", search)
        assert client.get("/v1/jobs").status_code == 500
        for word in ("live", "ready"):
            answer = client.get(f"/v2/health/{word}?x=1")
            assert (answer.status_code, answer.json()) == (200, {word: True})
            assert client.head(f"/v2/health/{word}").status_code == 200
        monkeypatch.undo()
        assert client.post("/v2/health/live").status_code == 405
        counted = client.get("/metrics").text
    for method in ("GET", "HEAD"):
        assert f'{{method="{method}",route="/v2/health/live",status="200"}}' in counted


def test_trying_secrets_costs_the_address_and_no_lookups(few: Live) -> None:
    with few.client() as client:
        client.get("/v1/jobs")
    flood(few, Authorization="Bearer wrong")
    before = few.service.verified
    assert flood(few, Authorization="Bearer wrong") == 0
    assert few.service.verified == before


def test_a_page_and_programs_of_one_user_have_limits_of_their_own(few: Live) -> None:
    cookies = dict(httpx.post(f"{few.url}/login", data={"token": few.secret}).cookies)
    with few.client() as programs:
        statuses = [programs.get("/v1/jobs").status_code for _ in range(9)]
    assert statuses == [200] * 8 + [429]
    assert httpx.get(f"{few.url}/v1/jobs", cookies=cookies).status_code == 200


def limited(server: Live, **limits: float) -> dict[str, str]:
    """Somebody with limits of their own."""
    token, secret = server.service.create_token("somebody")
    hashes = server.service.secrets
    hashes.update({k: replace(v, **limits) for k, v in hashes.items() if v.id == token.id})
    return {"Authorization": f"Bearer {secret}"}


def test_a_token_has_a_rate_of_its_own(few: Live) -> None:
    with httpx.Client(base_url=few.url, headers=limited(few, rate=0.01, burst=2)) as client:
        assert [client.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 429]


def submitted(server: Live) -> str:
    with server.client() as client:
        data = client.put("/v1/datasets/a.csv", content=CSV).json()["id"]
        answer = client.post("/v1/jobs", json={"dataset_id": data, "target": "b"})
        return str(answer.json()["id"])


def test_streams_of_one_are_not_those_of_all(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, max_streams=2)) as server:
        path = f"{server.url}/v1/jobs/{submitted(server)}/events"
        page = {
            "cookies": dict(
                httpx.post(f"{server.url}/login", data={"token": server.secret}).cookies
            )
        }
        mine, others = {"headers": server.bearer}, {"headers": limited(server)}
        own = {"headers": limited(server, streams=1)}
        with ExitStack() as stack:
            found = [
                stack.enter_context(httpx.stream("GET", path, **who)).status_code
                for who in (mine, mine, mine, page, page, page, others, own, own)
            ]
        assert found == [200, 200, 429, 200, 200, 429, 200, 200, 429]


def test_slow_uploads_hold_up_nobody_else(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, uploads=1)) as server:
        others, address = limited(server), f"{server.url}/v1/datasets/b.csv"
        head = server.head("PUT", "/v1/datasets/a.csv", f"Content-Length: {len(CSV)}")

        def has_begun(slow: socket.socket) -> bool:
            """Others of the same user are refused; False where it was itself, by one of those."""
            slow.sendall(head + CSV[:1])
            while not select.select([slow], [], [], 0)[0]:
                if httpx.put(address, headers=server.bearer, content=CSV).status_code == 429:
                    return True
            return False

        with ExitStack() as stack:
            while not has_begun(slow := stack.enter_context(server.connect())):
                pass
            assert httpx.put(address, headers=others, content=CSV).status_code == 201
            slow.sendall(CSV[1:])
            assert slow.recv(100).split()[1] == b"201"


@pytest.mark.parametrize("method_and_path", [("PUT", "/v1/datasets/a"), ("POST", "/v1/jobs")])
def test_bodies_that_stand_still(tmp_path: Path, method_and_path: tuple[str, str]) -> None:
    with (
        live(FakeService(tmp_path), settings(tmp_path, header_seconds=0.3)) as server,
        server.connect() as slow,
    ):
        slow.sendall(server.head(*method_and_path, "Content-Length: 60000") + b"1")
        answer = slow.recv(1000)
        assert answer.split()[1] == b"408"


def test_the_least_rate_of_a_body() -> None:
    pace = Pace(1000.0, 10.0)
    for _ in range(9):
        pace.arrived(1, 1.0)  # a byte each second
    assert 0.9 < pace.left < 1.1
    pace.arrived(5000, 0.0)
    assert 5.9 < pace.left < 6.1
    pace.arrived(10**9, 1.0)
    assert pace.left == 10.0
    for _ in range(1000):
        pace.arrived(1000, 1.0)
    assert pace.left == 10.0


def reader_behind_a_gate(server: Live) -> FastAPI:
    """An application that reads bodies of rows."""
    app = FastAPI()

    @app.post("/v2/models/{name}/infer")
    async def read(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(
        Gate, settings=server.settings, tokens=Tokens(server.service), sessions=Sessions(1.0),
        observe=lambda done: None,
    )  # fmt: skip
    return app


class Slow:
    """A body of so many bytes whose end comes when `end` is set."""

    def __init__(self, app: FastAPI, bearer: dict[str, str], size: int) -> None:
        self._app, self._bearer, self._pieces = app, bearer, [bytes(size)]
        self.taken, self.end, self.status = asyncio.Event(), asyncio.Event(), 0

    async def _receive(self) -> dict[str, object]:
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(), "more_body": True}
        self.taken.set()
        await self.end.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, object]) -> None:
        self.status = message.get("status", self.status)

    async def ask(self) -> None:
        """To the end."""
        headers = [("host", "localhost"), *self._bearer.items()]
        scope = {
            "type": "http", "method": "POST", "path": "/v2/models/m/infer", "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http",
        }  # fmt: skip
        await self._app(scope, self._receive, self._send)
        self.taken.set()


def test_bytes_at_work_are_bounded_in_all(tmp_path: Path) -> None:
    """Of 4 MB one user gets 2, the next one 1; all is given back at the end."""
    with live(FakeService(tmp_path), settings(tmp_path, body_mb=1, work_mb=1)) as server:
        app, me, other = reader_behind_a_gate(server), server.bearer, limited(server)

    async def run() -> list[int]:
        async with asyncio.TaskGroup() as group:
            found = [Slow(app, who, 900_000) for who in (me, me, other, me, other)]
            for slow in found:
                group.create_task(slow.ask())
                await slow.taken.wait()
            for slow in found:
                slow.end.set()
        last = Slow(app, other, 900_000)
        last.end.set()
        await last.ask()
        return [slow.status for slow in (*found, last)]

    assert asyncio.run(run()) == [200, 200, 200, 429, 429, 200]


def test_memory_is_given_back_once_for_all_that_end_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []
    monkeypatch.setattr("nbmlp.server.http.memory._SOON", 0.05)

    async def run() -> None:
        tidy = Tidy()
        tidy._trim = given.append
        for _ in range(2):
            before = len(given)
            tidy.soon()
            tidy.soon()
            while len(given) == before:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert given == [0, 0]


def test_requests_wait_for_their_turn_before_they_are_refused() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 2, 1.0, lambda: now[0])
    assert [limit.take("a") for _ in range(4)] == [0.0, 0.0, 0.5, 1.0]
    with pytest.raises(TooManyError):
        limit.take("a")
    assert limit.take("b", rate=10.0, burst=1) == 0.0
    assert limit.take("b", rate=10.0, burst=1) == 0.1
    now[0] = 0.5
    assert limit.take("a") == 1.0


def test_nobody_holds_more_than_is_left_for_others() -> None:
    share = Share(100, "too much.")
    with ExitStack() as stack:
        first = stack.enter_context(share.hold("first", 40))
        first.add(10)
        with pytest.raises(TooManyError, match="too much"):
            first.add(1)
        stack.enter_context(share.hold("second", 25))
        with pytest.raises(TooManyError), share.hold("second", 1):
            pass
        stack.enter_context(share.hold("third", 12))
        assert share.taken == 87
    assert share.taken == 0
    with share.hold("first", 50):
        pass


def test_places_of_ones_own_number() -> None:
    places = Places(1, "streams")
    with places.hold("a", 2), places.hold("a", 2), pytest.raises(TooManyError, match="2 streams"):
        places.hold("a", 2).__enter__()


def test_one_of_each_at_a_time() -> None:
    """Files of one user are read one after the other; another's do not wait for them."""

    async def run() -> list[str]:
        lanes, order, go_on = Lanes(2), [], asyncio.Event()

        async def work(client: str, name: str) -> None:
            async with lanes.hold(client):
                order.append(name)
                await go_on.wait()

        async with asyncio.TaskGroup() as group:
            for client, name in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")):
                group.create_task(work(client, name))
                await asyncio.sleep(0)
            begun = list(order)
            go_on.set()
        assert begun == ["a1", "b1"]
        return order

    assert set(asyncio.run(run())) == {"a1", "a2", "b1", "c1"}


def test_one_user_signs_in_so_often_that_nobody_else_is_signed_out() -> None:
    sessions = Sessions(1.0)
    other = sessions.begin("other")
    own = [sessions.begin("one") for _ in range(60)]
    assert sessions.find(other)
    assert [bool(sessions.find(secret)) for secret in own] == [False] * 10 + [True] * 50

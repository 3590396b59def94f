"""Where requests were sent to and come from: hosts, pages, cookies, forms; HEAD."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from server_fake import FakeService
from server_live import Live, live, settings
from test_server_gate import ULID, walk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    with live(FakeService(folder), settings(folder, trusted_proxies="127.0.0.2")) as running:
        yield running


def status_of(server: Live, *lines: str) -> int:
    with server.connect() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return int(connection.recv(100).split()[1])


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil@localhost"], ["localhost/x"], ["localhost", "localhost"], ["localhost", "evil"], [],
        ["localhost:99999"], ["localhost:x"], ["localhost#x"], ["localhost?x"], ["localhost\\x"],
        ["[::1"], ["::1"], ["localhost, localhost"], ["local host"], ["localhost:80:80"],
    ],
)  # fmt: skip
def test_hosts_that_are_none(server: Live, hosts: list[str]) -> None:
    lines = [f"Host: {host}" for host in hosts]
    assert status_of(server, "GET /v2/health/live HTTP/1.1", *lines) == 400


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]", "[::1]:8765"]
)
def test_hosts_that_are_ours(server: Live, host: str) -> None:
    assert status_of(server, "GET /v2/health/live HTTP/1.1", f"Host: {host}") == 200


@pytest.mark.parametrize("path", ["/v1/jobs/", "/login", "/v1/jobs?x=1", "/v2/health/live"])
def test_addresses_that_are_no_text(server: Live, path: str) -> None:
    address = f"GET {path}{'&' if '?' in path else '?'}\xff HTTP/1.1"
    assert status_of(server, address, "Host: localhost") == 400


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost", "http://localhost", 303), ("localhost:80", "http://localhost", 303),
        ("[::1]:8765", "http://[::1]:8765", 303), ("localhost:8765", "http://localhost:8765", 303),
        ("localhost", "https://localhost", 403), ("localhost", "http://localhost:81", 403),
        ("localhost", "http://[", 403), ("localhost", "http://evil@localhost", 403),
        ("localhost", "//localhost", 403), ("localhost", "localhost", 403),
        ("localhost", "", 403), ("localhost", "http://a\xe2b", 403),
    ],
)  # fmt: skip
def test_origins(server: Live, host: str, origin: str, status: int) -> None:
    lines = (f"Host: {host}", f"Origin: {origin}", "Content-Length: 0")
    assert status_of(server, "POST /login HTTP/1.1", *lines) == status


def test_the_scheme_behind_a_proxy(tmp_path: Path) -> None:
    """What the proxy says counts, if it is trusted; with the port that belongs to the scheme."""
    with ExitStack() as stack:
        for proxies, wanted in (("127.0.0.1", (303, 403)), ("", (403, 303))):
            named = settings(tmp_path, trusted_proxies=proxies, allowed_hosts="train.example")
            server = stack.enter_context(live(FakeService(tmp_path), named))
            said = {"Host": "train.example", "X-Forwarded-Proto": "https"}
            for origin, status in zip(("https", "http"), wanted, strict=True):
                headers = {**said, "Origin": f"{origin}://train.example"}
                answer = httpx.post(f"{server.url}/login", headers=headers)
                assert answer.status_code == status, (proxies, origin)
            assert (
                proxies
                or "--trusted-proxies"
                in httpx.post(
                    f"{server.url}/login", headers={**said, "Origin": "https://train.example"}
                ).text
            )


@pytest.mark.parametrize("place", ["//[", "//a℀b", "/\t/evil.example", "//", "http://["])
def test_places_that_are_none(server: Live, place: str) -> None:
    form = {"token": server.secret, "next": place}
    answer = httpx.post(f"{server.url}/login", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert httpx.get(f"{server.url}/login", params={"next": place}).status_code == 200


@pytest.mark.parametrize(
    "form", [b"&" * 11, b"&" * 8000, b"token=%", b"token=%ff", b"\xff", b"=&=", b"token"]
)
def test_forms_that_are_odd(server: Live, form: bytes) -> None:
    answer = httpx.post(f"{server.url}/login", content=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?wrong=1&next=%2F")


def session_of(server: Live) -> dict[str, str]:
    return dict(httpx.post(f"{server.url}/login", data={"token": server.secret}).cookies)


def test_cookies_of_others_on_this_machine(server: Live) -> None:
    """A cookie is sent to all ports of a host: those of other programs come along."""
    ((name, value),) = session_of(server).items()
    for others in ("a[]=b; ", 'a="b; ', "a b=c; ", "=; ", ";;; ", "ä=ö; "):
        for cookies in (f"{others}{name}={value}", f"{name}={value}; {others}"):
            lines = ("Host: localhost", f"Cookie: {cookies}")
            assert status_of(server, "GET /v1/jobs HTTP/1.1", *lines) == 200, cookies


def test_two_servers_on_one_machine(server: Live, tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path)) as second:
        cookies = session_of(server) | session_of(second)
        for one in (server, second):
            assert httpx.get(f"{one.url}/v1/jobs", cookies=cookies).status_code == 200
        csrf = next(iter(second.app.user_middleware[0].kwargs["sessions"]._sessions.values())).csrf
        httpx.post(f"{second.url}/logout", cookies=cookies, data={"csrf": csrf})
        statuses = [
            httpx.get(f"{s.url}/v1/jobs", cookies=cookies).status_code for s in (server, second)
        ]
        assert statuses == [200, 401]


def test_head_wherever_get_is(server: Live) -> None:
    with server.client() as client:
        data = client.put("/v1/datasets/a.csv", content=b"a,b\n1,2\n").json()["id"]
        job = client.post("/v1/jobs", json={"dataset_id": data, "target": "b"}).json()["id"]
        ids = {"dataset": data, "dataset_id": data, "job_id": job, "name": "style.css"}
        found = 0
        for method, route in sorted(set(walk(server.app.routes))):
            if method != "GET" or route.endswith("/events"):
                continue
            path = re.sub(r"\{(\w+)\}", lambda match: ids.get(match[1], ULID), route)
            whole, head = client.get(path), client.head(path)
            assert head.status_code == whole.status_code, path
            assert head.content == b""
            if route != "/metrics":
                assert head.headers.get("Content-Length") == whole.headers.get("Content-Length")
            found += head.status_code == 200
        assert found > 15
        # Of a stream the head is all: it would not end before the job.
        assert client.head(f"/v1/jobs/{job}/events").status_code == 200
        assert client.head("/v1/jobs/x/cancel").status_code == 405

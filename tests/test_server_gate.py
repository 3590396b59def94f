"""Who gets in, and how much of it: the server's outermost layer."""

from __future__ import annotations

import html
import logging
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from server_fake import FakeService
from server_live import Live, live, settings

from nbmlp.errors import SpecError
from nbmlp.server.http.limits import Places, RateLimit, TooManyError, network_of
from nbmlp.server.http.observe import configure_logging, redacted
from nbmlp.server.http.run import Renewal, first_token, open_socket
from nbmlp.server.http.sessions import Sessions
from nbmlp.server.ports import BusyError
from nbmlp.server.settings import settings_from
from tests.waiting import PATIENCE

OPEN = {"/v2/health/live", "/v2/health/ready", "/login", "/static/{name}"}
ULID = "01J9ZC4N3V0000000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("server")
    with live(FakeService(folder), settings(folder)) as running:
        yield running


@pytest.fixture
def client(server: Live) -> Iterator[httpx.Client]:
    with server.client() as ready:
        yield ready


def walk(routes: list, prefix: str = "") -> Iterator[tuple[str, str]]:
    """All paths and methods, those of included routers and of mounts too."""
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        path = prefix + getattr(route, "path", "")
        for method in getattr(route, "methods", None) or ():
            yield method, path
        if getattr(inner, "routes", None):
            yield from walk(inner.routes, path)


def test_every_route_wants_a_token(server: Live) -> None:
    found = set(walk(server.app.routes))
    assert len(found) > 40
    assert {"/openapi.json", "/docs", "/metrics", "/v1/jobs/{job_id}/events"} <= {
        path for _, path in found
    }
    with server.client(signed_in=False) as stranger:
        for method, path in sorted(found):
            answer = stranger.request(method, re.sub(r"\{[^}]+\}", ULID, path))
            assert (answer.status_code == 401) == (path not in OPEN), f"{method} {path}"


def test_unknown_paths_and_tricks_want_a_token_too(server: Live) -> None:
    with server.client(signed_in=False) as stranger:
        for path in (
            "/nothing", "//v1/jobs", "/v1/jobs/", "/V1/JOBS", "/static", "/login/", "/v2",
            "/v2/health/live/", "/static%2f..%2fv1/jobs", "/%76%31/jobs", "/login%00",
        ):  # fmt: skip
            assert stranger.get(path).status_code == 401, path


def test_static_files_are_only_those_that_are_known(server: Live) -> None:
    with server.client(signed_in=False) as stranger:
        for path in ("/static/../routes.py", "/static/..%2froutes.py", "/static/%2fetc%2fpasswd"):
            assert stranger.get(path).status_code in (401, 404), path


def test_tokens_that_are_not_known(server: Live) -> None:
    for given in (
        "Bearer", "Bearer ", "Bearer nonsense", f"Basic {server.secret}", server.secret,
        f"Bearer {server.secret}x", "Bearer " + "x" * 5000,
    ):  # fmt: skip
        answer = httpx.get(f"{server.url}/v1/jobs", headers={"Authorization": given.strip()})
        assert answer.status_code == 401, given[:40]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_good_token_is_not_looked_up_each_time(server: Live, client: httpx.Client) -> None:
    client.get("/v1/jobs")
    before = server.service.verified
    for _ in range(5):
        assert client.get("/v1/jobs").status_code == 200
    assert server.service.verified == before


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "a b"])
def test_other_hosts_are_refused(server: Live, host: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(f"GET /v2/health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert plain.recv(100).split()[1] == b"400"


def test_more_hosts_can_be_allowed(tmp_path: Path) -> None:
    named = settings(tmp_path, allowed_hosts="train.example, other.example")
    with live(FakeService(tmp_path), named) as server:
        for host, status in (("train.example:80", 200), ("OTHER.example", 200), ("x.example", 400)):
            answer = httpx.get(f"{server.url}/v2/health/live", headers={"Host": host})
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({}, 404),
    ],
)
def test_writes_from_other_pages(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert client.post(f"/v1/jobs/{ULID}/cancel", headers=headers).status_code == status


def test_own_origin_may_write(server: Live, client: httpx.Client) -> None:
    answer = client.post(f"/v1/jobs/{ULID}/cancel", headers={"Origin": server.url})
    assert answer.status_code == 404


def sign_in(server: Live, **fields: str) -> tuple[httpx.Client, httpx.Response]:
    browser = httpx.Client(base_url=server.url)
    return browser, browser.post("/login", data={"token": server.secret, **fields})


def test_signing_in_and_out(server: Live) -> None:
    browser, answer = sign_in(server, next="/jobs?x=1")
    with closing(browser):
        assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs?x=1")
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert browser.get("/v1/jobs").status_code == 200
        assert browser.post(f"/v1/jobs/{ULID}/cancel").status_code == 403
        csrf = next(iter(server_sessions(server).values())).csrf
        wrong = browser.post(f"/v1/jobs/{ULID}/cancel", headers={"X-CSRF-Token": "x"})
        right = browser.post(f"/v1/jobs/{ULID}/cancel", headers={"X-CSRF-Token": csrf})
        assert (wrong.status_code, right.status_code) == (403, 404)
        assert browser.post("/logout", data={"csrf": "x"}).status_code == 403
        kept = dict(browser.cookies)
        assert browser.post("/logout", data={"csrf": csrf}).status_code == 303
        assert httpx.get(f"{server.url}/v1/jobs", cookies=kept).status_code == 401


def server_sessions(server: Live) -> dict:
    gate = server.app.user_middleware[0]
    return gate.kwargs["sessions"]._sessions


def test_signing_in_with_a_wrong_token(server: Live) -> None:
    browser, answer = sign_in(server, token="wrong")
    with closing(browser):
        assert answer.headers["Location"] == "/login?wrong=1&next=%2F"
        assert "Set-Cookie" not in answer.headers


def test_a_wrong_token_does_not_forget_where_one_wanted_to_go(server: Live) -> None:
    """From a link with a query, past a wrong token, to where it leads."""
    wanted = "/compare?job=1&job=2"
    with httpx.Client(base_url=server.url) as browser:
        asked = browser.get(wanted, headers={"Accept": "text/html"})
        assert asked.status_code == 401
        place = asked.headers["Refresh"].partition("url=")[2]
        for token in ("wrong", "wrong again", server.secret):
            (fields,) = re.findall(r'name="next" value="([^"]*)"', browser.get(place).text)
            form = {"token": token, "next": html.unescape(fields)}
            place = browser.post("/login", data=form).headers["Location"]
    assert place == wanted


def test_a_wrong_token_leads_nowhere_else(server: Live) -> None:
    browser, answer = sign_in(server, token="wrong", next="https://evil.example")
    browser.close()
    assert answer.headers["Location"] == "/login?wrong=1&next=%2F"


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: y"]
)
def test_signing_in_leads_nowhere_else(server: Live, place: str) -> None:
    browser, answer = sign_in(server, next=place)
    browser.close()
    assert answer.headers["Location"] == "/"


def test_sessions_end(tmp_path: Path) -> None:
    now = [0.0]
    sessions = Sessions(1.0, lambda: now[0])
    secret = sessions.begin("somebody")
    assert sessions.find(secret).user == "somebody"
    now[0] = 3601.0
    assert sessions.find(secret) is None


def test_headers_of_every_answer(server: Live, client: httpx.Client) -> None:
    for path in ("/v1/jobs", "/v2/health/live", "/login", "/nothing", "/static/style.css"):
        headers = client.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Server" not in headers
    assert httpx.get(f"{server.url}/v1/jobs").headers["X-Frame-Options"] == "DENY"


def test_rate_limit(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, rate=0.01, burst=20)) as server:
        statuses = []
        with server.client() as client:
            for _ in range(22):
                answer = client.get("/v1/jobs")
                statuses.append(answer.status_code)
        assert set(statuses) == {200, 429}
        assert statuses[0] == 200
        assert int(answer.headers["Retry-After"]) >= 1


def test_buckets_fill_again() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 3, 0.0, lambda: now[0])
    for _ in range(3):
        limit.take("a")
    with pytest.raises(TooManyError) as caught:
        limit.take("a")
    assert caught.value.retry_after == 1
    limit.take("b")
    now[0] = 0.5
    limit.take("a")
    with pytest.raises(TooManyError):
        limit.take("a")


def test_an_address_is_a_network_for_ipv6() -> None:
    assert network_of("10.1.2.3") == network_of("::ffff:10.1.2.3") == "10.1.2.3"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")


def test_places_are_given_back() -> None:
    places = Places(1, "streams")
    with places.hold("a"), pytest.raises(TooManyError), places.hold("a"):
        pass
    with places.hold("a"):
        assert places.taken == 1
    assert places.taken == 0


def test_too_many_connections(tmp_path: Path) -> None:
    """Who has asked for nothing gives way, and is told to come again."""
    with live(FakeService(tmp_path), settings(tmp_path, max_connections=3)) as server:
        held = [server.connect() for _ in range(3)]
        with held[1], held[2], held[0] as oldest:
            assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
            answer = oldest.recv(2000)
            assert answer.split()[1] == b"429"
            assert b"\r\nRetry-After: 1\r\n" in answer
            assert b"\r\nX-Frame-Options: DENY\r\n" in answer


@pytest.mark.parametrize(
    ("sent", "told"), [(b"", b""), (b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX", b"408")]
)
def test_connections_that_ask_for_nothing_end(tmp_path: Path, sent: bytes, told: bytes) -> None:
    with (
        live(FakeService(tmp_path), settings(tmp_path, header_seconds=0.3)) as server,
        server.connect() as silent,
    ):
        silent.sendall(sent)
        answer = b"".join(iter(lambda: silent.recv(1000), b""))
        assert answer.split()[1:2] == ([told] if told else [])
        assert not told or b"x-frame-options: deny" in answer.lower()


def test_bodies_that_do_not_arrive(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, body_seconds=0.3)) as server:
        head = (
            f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.secret}"
            "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
            slow.sendall(head.encode())
            assert slow.recv(100).split()[1] == b"408"


def test_bodies_that_are_too_large(server: Live, client: httpx.Client) -> None:
    """Only rows to predict are ever long."""
    answer = client.post("/v1/jobs", content=b" " * 65_537)
    assert answer.status_code == 413
    assert "64 kB" in answer.json()["error"]
    path = f"/v2/models/{ULID}/infer"
    assert client.post(path, content=b" " * 65_537).status_code == 404
    pieces = (b" " * 1000 for _ in range(66))
    assert client.post("/v1/jobs", content=pieces).status_code == 413


def test_a_form_of_a_stranger_is_not_read_to_its_end(server: Live) -> None:
    head = (
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        "token=" + "x" * 10_000
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
        slow.sendall(head.encode())  # and not a byte more
        assert slow.recv(100).split()[1] == b"413"


def test_errors_of_our_own_are_told_without_details(
    server: Live,
    client: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr(type(server.service), "get_job", broken)
    caplog.set_level("CRITICAL", "nbmlp.server")
    answer = client.get(f"/v1/jobs/{ULID}")
    assert answer.status_code == 500
    assert "detail" not in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_mistake_in_reading_an_upload_is_logged_and_told_without_details(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer_of_ours = {"status": 500, "error": "Traceback ...\nTypeError: a detail"}
    monkeypatch.setattr("nbmlp.server.intake.reader._ask", lambda *given: answer_of_ours)
    answer = client.put("/v1/datasets/table.csv", content=b"a,b\n1,2\n")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server met an error of its own: see its log."}
    assert "TypeError: a detail" in caplog.text


@pytest.mark.parametrize("method", ["verify_token", "list_jobs"])
def test_a_locked_database_is_no_fault_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def locked(*given: object) -> None:
        raise BusyError("the database is locked by another program: try again in a moment.")

    with live(FakeService(tmp_path), settings(tmp_path)) as server, server.client() as client:
        monkeypatch.setattr(server.service, method, locked)
        answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "locked" in answer.json()["error"]
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_logs_have_no_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    line = "Authorization: Bearer abc123 and cookie nbmlp_session_8765=def456; token=ghi789"
    assert not set(re.findall(r"abc123|def456|ghi789", redacted(line)))
    configure_logging("info")
    log = logging.getLogger("nbmlp.server.test")
    log.info("sent Bearer %s", "abc123")
    for logger in map(logging.getLogger, ("nbmlp.server", "uvicorn")):
        logger.handlers, logger.propagate = [], True
    said = capfd.readouterr().err
    assert '"message": "sent Bearer [redacted]"' in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_other_addresses_have_to_be_allowed(tmp_path: Path, host: str) -> None:
    with pytest.raises(SpecError, match="--allow-remote"):
        open_socket(settings(tmp_path, host=host))


def test_first_token_is_shown_once_and_replaced_on_request(tmp_path: Path) -> None:
    service, plain = FakeService(tmp_path), settings(tmp_path)
    told: list[str] = []
    first_token(service, plain, Renewal(), told.append)
    first_token(service, plain, Renewal(), told.append)
    first = told.pop().split()[-1]
    assert told == []
    assert len(first) >= 32
    first_token(service, plain, Renewal(new=True), told.append)
    second = told.pop().split()[-1]
    assert service.verify_token(first) is None
    assert service.verify_token(second) is not None


def test_first_token_in_a_file(tmp_path: Path) -> None:
    place = tmp_path / "token"
    service = FakeService(tmp_path)
    first_token(service, settings(tmp_path, token_file=place), Renewal(), pytest.fail)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert service.verify_token(place.read_text().strip())


def test_wrong_settings_name_the_option_and_the_variable() -> None:
    with pytest.raises(SpecError, match=r"--max-connections \(or NBMLP_MAX_CONNECTIONS\)"):
        settings_from({"max_connections": "0"})


def test_every_promise_names_tests_that_exist() -> None:
    """Each line of the table in SECURITY.md."""
    root = Path(__file__).parents[1]
    table = [line for line in (root / "SECURITY.md").read_text().splitlines() if line[:2] == "| "]
    promises = table[1:]
    assert len(promises) > 20
    for line in promises:
        file = ""
        found = re.findall(r"`([\w/]*\.py)?(?:::(\w+))?`", line.split("|")[2])
        assert any(name or test for name, test in found), line
        for name, test in found:
            file = name or file
            text = (root / "tests" / file).read_text()
            assert not test or f"def {test}(" in text, (file, test)

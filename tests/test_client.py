"""The client beside servers that are restarted, mistaken or rude, and with rows of all kinds."""

from __future__ import annotations

import itertools
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from server_fake import FakeService
from server_jobs import add_table, spec_for, until
from server_live import live

from nbmlp import Client, DataError, ServerError, WaitError
from nbmlp.client import connection
from nbmlp.client.rows import tensors
from nbmlp.server.ports import EventKind, JobState
from nbmlp.server.settings import ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Status of each failure that the client got over; it does not wait long before the next."""
    seen: list[int] = []
    plain = connection.Patience.wait

    def wait(self: connection.Patience, error: ServerError, until: float = math.inf) -> None:
        plain(self, error, until)
        seen.append(error.status)

    monkeypatch.setattr(connection.Patience, "wait", wait)
    monkeypatch.setattr(connection, "_FIRST", 0.01)
    monkeypatch.setattr(connection, "_LONGEST", 0.05)
    return seen


# -- a server that goes and comes back


def settings(folder: Path, port: int = 0) -> ServerSettings:
    return ServerSettings(data_dir=folder, port=port, rate=1e6, burst=10**6, shutdown_seconds=1)


@pytest.mark.parametrize("what", ["stream", "wait"])
def test_an_orderly_restart_is_survived(what: str, tmp_path: Path, tries: list[int]) -> None:
    """The stream ends as it should, then nobody listens for a while."""
    service, found = FakeService(tmp_path), list[Any]()
    job = service.submit(spec_for(add_table(service))).id
    with live(service, settings(tmp_path)) as first:
        client = Client(first.url, first.secret)

        def follow() -> None:
            if what == "wait":
                found.append(client.wait(job)["state"])
            else:
                found.extend(event["seq"] for event in client.stream(job))

        service.tell(job, EventKind.MESSAGE, {"text": "before"})
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        until(lambda: what == "wait" or len(found) == 2)
    until(lambda: len(tries) >= 3)
    assert set(tries) == {0}
    with live(service, settings(tmp_path, first.port)):
        service.enter(job, JobState.SUCCEEDED)
        thread.join(60)
    client.close()
    assert found == ([1, 2, 3] if what == "stream" else ["succeeded"])


def test_a_stream_cut_off_as_its_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes ends its streams in order; what they lacked is asked for again."""
    service = FakeService(tmp_path)
    job = service.submit(spec_for(add_table(service))).id
    service.tell(job, EventKind.MESSAGE, {"text": "before"})
    service.enter(job, JobState.SUCCEEDED)
    with live(service, settings(tmp_path)) as server, Client(server.url, server.secret) as client:
        plain, asked = client._connection.events, list[int]()

        def cut(path: str, after: int) -> Iterator[Any]:
            asked.append(after)
            return itertools.islice(plain(path, after), 2 if after == 0 else None)

        monkeypatch.setattr(client._connection, "events", cut)
        assert [event["seq"] for event in client.stream(job)] == [1, 2, 3]
        assert asked == [0, 2]


def test_patience_has_an_end(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path)) as gone:
        pass
    for call in (Client.wait, lambda client, job: list(client.stream(job))):
        with (
            Client(gone.url, "token", patience=0.0) as client,
            pytest.raises(ServerError, match="does not answer") as caught,
        ):
            call(client, "0" * 26)
        assert caught.value.status == 0


def test_waiting_has_a_limit(tmp_path: Path) -> None:
    service = FakeService(tmp_path)
    job = service.submit(spec_for(add_table(service))).id
    with live(service, settings(tmp_path)) as server, Client(server.url, server.secret) as client:
        for timeout in (0.0, 0.05):
            with pytest.raises(TimeoutError, match="is queued after") as caught:
                client.wait(job, timeout=timeout)
            assert isinstance(caught.value, WaitError)
        service.enter(job, JobState.CANCELLED)
        assert client.wait(job, timeout=0.0)["state"] == "cancelled"


def test_lists(tmp_path: Path) -> None:
    """More than one page of each."""
    service = FakeService(tmp_path)
    data = [add_table(service, 5) for _ in range(60)]
    jobs = [service.submit(spec_for(data[0])).id for _ in range(60)]
    with live(service, settings(tmp_path)) as server, Client(server.url, server.secret) as client:
        assert [item["id"] for item in client.datasets()] == data[::-1]
        assert [item["id"] for item in client.jobs()] == jobs[::-1]
        assert list(client.models()) == []


def test_how_a_table_is_written_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "preise.csv").write_bytes("Größe;Preis\n1,5;2\n2,5;3\n".encode("cp1252"))
    with (
        live(FakeService(tmp_path), settings(tmp_path)) as server,
        Client(server.url, server.secret) as client,
    ):
        with pytest.raises(ServerError, match="encoding"):
            client.upload(tmp_path / "preise.csv")
        found = client.upload(
            tmp_path / "preise.csv", "Preise", decimal=",", encoding="cp1252", separator=";"
        )
    assert (found["name"], found["rows"]) == ("Preise", 2)
    assert [(c["name"], c["minimum"]) for c in found["columns"]] == [("Größe", 1.5), ("Preis", 2.0)]


# -- servers that are none, or not well


@contextmanager
def stub(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Client]:
    """A server that answers everything in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if length := int(self.headers.get("Content-Length", 0)):
                self.rfile.read(length)
            answer(self)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *given: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", "t", patience=30.0) as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(
    status: int, body: bytes, kind: str = "application/json", length: int | None = None,
    **headers: str,
) -> Callable[[BaseHTTPRequestHandler], None]:  # fmt: skip
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


CALLS: dict[str, Callable[[Client], Any]] = {
    "job": lambda client: client.job("x"),
    "submit": lambda client: client.submit("x"),
    "act": lambda client: client.act("x", "pause"),
    "metrics": lambda client: client.metrics("x"),
    "stream": lambda client: list(client.stream("x")),
    "wait": lambda client: client.wait("x"),
    "model": lambda client: client.model("x"),
    "jobs": lambda client: list(client.jobs()),
    "datasets": lambda client: list(client.datasets()),
    "models": lambda client: list(client.models()),
    "predict": lambda client: client.predict("x", [[1.0]]),
    "upload": lambda client: client.upload(__file__),
}
STRANGE = {
    "redirect": (reply(302, b"", Location="https://elsewhere.example/"), "elsewhere.example"),
    "proxy's page": (reply(200, b"<html>Sign in</html>", "text/html"), "text/html"),
    "no text": (reply(200, b"\xff\xfe\x00"), "JSON|stream of events"),
    "cut off": (reply(200, b'{"id": "x", "sta'), "JSON|stream of events"),
    "cut off by bytes": (reply(200, b'{"id": "x"', length=99), "does not answer|stream of events"),
    "a list": (reply(200, b"[]"), "asked for|stream of events"),
    "lacks a field": (reply(200, b'{"id": "x"}'), "asked for|stream of events"),
    "null": (reply(200, b"null"), "asked for|stream of events"),
    "error that is no text": (reply(400, b'{"error": {}}'), "status 400"),
    "error page": (reply(403, b"<html>No", "text/html"), "status 403"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_answers_are_errors_in_a_sentence(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LATER", frozenset())
    answer, words = STRANGE[case]
    with stub(answer) as client:
        for call in CALLS.values():
            with pytest.raises(ServerError, match=words):
                call(client)


def test_items_of_lists_are_looked_at() -> None:
    with (
        stub(reply(200, b'{"data": [{"name": "x"}], "has_more": true}')) as client,
        pytest.raises(ServerError, match="lacks"),
    ):
        list(client.jobs())


@pytest.mark.parametrize(
    "outputs",
    [[], [{"shape": [2], "data": [1]}], [{"shape": [], "data": [1]}], [{"shape": 1, "data": []}]],
)
def test_predictions_that_are_none(outputs: list[Any]) -> None:
    body = json.dumps({"outputs": outputs}).encode()
    with stub(reply(200, body)) as client, pytest.raises(ServerError):
        client.predict("x", [[1.0]])


def test_a_stream_of_nonsense() -> None:
    for data in ("nonsense", "[]", '{"seq": "1"}'):
        body = f"id: 1\nevent: state\ndata: {data}\n\n".encode()
        with (
            stub(reply(200, body, "text/event-stream")) as client,
            pytest.raises(ServerError, match="an event"),
        ):
            list(client.stream("x"))


def test_a_proxy_that_waits_for_its_server(tries: list[int]) -> None:
    """502, 503 and 504 are no answers of the server's."""
    statuses = iter((503, 502, 504))
    ended = json.dumps({
        "id": "x", "name": "x", "state": "succeeded", "message": "", "error": "", "epoch": 1,
        "epochs": 1, "best_score": None, "best_loss": None, "model_id": None,
    }).encode()  # fmt: skip

    def answer(handler: BaseHTTPRequestHandler) -> None:
        status = next(statuses, 200)
        given = (status, b"<html>wait</html>", "text/html") if status > 200 else (200, ended)
        reply(*given)(handler)

    with stub(answer) as client:
        assert client.wait("x")["state"] == "succeeded"
    assert tries == [503, 502, 504]


def test_a_token_is_not_told() -> None:
    """With a line's end, as it is read from a file."""
    headers: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers.append(handler.headers["Authorization"])
        reply(200, b'{"data": [], "has_more": false}')(handler)

    with stub(answer) as client, Client(str(client._connection._http.base_url), "abc\n") as other:
        assert other.metrics("x") == []
    assert headers == ["Bearer abc"]


# -- files


def test_a_download_writes_into_no_file_but_its_own(tmp_path: Path) -> None:
    mine, victim = tmp_path / "m.safetensors.part", tmp_path / "victim"
    victim.write_bytes(b"precious")
    mine.symlink_to(victim)
    with stub(reply(200, b"model", "application/octet-stream")) as client:
        client.download("x", tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == b"model"
    assert victim.read_bytes() == b"precious"
    assert mine.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.safetensors", "m.safetensors.part", "victim",
    ]  # fmt: skip
    mask = os.umask(0o022)
    os.umask(mask)
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_download_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before")
    (tmp_path / "x.part").write_bytes(b"mine")
    for answer in (
        reply(200, b"half", "application/octet-stream", length=99),
        reply(404, b'{"error": "there is no model."}'),
        reply(302, b"", Location="/elsewhere"),
    ):
        with stub(answer) as client, pytest.raises(ServerError):
            client.download("x", tmp_path / "x")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"x": b"before", "x.part": b"mine"}


# -- rows


def sent(rows: Any) -> dict[str, tuple[str, list[Any]]]:
    found = tensors(rows)
    json.dumps(found, allow_nan=False)
    assert all(math.prod(tensor["shape"]) == len(tensor["data"]) for tensor in found)
    return {tensor["name"]: (tensor["datatype"], tensor["data"]) for tensor in found}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"age": 1, "colour": "red"}] * 3 + [{"age": 1, "color": "red"}],
         r"row 3 has 'color', which row 0 has not: did you mean 'colour'\?"),
        ([{"age": 1}, {"age": 1, "weight": 2}], "row 1 has 'weight', which row 0 has not: give"),
        ([{"age": 1, "city": "Bonn"}, {"age": 1}], "row 1 lacks 'city': give None"),
        ([{"age": 1}, [1]], "row 1 has no names"),
        ([[1, 2], [1, 2], [1]], "row 2 has 1 values, row 0 has 2"),
        ([[1], {"age": 1}], "row 1 is no list of numbers"),
        (["text"], "row 0 is no list of numbers"),
        ([1, 2], "row 0 is no list of numbers"),
        ([], "no rows"),
        ([{"age": object()}], "row 0, 'age' holds a object"),
        ([{"age": 1}, {"age": [1]}], "row 1, 'age' holds a list"),
        ([{"age": 1}, {"age": np.inf}], "row 1, 'age' is infinite"),
        ([[1.0, -np.inf]], "row 0, column 1 is infinite"),
    ],
)  # fmt: skip
def test_rows_that_are_wrong(rows: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        tensors(rows)


def test_rows_of_all_kinds() -> None:
    rows = [
        {"age": np.float32(1.5), "n": np.int64(3), "city": np.str_("Bonn"), "on": True},
        {"age": float("nan"), "n": Decimal("2.5"), "city": float("nan"), "on": np.bool_(False)},
        {"age": np.float64("nan"), "n": None, "city": None, "on": None},
    ]
    assert sent(rows) == {
        "age": ("FP64", [1.5, None, None]), "n": ("FP64", [3, 2.5, None]),
        "city": ("BYTES", ["Bonn", None, None]), "on": ("FP64", [True, False, None]),
    }  # fmt: skip
    reordered = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert sent(reordered) == {"a": ("FP64", [1, 3]), "b": ("FP64", [2, 4])}


def test_matrices_and_columns() -> None:
    expected = {"x": ("FP64", [1.0, None, 3.0, 4.0])}
    matrix = np.array([[1.0, np.nan], [3.0, 4.0]], np.float32)
    for rows in (matrix, matrix.tolist(), tuple(matrix), iter(matrix)):
        assert sent(rows) == expected
    columns = {"age": np.array([1.0, np.nan]), "city": np.array(["Bonn", None], object)}
    assert sent(columns) == {"age": ("FP64", [1.0, None]), "city": ("BYTES", ["Bonn", None])}


def test_data_frames() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"age": [1.5, None], "city": ["Bonn", None]})
    expected = {"age": ("FP64", [1.5, None]), "city": ("BYTES", ["Bonn", None])}
    assert sent(frame) == expected
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"age": [1.5, np.nan], "city": ["Bonn", pd.NA], "when": [pd.NaT] * 2})
    assert sent(frame) == {**expected, "when": ("FP64", [None, None])}

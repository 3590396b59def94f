"""The server's API end to end: data sets, jobs, events, models, documents, metrics."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_fake import FakeService
from server_jobs import end_all
from server_live import Live, live

import nbmlp
from nbmlp import MLP, Client, ServerError
from nbmlp.server.ports import EventKind, JobState
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings
from nbmlp.server.store.jobs import JobStore
from tests.waiting import PATIENCE, until

ULID = "01J9ZC4N3V0000000000000000"
CSV = b"age,city,price\n" + b"".join(
    f"{20 + i % 40},{('Bonn', 'Rome')[i % 2]},{i % 7}.5\n".encode() for i in range(200)
)


def settings(folder: Path, **more: object) -> ServerSettings:
    return ServerSettings(**{"data_dir": folder, "port": 0, "rate": 1e6, "burst": 10**6, **more})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """With a service in memory."""
    folder = tmp_path_factory.mktemp("fake")
    with live(FakeService(folder), settings(folder, max_streams=3)) as running:
        yield running


@pytest.fixture
def http(server: Live) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    chosen = settings(tmp_path_factory.mktemp("real"), checkpoint_seconds=0)
    with live(LocalService(chosen), chosen) as running:
        yield running


@pytest.fixture
def real(started: Live) -> Iterator[Live]:
    """With processes and a database; nobody has to wait for jobs that another test has left."""
    yield started
    end_all(started.service)


def spec(http: httpx.Client, **more: object) -> dict:
    dataset = http.put("/v1/datasets/houses.csv", content=CSV).json()["id"]
    return {"dataset_id": dataset, "target": "price", **more}


# -- data sets


def test_upload_and_list(http: httpx.Client) -> None:
    answer = http.put("/v1/datasets/my houses.csv", content=CSV)
    assert answer.status_code == 201
    found = answer.json()
    assert (found["name"], found["rows"]) == ("my houses.csv", 200)
    assert [column["kind"] for column in found["columns"]] == ["integer", "text", "number"]
    assert http.get(f"/v1/datasets/{found['id']}").json() == found
    ids = [item["id"] for item in http.get("/v1/datasets").json()["data"]]
    assert found["id"] in ids
    assert http.delete(f"/v1/datasets/{found['id']}").status_code == 204
    assert http.get(f"/v1/datasets/{found['id']}").status_code == 404


def test_pages(http: httpx.Client) -> None:
    made = [http.put(f"/v1/datasets/{i}", content=CSV).json()["id"] for i in range(5)]
    seen, after = [], {}
    while True:
        page = http.get("/v1/datasets", params={"limit": 2, **after}).json()
        seen += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["data"][-1]["id"]}
    assert seen[:5] == made[::-1]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "a%00b", "a%0ab", "a%5cb", "x" * 201, "%ff"])
def test_names_that_are_no_labels(server: Live, name: str) -> None:
    before = set(server.service.folder.parent.rglob("*"))
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(
            f"PUT /v1/datasets/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
            f"Authorization: Bearer {server.secret}\r\n\r\na\n1\n".encode()
        )
        status = int(plain.recv(1000).split()[1])
    assert status == (201 if name == "%ff" else 422)
    after = {path for path in server.service.folder.parent.rglob("*") if len(path.name) != 64}
    assert after <= before


def test_names_with_slashes_are_no_route(http: httpx.Client) -> None:
    for name in ("..%2f..%2fetc%2fpasswd", "a%2fb", "a/b"):
        assert http.put(f"/v1/datasets/{name}", content=CSV).status_code in (404, 405)


def test_refused_files_leave_nothing(server: Live, http: httpx.Client) -> None:
    before = set(server.service.folder.iterdir())
    for content, status in (
        (b"", 422), (b"a,a\n1,2\n", 422), (b"\x1f\x8b" + bytes(50), 422), (bytes(99), 415),
    ):  # fmt: skip
        answer = http.put("/v1/datasets/bad", content=content)
        assert answer.status_code == status
        assert answer.json()["error"].startswith("bad")
    assert set(server.service.folder.iterdir()) == before


def test_an_upload_says_how_it_is_written(http: httpx.Client) -> None:
    content = "Größe^n\n1,250^1\n2,500^2\n".encode("cp1252")
    told = {"encoding": "cp1252", "separator": "^", "decimal": ","}
    found = http.put("/v1/datasets/de.csv", content=content, params=told)
    assert found.status_code == 201
    (size, _) = found.json()["columns"]
    assert (size["name"], size["minimum"], size["maximum"]) == ("Größe", 1.25, 2.5)
    for wrong in (
        {**told, "decimal": ";"}, {**told, "encoding": "rot13"}, {**told, "separator": "\n"},
        {"separator": "^", "decimal": ","}, {**told, "decimal": ""},
    ):  # fmt: skip
        answer = http.put("/v1/datasets/de.csv", content=content, params=wrong)
        assert answer.status_code == 422
        lacking = min(told.keys() - wrong.keys(), default=None)
        assert (lacking or min(n for n in told if told[n] != wrong[n])) in answer.json()["error"]


def test_uploads_have_limits(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, upload_mb=1, upload_seconds=1)) as server:
        with server.client() as client:
            assert client.put("/v1/datasets/a", content=bytes(2 << 20)).status_code == 413
            pieces = (bytes(1 << 19) for _ in range(5))
            assert client.put("/v1/datasets/a", content=pieces).status_code == 413
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
            slow.sendall(
                f"PUT /v1/datasets/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
                f"Authorization: Bearer {server.secret}\r\n\r\na".encode()
            )
            assert slow.recv(100).split()[1] == b"408"
        assert not list(tmp_path.iterdir())


def test_uploads_end_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    service = FakeService(tmp_path)
    service.disk_free = 1000
    with live(service, settings(tmp_path)) as server:
        with server.client() as client:
            answer = client.put("/v1/datasets/a", content=CSV)
        assert (answer.status_code, "nearly full" in answer.text) == (507, True)
        assert not list(tmp_path.iterdir())


def test_uploads_at_a_time(tmp_path: Path) -> None:
    with live(FakeService(tmp_path), settings(tmp_path, uploads=1)) as server:
        end = threading.Event()

        def pieces() -> Iterator[bytes]:
            yield CSV
            end.wait(PATIENCE)

        def send() -> None:
            with server.client() as other:
                statuses.append(other.put("/v1/datasets/a", content=pieces()).status_code)

        statuses: list[int] = []
        thread = threading.Thread(target=send)
        thread.start()
        until(lambda: list(tmp_path.iterdir()))
        with server.client() as client:
            answer = client.put("/v1/datasets/b", content=CSV)
        end.set()
        thread.join()
        assert (answer.status_code, statuses) == (429, [201])
        assert int(answer.headers["Retry-After"]) > 0


# -- jobs


def test_errors_have_one_shape(http: httpx.Client) -> None:
    for method, path, status, words in (
        ("GET", f"/v1/jobs/{ULID}", 404, "no job"),
        ("GET", "/v1/jobs/nonsense", 422, "job_id"),
        ("GET", "/v1/jobs?limit=0", 422, "limit"),
        ("GET", "/v1/jobs?limit=%2B1.0", 422, "digits"),
        ("GET", "/nothing", 404, "Not Found"),
        ("PATCH", "/v1/jobs", 405, "Not Allowed"),
        ("POST", "/v1/jobs", 422, "Field required"),
    ):
        answer = http.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": {"activation": "os.system"}},
        {"model": {"activation": "__import__('os')"}},
        {"model": {"hidden": [10**9]}},
        {"model": {"epochs": 10**9}},
        {"model": {"optimizer": "nbmlp.optimizers.Adam"}},
        {"callback": "x"},
        {"dataset_id": "../../etc/passwd"},
        {"model": {"learning_rate": float("inf")}},
        {"target": ["x"] * 2000},
    ],
)
def test_specs_are_bounded(http: httpx.Client, wrong: dict) -> None:
    body = {"dataset_id": ULID, **wrong}
    json_headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/jobs", content=json.dumps(body).encode(), headers=json_headers)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()) == {"error", "fields"}


def test_an_error_names_the_fields_that_it_is_about(http: httpx.Client) -> None:
    model = {"hidden": [8, None], "epochs": 0}
    body = {"dataset_id": ULID, "validation": 1.5, "model": model}
    fields = http.post("/v1/jobs", json=body).json()["fields"]
    assert set(fields) == {"validation", "model.hidden.1", "model.epochs"}
    assert fields["model.epochs"] == "Input should be greater than or equal to 1"
    wrong = {
        "optimizer": "adma", "activation": "relo", "schedule": "cosin", "class_weight": "balancd",
    }  # fmt: skip
    for setting, value in wrong.items():
        answer = http.post("/v1/jobs", json={"dataset_id": ULID, "model": {setting: value}}).json()
        assert list(answer["fields"]) == [f"model.{setting}"]
        assert "did you mean" in answer["fields"][f"model.{setting}"]
    body["model"] = {"class_weight": {"a b": -1}}
    assert "model.class_weight" in http.post("/v1/jobs", json=body).json()["fields"]
    assert set(http.get("/v1/jobs?limit=0").json()) == {"error"}
    assert set(http.post("/v1/jobs", content=b"{").json()) == {"error"}


def test_actions_on_jobs_that_have_ended(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    assert http.post(f"/v1/jobs/{job}/pause").json()["state"] == "paused"
    assert http.post(f"/v1/jobs/{job}/resume").json()["state"] == "queued"
    assert http.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    for action in ("cancel", "pause", "resume", "stop"):
        answer = http.post(f"/v1/jobs/{job}/{action}")
        assert answer.status_code == 409
        assert "cancelled" in answer.json()["error"]


def test_numbers_that_json_has_not(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    server.service.epochs(job, [{"epoch": 1, "train_loss": float("nan")}])
    told = http.get(f"/v1/jobs/{job}/metrics").json()
    assert told["data"] == [{"epoch": 1, "train_loss": None}]


def frames(text: str) -> list[tuple[str, str | None]]:
    """Kinds and ids."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields.get("event", ""), fields.get("id")))
    return found


def test_events_of_a_job_that_has_ended(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    server.service.tell(job, EventKind.EPOCHS, {"rows": [{"epoch": 1}]})
    server.service.enter(job, JobState.SUCCEEDED)
    path = f"/v1/jobs/{job}/events"
    answer = http.get(path)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    kinds = [("state", "1"), ("epochs", "2"), ("state", "3"), ("job", None)]
    assert frames(answer.text) == kinds
    assert frames(http.get(path, headers={"Last-Event-ID": "2"}).text) == kinds[2:]
    assert http.get(path, headers={"Last-Event-ID": "3"}).status_code == 204
    for wrong in ("x", "+0.0", "1_0"):
        assert http.get(path, headers={"Last-Event-ID": wrong}).status_code == 422
    assert http.get(f"/v1/jobs/{ULID}/events").status_code == 404


def test_events_as_they_happen_to_many_readers(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    found: list[list[int]] = [[], [], []]

    def read(seen: list[int]) -> None:
        with Client(server.url, server.secret) as client:
            seen += [event["seq"] for event in client.stream(job)]

    threads = [threading.Thread(target=read, args=(seen,)) for seen in found]
    for thread in threads:
        thread.start()
    for epoch in range(300):
        server.service.tell(job, EventKind.EPOCHS, {"rows": [{"epoch": epoch}]})
        if epoch % 50 == 0:
            time.sleep(0.05)
    server.service.enter(job, JobState.SUCCEEDED)
    for thread in threads:
        thread.join(30)
    assert found == [list(range(1, 303))] * 3


def test_a_stream_from_long_ago(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    for epoch in range(2000):
        server.service.log[job].append(
            type(server.service.log[job][0])(epoch + 2, job, 0.0, EventKind.MESSAGE, {"text": "x"})
        )
    server.service.enter(job, JobState.SUCCEEDED)
    ids = [int(i) for _, i in frames(http.get(f"/v1/jobs/{job}/events").text) if i]
    assert ids == list(range(1, 2003))


def test_streams_of_one_user_are_counted(server: Live, http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=spec(http)).json()["id"]
    path = f"/v1/jobs/{job}/events"
    streams = [http.stream("GET", path) for _ in range(3)]
    answers = [stream.__enter__() for stream in streams]
    assert [answer.status_code for answer in answers] == [200] * 3
    refused = http.get(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    for stream in streams:
        stream.__exit__(None, None, None)
    server.service.enter(job, JobState.SUCCEEDED)
    for _ in range(100):
        if http.get(path).status_code == 200:
            break
        time.sleep(0.05)
    assert http.get(path).status_code == 200


# -- everything together


def test_from_a_file_to_predictions(real: Live, tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_bytes(CSV)
    model = {"hidden": [8], "epochs": 3, "task": "regression"}
    with Client(real.url, real.secret) as client:
        data = client.upload(tmp_path / "houses.csv", "häuser & co.csv")
        assert data["name"] == "häuser & co.csv"
        job = client.submit(data, key="once", target="price", model=model)
        assert client.submit(data, key="once", target="price", model=model)["id"] == job["id"]
        with pytest.raises(ServerError) as caught:
            client.submit(data, key="once", target="age", model=model)
        assert caught.value.status == 422
        kinds = [event["kind"] for event in client.stream(job)]
        assert kinds[0] == "state"
        assert "epochs" in kinds
        done = client.wait(job)
        assert (done["state"], done["epoch"]) == ("succeeded", 3)
        assert [row["epoch"] for row in client.metrics(job)] == [1, 2, 3]
        client.download(done["model_id"], tmp_path / "model.safetensors")
        (short,) = [m for m in client.models() if m["id"] == done["model_id"]]
        whole = client.model(short)
        assert {name for name in whole if name not in short} == {
            "inputs", "targets", "classes", "sha256", "categories",
        }  # fmt: skip
        assert whole["categories"] == {"city": ["Bonn", "Rome"]}
        long = ("residuals", "importance")  # not in lists
        measures = {k: v for k, v in whole["evaluation"].items() if k not in long}
        assert short["evaluation"] == measures
        assert [made["owner"] for made in (data, done, short, whole)] == ["test"] * 4
        assert len(whole["evaluation"]["residuals"]) == measures["count"]
        rows = [{"age": 30, "city": "Rome"}, {"age": None, "city": "Bonn"}]
        columns = {"age": [30, np.nan], "city": np.array(["Rome", "Bonn"], object)}
        expected = MLP.load(tmp_path / "model.safetensors").predict(columns)
        assert client.predict(done["model_id"], rows) == expected.tolist()
        with pytest.raises(ServerError) as caught:
            client.act(job, "cancel")
        assert caught.value.status == 409
    with real.client() as http:
        assert http.delete(f"/v1/models/{done['model_id']}").status_code == 204
        assert http.get(f"/v2/models/{done['model_id']}").status_code == 404
        assert http.get(f"/v1/models/{done['model_id']}/file").status_code == 404


def test_a_model_says_what_it_takes_though_no_training_row_had_the_text(real: Live) -> None:
    lines = [f"{20 + i},{'Bonn' if i == 7 else ''},{i % 7}.5" for i in range(40)]
    with real.client() as http, Client(real.url, real.secret) as client:
        content = "age,city,price\n" + "\n".join(lines)
        data = http.put("/v1/datasets/gaps.csv", content=content.encode()).json()
        assert [column["kind"] for column in data["columns"]] == ["integer", "text", "number"]
        small = {"hidden": [2], "epochs": 1, "task": "regression"}
        job = client.wait(client.submit(data, target="price", test=0.9, model=small))
        path = f"/v2/models/{job['model_id']}"
        wanted = http.get(path).json()["inputs"]
        assert client.model(job["model_id"])["inputs"] == [["age", "number"], ["city", "number"]]
        given = [{**tensor, "shape": [1], "data": [30]} for tensor in wanted]
        answer = http.post(f"{path}/infer", json={"inputs": given})
    assert answer.status_code == 200, answer.text


def post_at_once(real: Live, body: dict, keys: list[str]) -> list[httpx.Response]:
    """The same job, from as many clients as there are keys, all at the same moment."""
    together = threading.Barrier(len(keys))

    def post(key: str) -> httpx.Response:
        with real.client() as client:
            client.get("/v2")  # the connection is there before the race begins
            together.wait(20)
            return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(len(keys)) as pool:
        return list(pool.map(post, keys))


def test_a_key_is_good_for_one_job_however_many_ask_at_once(
    monkeypatch: pytest.MonkeyPatch, real: Live
) -> None:
    """None of them begins, until all have been cancelled."""
    monkeypatch.setattr(real.service._executor, "_start_waiting", lambda: None)
    with real.client() as client:
        body = spec(client, model={"hidden": [2], "epochs": 1, "task": "regression"})
    for attempt in range(5):
        answers = post_at_once(real, body, [f"race-{attempt}"] * 8)
        made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        assert len(made) == 1
        assert {answer.status_code for answer in answers} <= {201, 409}
    others = post_at_once(real, body, [f"other-{i}" for i in range(8)])
    assert len({answer.json()["id"] for answer in others}) == 8


def test_a_key_whose_request_is_being_worked_on(
    real: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on, add = threading.Event(), threading.Event(), JobStore.add

    def slow(*given: Any) -> str:
        inside.set()
        assert go_on.wait(20)
        return add(*given)

    with real.client() as client, ThreadPoolExecutor(1) as pool:
        body = spec(client, model={"hidden": [2], "epochs": 1, "task": "regression"})
        monkeypatch.setattr(JobStore, "add", slow)

        def post() -> httpx.Response:
            return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "slow"})

        first = pool.submit(post)
        assert inside.wait(20)
        second = post()
        go_on.set()
        assert second.status_code == 409
        assert "being worked on" in second.json()["error"]
        assert first.result().status_code == 201
        assert post().json()["id"] == first.result().json()["id"]


def test_a_job_that_fails_says_why(real: Live, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"a,b\n" + b"1,inf\n2,3\n" * 20)
    with Client(real.url, real.secret) as client:
        job = client.submit(
            client.upload(tmp_path / "bad.csv"), target="a", diagnose=False,
            model={"epochs": 2, "task": "regression"},
        )  # fmt: skip
        with pytest.raises(ServerError, match="failed: "):
            client.wait(job)


def test_metrics_for_prometheus(real: Live) -> None:
    with real.client() as http:
        http.get("/v1/jobs")
        answer = http.get("/metrics")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    states = {sample.labels["state"] for sample in found["nbmlp_jobs"].samples}
    assert states == {state.value for state in JobState}
    requests = found["nbmlp_http_requests"].samples
    listed = [s for s in requests if s.labels.get("route") == "/v1/jobs" and s.value >= 1]
    assert listed
    assert found["nbmlp_http_seconds"].type == "histogram"
    assert found["nbmlp_disk_free_bytes"].samples[0].value > 0


def test_the_document_describes_everything(server: Live, http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert {"upload_dataset", "submit_job", "stream_job_events", "model_infer"} <= set(ids)
    assert all(operation.get("description") or operation["summary"] for operation in operations)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["security"] == [{"token": []}]
    for path, methods in document["paths"].items():
        wanted = {o.get("security", "a token") == "a token" for o in methods.values()}
        assert wanted == {not path.startswith("/v2/health/")}
    page = http.get("/docs")
    assert all(operation_id in page.text for operation_id in ids)
    assert re.findall("<script[^>]*>.*", page.text) == ['<script src="/static/theme.js"></script>']


def test_streams_end_when_the_server_does(tmp_path: Path) -> None:
    fake = FakeService(tmp_path)
    ended = []
    with live(fake, settings(tmp_path)) as server:
        with server.client() as client:
            job = client.post("/v1/jobs", json=spec(client)).json()["id"]

        def read() -> None:
            with server.client() as client, client.stream("GET", f"/v1/jobs/{job}/events") as s:
                begun.set()
                s.read()
                ended.append(True)

        begun = threading.Event()
        thread = threading.Thread(target=read)
        thread.start()
        begun.wait(20)
    thread.join(20)
    assert ended == [True]


def test_versions(http: httpx.Client) -> None:
    assert http.get("/v2").json()["version"] == nbmlp.__version__

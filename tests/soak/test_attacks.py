"""All attacks on one server, one after another: it answers, and its memory comes back.

Two users: one attacks, the other works as ever. A third process asks for the server's health.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from server_jobs import make_settings, until

from nbmlp import MLP, Client
from nbmlp.data import Dataset, Table
from nbmlp.server.files import new_id
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import ColumnInfo, JobState, ParsedDataset
from nbmlp.server.rows import content_hash, save_rows
from nbmlp.server.service import LocalService
from tests.soak.attacks_connections import ATTACKS as CONNECTIONS
from tests.soak.attacks_content import ATTACKS as CONTENT
from tests.soak.test_server_load import Server, running

pytestmark = pytest.mark.soak

#: What the issue of an attack may be.
MOST_MS, MOST_MB = 100.0, 50.0
Attack = Callable[[tuple[str, int], str], Any]
WIDE, TABLES, EPOCHS = 5000, 60, 100_000
CSV = b"age,city,price\n" + b"31,Bonn,290\n54,Ulm,410\n" * 30


@dataclass
class Stage:
    """A server with something on it, and its users."""

    server: Server
    tokens: dict[str, str]
    model: str
    dataset: str
    probed: list[tuple[float, float]] = field(default_factory=list)

    def client(self, who: str) -> Client:
        return Client(self.server.url, self.tokens[who], timeout=60)

    def memory(self) -> float:
        """MB of the server's own process."""
        return psutil.Process(self.server.process.pid).memory_info().rss / 1e6


# -- what is on it


def furnish(folder: Path) -> tuple[dict[str, str], str, str]:
    """Wide tables, a long job, a model and two users: their secrets, the model, a data set."""
    service = LocalService(make_settings(folder))
    try:
        wide = {f"a column of some name, number {j}": np.zeros(2) for j in range(WIDE)}
        dataset = [add(service, wide, f"wide {i}") for i in range(TABLES)][-1]
        table = {
            "age": np.arange(60.0),
            "city": np.array(["Bonn", "Ulm", "Rome"] * 20, object),
        }
        model = MLP(8, epochs=2, threads=1).fit(Table(table), table["city"])
        data = add(service, table, "towns")
        job = long_job(service, data)
        model_id = add_model(service, model, data, job)
        tokens = {who: service.create_token(who)[1] for who in ("attacker", "worker")}
    finally:
        service.close()
    return tokens, model_id, dataset


def add(service: LocalService, table: dict[str, Any], name: str) -> str:
    path = service.upload_path()
    save_rows(path, Dataset(Table(table)))
    columns = tuple(
        ColumnInfo(n, "number", 0, 2, 0.0, 1.0, 0.123456789, ("an example", "another"))
        for n in table
    )
    rows = len(next(iter(table.values())))
    preview = ((0.123456789,) * len(table),) * 5
    made = ParsedDataset(path, content_hash(path), name, "csv", rows, columns, None, preview)
    return service.add_dataset(made).id


def long_job(service: LocalService, data: str) -> str:
    """Ended after a hundred thousand epochs, of which every second report told one."""
    spec = JobSpec.model_validate(
        {"dataset_id": data, "target": "city", "model": {"epochs": EPOCHS}}
    )
    job = service.submit(spec).id
    fence = service._reports.begin(job)
    values = {"data_loss": 0.123456789, "penalty": 0.0, "val_loss": 0.23456789, "val_score": 0.9,
              "learning_rate": 1e-3, "samples_per_second": 412_345.6, "seconds": 0.5,
              "threads": 2}  # fmt: skip
    rows = [{"epoch": n, "train_loss": 1 / n, **values} for n in range(1, EPOCHS + 1)]
    with service._database.write():
        start = 0
        while start < EPOCHS:
            count = 1 if start % 100 else 99
            service._reports.epochs(job, fence, rows[start : start + count])
            start += count
    return job


def add_model(service: LocalService, mlp: MLP, data: str, job: str) -> str:
    model_id, fence = new_id(), service._jobs.row(job)["fence"]
    mlp.save(service._files.model(model_id))
    service._reports.succeed(job, fence, "the end", {
        "id": model_id, "job_id": job, "dataset_id": data, "created": time.time(), "bytes": 1,
        "sha256": "0" * 64, "task": "classes", "inputs": [("age", "number"), ("city", "text")],
        "targets": ["city"], "classes": list(map(str, mlp.classes)), "summary": "",
        "evaluation": {},
    })  # fmt: skip
    assert service.get_job(job).state is JobState.SUCCEEDED
    return model_id


@contextmanager
def probing(stage: Stage) -> Iterator[None]:
    """Ask for the server's health from a process of its own."""
    command = [sys.executable, "-m", "tests.soak.probe", "127.0.0.1", str(stage.server.port)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )

    def read() -> None:
        for line in process.stdout:
            start, took = map(float, line.split())
            stage.probed.append((start, took))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        until(lambda: stage.probed)
        yield
    finally:
        process.stdin.close()
        process.wait()
        reader.join()
        process.stdout.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("attacks")
    tokens, model, dataset = furnish(folder / "data")
    with running(folder, "--cores", "1", token=tokens["worker"]) as server:
        found = Stage(server, tokens, model, dataset)
        use_everything(found)
        with probing(found):
            yield found


def use_everything(stage: Stage) -> None:
    """Each route once: what is loaded with it belongs to the server from then on."""
    for who in stage.tokens:
        work(stage, who)
    with stage.client("worker") as client:
        rows = 20_000  # long enough for a process of its own
        client.predict(stage.model, {"age": [1.5] * rows, "city": ["Bonn"] * rows})
    headers = {"Authorization": f"Bearer {stage.tokens['worker']}"}
    with httpx.Client(base_url=stage.server.url, headers=headers, timeout=60) as http:
        jobs = http.get("/v1/jobs?limit=200").json()["data"]
        job = next(job["id"] for job in jobs if job["epoch"] == EPOCHS)
        for path in (
            "/", "/jobs", "/models", "/docs", "/openapi.json", "/metrics", f"/jobs/{job}",
            f"/jobs/{job}/curve.csv", f"/v1/jobs/{job}/metrics", f"/v1/jobs/{job}/events",
            f"/v1/jobs/{job}/checkpoints", f"/models/{stage.model}", "/v1/datasets?limit=200",
            f"/v1/models/{stage.model}", f"/v1/models/{stage.model}/file", f"/compare?job={job}",
            f"/v1/datasets/{stage.dataset}", f"/datasets/{stage.dataset}", "/v2", "/login",
            f"/v2/models/{stage.model}", "/static/htmx.min.js",
        ):  # fmt: skip
            assert http.get(path).status_code == 200, path


# -- who works meanwhile


def work(stage: Stage, who: str = "worker") -> None:
    """What people do all day: raises ServerError when any of it is refused."""
    with stage.client(who) as client:
        found = client.predict(stage.model, [{"age": 40, "city": "Bonn"}])
        assert found[0] in ("Bonn", "Ulm", "Rome")
        assert next(client.models())["id"] == stage.model
        assert next(client.jobs())["id"]
        client._connection.send("PUT", "/v1/datasets/houses.csv", content=CSV)
        dataset = next(client.datasets())["id"]
        job = client.submit(dataset, target="price", model={"epochs": 1})
        client.act(job, "cancel")
        client.delete_dataset(dataset)


class Worker:
    """Works as long as an attack lasts."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._over = stage, threading.Event()
        self.rounds, self.errors = 0, list[str]()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.3):
            try:
                work(self._stage)
                self.rounds += 1
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


# -- the attacks


@dataclass
class Report:
    """How an attack went."""

    name: str
    times: list[float]
    seconds: float
    peak: float
    after: float
    rounds: int

    def __str__(self) -> str:
        p50, p99 = np.percentile(self.times, [50, 99])
        return (
            f"{self.name:32} {self.seconds:5.1f} s  {len(self.times):5} probes  p50 {p50:6.1f}  p99"
            f" {p99:6.1f}  most {max(self.times):6.0f} ms  peak {self.peak:5.0f}  after"
            f" {self.after:5.0f} MB  {self.rounds} rounds of work"
        )


def suffer(
    stage: Stage, name: str, attack: Callable[[tuple[str, int], str], Any], before: float
) -> Report:
    """One attack; memory is given some seconds to come back."""
    peak, over = [stage.memory()], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            peak.append(stage.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        with Worker(stage) as worker:
            attack(("127.0.0.1", stage.server.port), stage.tokens["attacker"])
            end = time.monotonic()
    finally:
        over.set()
        watcher.join()
    assert worker.errors == [], name
    patience = time.monotonic() + 15
    while stage.memory() > before + MOST_MB and time.monotonic() < patience:
        time.sleep(0.5)
    times = [took for at, took in list(stage.probed) if start <= at <= end]
    return Report(name, times, end - start, max(peak), stage.memory(), worker.rounds)


def test_one_after_another(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    time.sleep(2)
    before, reports = stage.memory(), []
    with capsys.disabled():
        print(f"\nMemory when each route had been used: {before:.0f} MB")
        for name, attack in CONTENT + CONNECTIONS:
            reports.append(suffer(stage, name, attack, before))
            print(reports[-1])
    for report in reports:
        assert report.times, report
        assert np.percentile(report.times, 99) <= MOST_MS, str(report)
        assert report.after <= before + MOST_MB, str(report)
        assert report.rounds, str(report)

"""Lists and curves are short, however wide the tables and long the trainings are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from server_jobs import add, add_table, make_settings, spec_for
from server_live import Live, live
from sqlalchemy import create_engine

from nbmlp import Client
from nbmlp.data import Dataset, Table
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.page.exports import curve, curve_csv
from nbmlp.server.ports import EventKind, Job, JobSummary
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings
from nbmlp.server.store.database import Database

WIDE = 3000
#: Of what a list tells of one table or job: far more than it should be.
BYTES = 2000


def row(epoch: int, score: float | None = None) -> dict[str, Any]:
    loss = 1.0 / epoch
    return {"epoch": epoch, "train_loss": loss, "val_loss": None, "val_score": score}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> LocalService:
    """Its jobs wait: nothing is trained here."""
    return LocalService(make_settings(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def server(service: LocalService) -> Iterator[Live]:
    settings = ServerSettings(data_dir=service._files.root, port=0, rate=1e6, burst=10**6)
    service.start = lambda: None
    with live(service, settings) as running:
        yield running


@pytest.fixture(scope="module")
def long_job(service: LocalService) -> str:
    """4501 epochs, told in reports of 100; the best one is 1234."""
    job = service.submit(spec_for(add_table(service), model={"epochs": 5000})).id
    fence = service._reports.begin(job)
    rows = [row(n, 0.9 if n == 1234 else 0.1) for n in range(1, 4502)]
    for start in range(0, len(rows), 100):
        service._reports.epochs(job, fence, rows[start : start + 100])
    return job


def numbers(rows: Any) -> list[int]:
    return [row["epoch"] for row in rows]


def test_a_long_curve_comes_in_pages(service: LocalService, long_job: str) -> None:
    first = service.metrics(long_job)
    assert (numbers(first.rows), first.has_more) == (list(range(1, 2001)), True)
    assert first.rows[0] == row(1, 0.1)
    last = service.metrics(long_job, after=4000)
    assert (numbers(last.rows), last.has_more) == (list(range(4001, 4502)), False)
    assert last.last_event == service.events(long_job, limit=10_000)[-1].seq


@pytest.mark.parametrize("points", [10, 100, 1999])
def test_a_thinned_curve_has_its_ends_and_the_best(
    service: LocalService, long_job: str, points: int
) -> None:
    curve = service.metrics(long_job, points=points)
    found = numbers(curve.rows)
    assert {1, 1234, 4501} <= set(found)
    assert points // 3 < len(found) <= points
    assert not curve.has_more
    assert max(np.diff(found)) <= 4501 // (points - 3) + 1


@pytest.mark.parametrize("points", [10, 40])
def test_a_thinned_curve_of_many_has_the_same_epochs_of_each_net(
    service: LocalService, points: int
) -> None:
    """Eight nets are trained at once: every eighth epoch is one of the same net."""
    spec = {"dataset_id": add_table(service), "target": "price", "preset": "default"}
    job = service.submit(JobSpec.model_validate(spec)).id
    fence = service._reports.begin(job)
    told = [
        {**row(8 * epoch + net + 1, 0.1), "net": net, "net_epoch": epoch + 1}
        for epoch in range(20)
        for net in range(8)
    ]
    service._reports.epochs(job, fence, told, epochs=320, lagged=[1, 6])
    found = service.metrics(job, points=points).rows
    assert len(found) <= points
    assert {1, 160} <= {one["epoch"] for one in found}
    inner = [one for one in found if 1 < one["epoch"] < 160]
    epochs = {net: [r["net_epoch"] for r in inner if r["net"] == net] for net in range(8)}
    step = -(-160 // (points - 3))
    assert epochs == {net: [*range(step, 20 if net == 7 else 21, step)] for net in range(8)}
    assert service.get_job(job).lagged == (1, 6)
    lines = "".join(curve_csv(curve(service, job))).splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,val_score,net,net_epoch"
    assert lines[12].startswith("12,")
    assert lines[12].endswith(",3,2")


def test_the_best_epoch_has_a_new_number_when_all_have(service: LocalService) -> None:
    job = service.submit(spec_for(add_table(service))).id
    fence = service._reports.begin(job)
    service._reports.epochs(job, fence, [row(1, 0.1), row(2, 0.2), row(3, 0.9)])
    service._reports.epochs(job, fence, [row(1, 0.1), row(2, 0.9)])
    assert service.get_job(job).best_epoch == 2
    service._reports.epochs(job, fence, [row(2, 0.3)])  # one net: the same will come again
    assert service.get_job(job).best_epoch == 2


def test_over_http(server: Live, long_job: str) -> None:
    with server.client() as http:
        path = f"/v1/jobs/{long_job}/metrics"
        answer = http.get(path).json()
        assert (len(answer["data"]), answer["has_more"]) == (2000, True)
        assert len(http.get(f"{path}?points=50").json()["data"]) <= 50
        for wrong in ("limit=2001", "points=9", "points=1_00", "points=%2B50", "after=-1"):
            assert http.get(f"{path}?{wrong}").status_code == 422
        # A stream begins where the curve ends.
        service = server.service
        service._reports.report(
            long_job, service._jobs.row(long_job)["fence"], [(EventKind.MESSAGE, {"text": "new"})]
        )
        events = f"/v1/jobs/{long_job}/events?after={answer['last_event']}"
        with http.stream("GET", events) as stream:
            assert "new" in next(line for line in stream.iter_lines() if line.startswith("data"))
    with Client(server.url, server.secret) as client:
        assert numbers(client.metrics(long_job)) == list(range(1, 4502))


def test_a_long_curve_as_csv(service: LocalService, long_job: str) -> None:
    pieces = list(curve_csv(curve(service, long_job)))
    lines = "".join(pieces).splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,val_score"
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, 4502))
    assert len(pieces) == 4


def test_epochs_that_are_trained_again_replace_the_former(service: LocalService) -> None:
    job = service.submit(spec_for(add_table(service))).id
    fence = service._reports.begin(job)
    service._reports.epochs(job, fence, [row(n) for n in range(1, 6)])
    service._reports.epochs(job, fence, [{**row(4), "train_loss": 7.0}])
    assert numbers(service.metrics(job).rows) == [1, 2, 3, 4]
    assert service.metrics(job, after=3).rows[0]["train_loss"] == 7.0
    told = [e.data["rows"] for e in service.events(job) if e.kind is EventKind.EPOCHS]
    assert [numbers(rows) for rows in told] == [[1, 2, 3, 4], [4]]


def test_a_job_without_epochs_has_an_empty_curve(service: LocalService) -> None:
    job = service.submit(spec_for(add_table(service))).id
    for points in (None, 10):
        found = service.metrics(job, points=points)
        assert (found.rows, found.has_more) == ((), False)
    assert list(curve_csv(curve(service, job))) == ["epoch\r\n", ""]


def test_lists_do_not_tell_columns(server: Live) -> None:
    names = [f"column {j}" for j in range(WIDE)]
    data = Dataset(Table({name: np.zeros(3) for name in names}))
    wide = add(server.service, data, "wide")
    server.service.submit(spec_for(wide, target=names[0], columns=names[1:]))
    with server.client() as http:
        listed = http.get("/v1/datasets?limit=1")
        assert listed.json()["data"][0]["n_columns"] == WIDE
        assert len(listed.content) < BYTES
        assert len(http.get(f"/v1/datasets/{wide}").json()["columns"]) == WIDE
        jobs = http.get("/v1/jobs?limit=1")
        assert jobs.json()["data"][0]["dataset_id"] == wide
        assert len(jobs.content) < BYTES


def test_a_job_in_a_list_lacks_its_settings_only() -> None:
    assert {f.name for f in fields(Job)} - {f.name for f in fields(JobSummary)} == {"spec"}


# -- a database of version 0.1

OLD = {
    "datasets": {
        "id": "0" * 26, "name": "d", "sha256": "0" * 64, "format": "csv", "bytes": 1, "rows": 1,
        "columns": '[{"name": "a"}, {"name": "b"}]', "preview": "[]", "created": 1.0,
    },
    "jobs": {
        "id": "1" * 26, "name": "j", "dataset_id": "0" * 26, "data_sha256": "0" * 64, "spec": "{}",
        "priority": 0, "threads": 1, "state": "succeeded", "wish": "", "message": "", "error": "",
        "error_kind": "", "created": 1.0, "used_seconds": 1.0, "epoch": 3, "epochs": 3,
        "attempt": 1, "setbacks": 0, "fence": 1, "last_seq": 3, "score_name": "",
        "stop_reason": "",
    },
    "models": {
        "id": "2" * 26, "name": "m", "job_id": "1" * 26, "dataset_id": "0" * 26, "created": 1.0,
        "bytes": 1, "sha256": "0" * 64, "task": "classes", "inputs": "[]",
        "targets": '["y", "z"]', "classes": "[]", "summary": "",
        "evaluation": '{"rows": "test", "loss": NaN, "confusion": [[1]]}',
    },
}  # fmt: skip


def upgrade(path: Path, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", "nbmlp.server.store:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()


def old_database(path: Path) -> None:
    upgrade(path, "0001")
    with sqlite3.connect(path) as connection:
        for table, values in OLD.items():
            names, places = ", ".join(values), ", ".join("?" * len(values))
            connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values())
            )
        for seq, epochs in enumerate(([1, 2], [2, 3]), start=1):
            data = json.dumps({"rows": [{**row(n), "train_loss": seq} for n in epochs]})
            values = ("1" * 26, seq, 1.0, "epochs", data)
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values)
    connection.close()


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_a_database_of_an_older_version_keeps_all_it_knows(tmp_path: Path, version: str) -> None:
    from nbmlp.server.store.catalog import Catalog
    from nbmlp.server.store.jobs import JobStore

    old_database(tmp_path / "db")
    upgrade(tmp_path / "db", version)
    database = Database(tmp_path / "db", 1.0)
    jobs, catalog = JobStore(database), Catalog(database)
    (dataset,), (model,) = catalog.datasets(None, 5).items, catalog.models(None, 5).items
    assert dataset.n_columns == 2
    assert (model.target, model.evaluation["rows"]) == ("y and 1 more", "test")
    assert "confusion" not in model.evaluation
    rows = jobs.metrics("1" * 26, 0, 10, None).rows
    # Of an epoch that was trained again, the last row counts.
    assert [(r["epoch"], r["train_loss"]) for r in rows] == [(1, 1), (2, 2), (3, 2)]
    assert jobs.get("1" * 26).lagged == ()
    told = [event.data["rows"] for event in jobs.events("1" * 26, 0, 10)]
    assert [numbers(rows) for rows in told] == [[1, 2], [2, 3]]
    database.close()

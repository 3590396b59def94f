"""What the tests of jobs share: a service in a temporary folder, data sets, waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp.data import Dataset, Table
from nbmlp.mlp import MLP
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import TERMINAL, ColumnInfo, ConflictError, Job, ParsedDataset, Service
from nbmlp.server.rows import content_hash, save_rows
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings
from tests.waiting import PATIENCE, until


def make_settings(folder: Path, **changes: Any) -> ServerSettings:
    values = {
        "data_dir": folder, "checkpoint_seconds": 0.0, "cores": 2, "threads_per_job": 1,
        "diagnosis_seconds": 2.0, "reserve_mb": 0,
    }  # fmt: skip
    return ServerSettings(**{**values, **changes})


@contextmanager
def running(folder: Path, **changes: Any) -> Iterator[LocalService]:
    """A service that runs, over a folder of its own."""
    service = LocalService(make_settings(folder, **changes))
    service.start()
    try:
        yield service
    finally:
        service.close()


def make_table(rows: int = 300, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    size = rng.uniform(20, 200, rows)
    town = rng.choice(["Bonn", "Köln", "Ulm"], rows).astype(object)
    price = 3.0 * size + 50.0 * (town == "Köln") + rng.normal(0, 5, rows)
    size[::17] = np.nan
    return Table({"size": size, "town": town, "price": price})


def add(service: Service, data: Dataset, name: str = "houses") -> str:
    path = service.upload_path()
    save_rows(path, data)
    names = data.X.names if isinstance(data.X, Table) else [f"x{j}" for j in range(data.X.shape[1])]
    extra = [] if data.y is None else ["y"]
    columns = tuple(ColumnInfo(n, "number") for n in (*names, *extra))
    parsed = ParsedDataset(path, content_hash(path), name, "csv", len(data), columns)
    return service.add_dataset(parsed).id


def add_table(service: Service, rows: int = 300) -> str:
    return add(service, Dataset(make_table(rows)))


def spec_for(dataset_id: str, **changes: Any) -> JobSpec:
    model = {"hidden": [8], "epochs": 12, "dropout": 0.2, "seed": 3} | changes.pop("model", {})
    values = {"dataset_id": dataset_id, "target": "price", "model": model, "diagnose": False}
    return JobSpec.model_validate(values | changes)


def write_by_the_clock(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs that are started now write checkpoints for 2 % of their time, within epochs too.

    With one after each short epoch, a job has sent hundreds before the first has been taken.
    """
    timely = service._settings.model_copy(update={"checkpoint_seconds": 1e-3})
    monkeypatch.setattr(service._executor, "_settings", timely)


def finished(service: LocalService, job_id: str, seconds: float = PATIENCE) -> Job:
    def ended() -> Job | None:
        job = service.get_job(job_id)
        return job if job.state in TERMINAL else None

    return until(ended, seconds)


def end_all(service: LocalService) -> None:
    """Cancel what is at work, and wait until it has gone."""
    for job in service.list_jobs().items:
        if job.finished is None:
            with suppress(ConflictError):  # it has come to its end just now
                service.cancel(job.id)
    until(lambda: service.health().cores_used == 0)


def weights(service: LocalService, job: Job) -> np.ndarray:
    assert job.model_id is not None
    return MLP.load(service.model_path(job.model_id)).get_flat()

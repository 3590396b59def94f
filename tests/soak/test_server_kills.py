"""Workers and servers killed at random moments and at every named point; faults of the disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from nbmlp.server.faults import POINTS
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import TERMINAL, Job, JobState, NoSpaceError
from nbmlp.server.service import LocalService
from tests.server_jobs import (
    add_table,
    finished,
    make_settings,
    spec_for,
    until,
    weights,
)

pytestmark = pytest.mark.soak

PATIENCE = 120.0
ROWS = 2000


def the_spec(dataset_id: str, epochs: int = 25) -> JobSpec:
    """About a second of training: early stopping, dropout, momentum, a schedule with a memory."""
    return spec_for(
        dataset_id, test=0.1, early_stopping={"patience": 15},
        model={"epochs": epochs, "batch_size": 2, "schedule": "on_plateau", "hidden": [16, 8]},
    )  # fmt: skip


class Checked:
    """A folder with one undisturbed job, and what every other one must be like."""

    def __init__(self, folder: Path, epochs: int = 25) -> None:
        self.folder = folder
        service = LocalService(make_settings(folder))
        service.start()
        self.spec = the_spec(add_table(service, ROWS), epochs)
        job = finished(service, service.submit(self.spec).id)
        assert job.state is JobState.SUCCEEDED, job.error
        self.weights, self.epoch = weights(service, job), job.epoch
        service.close()

    def check(self, service: LocalService, job: Job) -> None:
        """It ended, once, with the same bits, and every epoch is told of."""
        assert job.state is JobState.SUCCEEDED, job.error
        assert np.array_equal(weights(service, job), self.weights)
        assert job.epoch == self.epoch
        assert [r["epoch"] for r in service.metrics(job.id).rows] == list(range(1, self.epoch + 1))
        told = [e.data["state"] for e in service.events(job.id, limit=10_000)
                if e.kind == "state"]  # fmt: skip
        assert sum(state in TERMINAL for state in told) == 1
        assert told[-1] == "succeeded"
        assert sum(m.job_id == job.id for m in service.list_models(limit=1000).items) == 1


def workers(folder: Path) -> list[psutil.Process]:
    """Processes of jobs that work below a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if "nbmlp.server.jobs.worker" in command and str(folder) in (process.info["cwd"] or ""):
            found.append(process)
    return found


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the processes to come for one fault; returns the file that tells of it."""

    def ask(fault: str) -> Path:
        mark = tmp_path / f"mark-{fault}"
        mark.unlink(missing_ok=True)
        monkeypatch.setenv("NBMLP_FAULT", fault)
        monkeypatch.setenv("NBMLP_FAULT_MARK", str(mark))
        return mark

    return ask


@pytest.mark.parametrize("turn", range(4))
def test_workers_killed_at_random_moments(turn: int, tmp_path: Path) -> None:
    """25 kills each, of jobs that run two at a time."""
    draw, kills = random.Random(turn), 0
    checked = Checked(tmp_path / "data")
    service = LocalService(make_settings(checked.folder, max_attempts=1000))
    service.start()
    jobs = []
    while kills < 25:
        jobs += [service.submit(checked.spec).id for _ in range(2)]
        while kills < 25 and any(service.get_job(j).state not in TERMINAL for j in jobs):
            time.sleep(draw.uniform(0.0, 1.6))
            if victims := workers(checked.folder):
                assert len(victims) <= 2
                draw.choice(victims).send_signal(signal.SIGKILL)
                kills += 1
    for job_id in jobs:
        checked.check(service, finished(service, job_id, PATIENCE))
    until(lambda: not workers(checked.folder))
    service.close()
    print(f"{kills} kills of workers, {len(jobs)} jobs")


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.soak.server_process", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def ready(self) -> bool:
        """Whether it has come so far."""
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def states(folder: Path) -> list[str]:
    """Of all jobs, from outside."""
    with sqlite3.connect(folder / "nbmlp.sqlite", timeout=10) as connection:
        found = [state for (state,) in connection.execute("SELECT state FROM jobs")]
    connection.close()
    return found


def nothing_left(folder: Path) -> bool:
    """Whether all jobs have ended and what they left behind is removed."""
    return set(states(folder)) <= set(TERMINAL) and not list((folder / "jobs").iterdir())


def queue(checked: Checked, count: int) -> list[str]:
    service = LocalService(make_settings(checked.folder))
    jobs = [service.submit(checked.spec).id for _ in range(count)]
    service.close()
    return jobs


def check_all(checked: Checked, jobs: list[str]) -> None:
    until(lambda: not workers(checked.folder), 20.0)
    service = LocalService(make_settings(checked.folder))
    for job_id in jobs:
        checked.check(service, service.get_job(job_id))
    service.close()


@pytest.mark.parametrize("turn", range(2))
def test_servers_killed_at_random_moments(turn: int, tmp_path: Path) -> None:
    """25 kills each."""
    draw, kills, jobs = random.Random(turn), 0, list[str]()
    checked = Checked(tmp_path / "data")
    while kills < 25:
        jobs += queue(checked, 3)
        while kills < 25 and set(states(checked.folder)) != {"succeeded"}:
            server = Server(checked.folder)
            time.sleep(draw.uniform(0.3, 3.0))
            server.kill()
            kills += 1
    finish(checked.folder)
    check_all(checked, jobs)
    print(f"{kills} kills of servers, {len(jobs)} jobs")


def finish(folder: Path) -> None:
    """Let a server work until nothing is left to do."""
    server = Server(folder)
    try:
        assert server.ready()
        until(lambda: set(states(folder)) <= set(TERMINAL), PATIENCE)
    finally:
        server.kill()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("point", POINTS["worker"])
def test_workers_killed_at_each_named_point(
    point: str, count: int, tmp_path: Path, faults: Any
) -> None:
    checked = Checked(tmp_path / "data", 8)
    mark = faults(f"worker.{point}:{count}:kill")
    service = LocalService(make_settings(checked.folder))
    service.start()
    job = finished(service, service.submit(checked.spec).id, PATIENCE)
    # What a process passes once cannot be reached three times.
    assert mark.exists() == (count == 1 or point not in ("start", "leased", "resumed", "model"))
    assert job.attempt == 1 + mark.exists()
    checked.check(service, job)
    service.close()


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("point", POINTS["server"][:6])
def test_servers_killed_at_each_named_point(
    point: str, count: int, tmp_path: Path, faults: Any
) -> None:
    checked = Checked(tmp_path / "data", 8)
    jobs = queue(checked, 2)
    mark = faults(f"server.{point}:{count}:kill")
    server = Server(checked.folder)
    until(lambda: server.process.poll() is not None or nothing_left(checked.folder), PATIENCE)
    died = server.process.poll() == -signal.SIGKILL
    server.kill()
    assert died == mark.exists()
    assert died or (point in ("spawn", "spawned", "remove") and count > 2)  # passed once per job
    finish(checked.folder)
    check_all(checked, jobs)


@pytest.mark.parametrize("action", ["kill", "enospc", "eio"])
@pytest.mark.parametrize("point", POINTS["server"][6:])
def test_a_data_set_is_there_or_it_is_not(
    point: str, action: str, tmp_path: Path, faults: Any
) -> None:
    folder = tmp_path / "data"
    mark = faults(f"server.{point}:1:{action}")
    command = [sys.executable, "-m", "tests.soak.server_process", str(folder), "add"]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0
    assert mark.exists()
    service = LocalService(make_settings(folder))
    service.start()
    assert service.list_datasets().items == ()
    assert list((folder / "datasets").iterdir()) == list((folder / "uploads").iterdir()) == []
    service.close()


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["open", "flush", "fsync", "rename", "sync_folder"])
def test_disk_errors_at_every_turn(point: str, action: str, tmp_path: Path, faults: Any) -> None:
    """At the nth step of its kind for all n: nothing is lost, the server lives."""
    checked = Checked(tmp_path / "data", 4)
    service = LocalService(make_settings(checked.folder))
    service.start()
    met, count = 0, 0
    while True:
        count += 1
        mark = faults(f"worker.{point}:{count}:{action}")
        job = finished(service, service.submit(checked.spec).id, PATIENCE)
        if not mark.exists():
            break
        met += 1
        assert job.attempt == 2
        checked.check(service, job)
        said = [e.data.get("message", "") for e in service.events(job.id)]
        assert any("waiting for space" in text for text in said) == (action == "enospc")
        assert service.health().ready
    assert met == 5  # four checkpoints and the model
    checked.check(service, job)
    service.close()


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_commits_that_fail(action: str, tmp_path: Path, faults: Any) -> None:
    """Of the nth transaction for all n: where the disk is full the job waits; else the report."""
    checked = Checked(tmp_path / "data", 4)
    count, waited = 0, 0
    while True:
        count += 1
        jobs = queue(checked, 1)
        mark = faults(f"server.commit:{count}:{action}")
        server = Server(checked.folder)
        until(lambda: set(states(checked.folder)) <= set(TERMINAL), PATIENCE)
        server.kill()
        os.environ.pop("NBMLP_FAULT")
        check_all(checked, jobs)
        waited += has_waited(checked.folder, jobs[0])
        if not mark.exists():
            break
    assert count > 8
    assert (waited > 5) == (action == "enospc")


def has_waited(folder: Path, job_id: str) -> bool:
    """Whether a job says that it was without space."""
    service = LocalService(make_settings(folder))
    told = service.events(job_id)
    service.close()
    return any("waiting for space" in e.data.get("message", "") for e in told)


def test_torn_and_flipped_checkpoints(tmp_path: Path) -> None:
    """Any byte flipped, any end missing: noticed; with both damaged, from the start again."""
    draw = random.Random(0)
    checked = Checked(tmp_path / "data", 80)
    for turn in range(12):
        service = LocalService(make_settings(checked.folder, max_attempts=1000))
        service.start()
        job = service.submit(checked.spec.model_copy(update={"name": str(turn)}))
        until(lambda s=service, j=job.id: len(s.checkpoints(j)) == 2)
        service.close()
        files = sorted((checked.folder / "jobs" / job.id).glob("checkpoint-*"))
        for path in files[-1:] if turn % 3 else files:
            raw = bytearray(path.read_bytes())
            if turn % 2:
                raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
                path.write_bytes(raw)
            else:
                path.write_bytes(raw[: draw.randrange(len(raw))])
        service = LocalService(make_settings(checked.folder))
        service.start()
        done = finished(service, job.id, PATIENCE)
        told = [e.data.get("text", "") for e in service.events(job.id, limit=1000)]
        if done.attempt == 2:
            assert any("cannot be used" in text for text in told)
        checked.check(service, done)
        service.close()


def test_a_locked_database_only_delays(tmp_path: Path) -> None:
    checked = Checked(tmp_path / "data")
    service = LocalService(make_settings(checked.folder, database_timeout=0.2))
    service.start()
    job = service.submit(checked.spec)
    for _ in range(5):
        time.sleep(0.3)
        other = sqlite3.connect(checked.folder / "nbmlp.sqlite", isolation_level=None, timeout=10)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(1.0)
        other.execute("ROLLBACK")
        other.close()
    # A reader that waits for 0.2 s only may meet the service's own commit on a busy disk.
    until(lambda: set(states(checked.folder)) <= set(TERMINAL), PATIENCE)
    service.close()
    check_all(checked, [job.id])


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("a tmpfs cannot be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_makes_jobs_wait_and_not_the_server(small_disk: Path) -> None:
    service = LocalService(make_settings(small_disk / "data", reserve_mb=6))
    service.start()
    dataset_id = add_table(service, ROWS)
    endless = the_spec(dataset_id, 100_000).model_copy(update={"early_stopping": None})
    jobs = [service.submit(endless).id for _ in range(2)]
    until(lambda: all(service.get_job(job_id).epoch > 3 for job_id in jobs))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))

    def waits(job_id: str) -> Any:
        job = service.get_job(job_id)
        return job.state is JobState.INTERRUPTED and "waiting for space" in job.message and job

    first, second = (until(lambda j=job_id: waits(j), PATIENCE) for job_id in jobs)
    assert len(service.checkpoints(first.id)) == 2
    with pytest.raises(NoSpaceError):
        service.submit(first.spec)
    assert service.cancel(second.id).state is JobState.CANCELLED
    filler.unlink()
    until(lambda: service.get_job(first.id).epoch > first.epoch, PATIENCE)
    service.stop(first.id)
    assert finished(service, first.id, PATIENCE).state is JobState.SUCCEEDED
    again = service.submit(the_spec(dataset_id, 8))
    assert finished(service, again.id, PATIENCE).state is JobState.SUCCEEDED
    service.close()

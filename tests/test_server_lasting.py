"""Jobs outlast what goes wrong around them: downtime, deleted data, old settings, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from server_jobs import (
    add_table,
    finished,
    make_settings,
    running,
    spec_for,
    until,
)
from server_live import Live, live
from sqlalchemy import update

from nbmlp.io import atomic
from nbmlp.server import faults
from nbmlp.server.jobs import executor
from nbmlp.server.ports import EventKind, Job, JobState
from nbmlp.server.service import LocalService
from nbmlp.server.store import schema

Asks = Callable[[str], Path]
LONG = {"epochs": 100_000}
DAY = 86_400.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = make_settings(tmp_path_factory.mktemp("lasting") / "data", port=0)
    with live(LocalService(settings), settings) as served:
        yield served


@pytest.fixture
def service(served: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    """No job of another test is at work, and none waits for long."""
    monkeypatch.setattr(executor, "_LONGEST_DELAY", 0.1)
    service: LocalService = served.service
    yield service
    for job in service.list_jobs().items:
        if job.finished is None:
            service.cancel(job.id)
    until(lambda: service.health().cores_used == 0)


@pytest.fixture
def page(served: Live) -> Iterator[Callable[[str], str]]:
    def get(address: str) -> str:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    with served.client() as client:
        yield get


@pytest.fixture
def ask_for_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asks]:
    """Ask this process, and jobs that it starts, for one fault; gives the file that tells of it."""
    mark = tmp_path / "mark"

    def ask(fault: str) -> Path:
        monkeypatch.setenv("NBMLP_FAULT", fault)
        monkeypatch.setenv("NBMLP_FAULT_MARK", str(mark))
        faults.arm("server")
        return mark

    before = atomic.on_step
    yield ask
    faults._reach, atomic.on_step = faults._nothing, before


def submit(service: LocalService, **changes: Any) -> Job:
    return service.submit(spec_for(add_table(service), **changes))


def change(service: LocalService, job_id: str, **columns: Any) -> None:
    """What another version, or a crash, has left in the database."""
    with service._database.write() as connection:
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id).values(**columns))


def stored(service: LocalService, job_id: str) -> dict[str, Any]:
    spec: dict[str, Any] = service.get_job(job_id).spec.model_dump(mode="json")
    return spec


# -- time


def test_the_time_in_which_a_server_is_down_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down over a weekend, as after a kill: nothing was written down at its end."""
    first = LocalService(make_settings(tmp_path / "data", job_wall_seconds=3600))
    first.start()
    job = submit(first, model=LONG)
    until(lambda: first.get_job(job.id).epoch > 1)
    used = until(lambda: first._jobs.row(job.id)["used_seconds"])
    first._executor._closing = True
    first._executor._thread.join()
    process = first._executor._attempts[job.id].process
    process.kill()
    process.wait()
    first._database.close()
    first._files.close()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3 * DAY)
    with running(tmp_path / "data", job_wall_seconds=3600) as second:
        assert second._jobs.row(job.id)["used_seconds"] >= used
        until(lambda: second.get_job(job.id).attempt == 2 and second.get_job(job.id).live)
        second.stop(job.id)
        done = finished(second, job.id)
        assert done.state is JobState.SUCCEEDED, done.error
        assert done.started is not None
        assert done.finished is not None
        assert done.finished - done.started > 2 * DAY
        assert used < done.seconds < 3600


def test_a_clock_that_jumps_uses_up_no_time(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(service, model=LONG)
    until(lambda: service.get_job(job.id).epoch > 1)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3 * DAY)
    service.pause(job.id)
    paused = until(lambda: (j := service.get_job(job.id)).state is JobState.PAUSED and j)
    assert 0 < paused.seconds < DAY
    service.resume(job.id)
    until(lambda: service.get_job(job.id).live)
    assert service.get_job(job.id).state is JobState.RUNNING


def test_attempts_use_up_one_time_together(service: LocalService) -> None:
    job = submit(service, model=LONG, limits={"wall_seconds": 3600})
    until(lambda: service.get_job(job.id).epoch > 1)
    service.pause(job.id)
    until(lambda: service.get_job(job.id).state is JobState.PAUSED)
    change(service, job.id, used_seconds=3600.0)
    service.resume(job.id)
    failed = finished(service, job.id)
    assert (failed.state, failed.error_kind) == (JobState.FAILED, "time")


# -- data that are gone


def test_a_job_whose_table_was_deleted_is_shown_and_found_again(
    service: LocalService, page: Callable[[str], str]
) -> None:
    dataset_id = add_table(service)
    spec = spec_for(dataset_id, model={"epochs": 1})
    done = finished(service, service.submit(spec, "lasting").id)
    service.delete_dataset(dataset_id)
    shown = page(f"/jobs/{done.id}")
    assert "houses, which has been deleted" in " ".join(shown.split())
    assert "Train again" not in shown
    assert page("/jobs")
    again = service.submit(spec, "lasting")
    assert (again.id, again.dataset_name) == (done.id, "houses")


def test_a_job_whose_file_is_missing_fails_and_says_so(service: LocalService) -> None:
    dataset_id = add_table(service)
    path = service._files.dataset(service.get_dataset(dataset_id).sha256)
    aside = path.rename(path.with_name("aside"))
    try:
        job = finished(service, service.submit(spec_for(dataset_id)).id)
    finally:
        aside.rename(path)
    assert (job.state, job.error_kind) == (JobState.FAILED, "data")
    assert job.error == "the file of its data set is gone: upload the table again."


# -- settings of another version


def test_settings_out_of_todays_bounds_are_read_and_go_on(
    service: LocalService, page: Callable[[str], str]
) -> None:
    job = submit(service, model=LONG)
    until(lambda: service.get_job(job.id).epoch > 1)
    service.pause(job.id)
    until(lambda: service.get_job(job.id).state is JobState.PAUSED)
    spec = stored(service, job.id) | {"priority": 1_000_000, "name": "n" * 5000}
    change(service, job.id, spec=spec)
    assert service.get_job(job.id).spec.priority == 1_000_000
    assert job.id in {j.id for j in service.list_jobs().items}
    for address in ("/jobs", f"/jobs/{job.id}", f"/compare?job={job.id}", "/v1/jobs",
                    f"/v1/jobs/{job.id}"):  # fmt: skip
        assert page(address)
    service.resume(job.id)
    until(lambda: service.get_job(job.id).live)
    service.stop(job.id)
    assert finished(service, job.id).state is JobState.SUCCEEDED


def test_settings_that_nobody_knows_any_longer_fail_one_job_only(tmp_path: Path) -> None:
    with_fault = LocalService(make_settings(tmp_path / "data"))
    dataset_id = add_table(with_fault)
    ids = [with_fault.submit(spec_for(dataset_id, model={"epochs": 1})).id for _ in range(3)]
    unknown, wrong = stored(with_fault, ids[0]), stored(with_fault, ids[1])
    unknown["model"]["colour"] = "red"
    wrong["model"]["activation"] = "no such thing"
    change(with_fault, ids[0], spec=unknown)
    change(with_fault, ids[1], spec=wrong)
    with_fault.start()
    try:
        first, second, third = (finished(with_fault, job_id) for job_id in ids)
    finally:
        with_fault.close()
    assert (first.state, first.error_kind) == (JobState.FAILED, "settings")
    assert "model.colour" in first.error
    assert (second.state, second.error_kind) == (JobState.FAILED, "settings")
    assert third.state is JobState.SUCCEEDED


# -- errors at the seams


@pytest.mark.parametrize("fault", ["spawn:1:emfile", "spawn:1:enospc"])
def test_a_process_that_cannot_be_started_is_tried_again(
    fault: str, service: LocalService, ask_for_fault: Asks
) -> None:
    dataset_id = add_table(service)
    mark = ask_for_fault(f"server.{fault}")
    job = finished(service, service.submit(spec_for(dataset_id)).id)
    assert mark.exists()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    (said,) = [
        e.data["message"] for e in service.events(job.id) if e.data.get("state") == "interrupted"
    ]
    wanted = "waiting for space" if "enospc" in fault else "no process can be started"
    assert wanted in said


@pytest.mark.parametrize("count", [2, 3])
def test_a_transaction_that_fails_leaves_no_job_without_a_process(
    count: int, service: LocalService, ask_for_fault: Asks
) -> None:
    """Right after it is on disk: whoever wrote it believes that it is not."""
    dataset_id = add_table(service)
    mark = ask_for_fault(f"server.committed:{count}:eio")
    job = finished(service, service.submit(spec_for(dataset_id)).id)
    assert mark.exists()
    assert job.state is JobState.SUCCEEDED, job.error


def test_an_error_while_cleaning_up_keeps_no_end_from_being_told(
    service: LocalService, ask_for_fault: Asks
) -> None:
    dataset_id = add_table(service)
    heard: list[JobState] = []

    def fail(job_id: str) -> None:
        raise RuntimeError("a listener that fails")

    def listen(job_id: str) -> None:
        heard.append(service.get_job(job_id).state)

    ends = [service.on_change(fail), service.on_change(listen)]
    mark = ask_for_fault("server.remove:1:eio")
    job = finished(service, service.submit(spec_for(dataset_id)).id)
    until(mark.exists)
    until(lambda: JobState.SUCCEEDED in heard)
    for end in ends:
        end()
    assert job.state is JobState.SUCCEEDED
    until(lambda: service.health().cores_used == 0)


def test_a_report_that_nobody_understands_sets_the_job_back(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbmlp.server.jobs import attempt

    def misunderstand(self: object, message: dict[str, Any]) -> None:
        monkeypatch.undo()
        raise KeyError("rows")

    monkeypatch.setitem(attempt._HANDLERS, "epochs", misunderstand)
    job = finished(service, submit(service).id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_a_diagnosis_is_shown_behind_any_number_of_events(
    service: LocalService, page: Callable[[str], str]
) -> None:
    job = submit(service, model=LONG)
    until(lambda: service.get_job(job.id).epoch > 1)
    fence = service._jobs.row(job.id)["fence"]
    many = [(EventKind.MESSAGE, {"text": "again"})] * 1100
    told = (EventKind.DIAGNOSIS, {"text": "the one cause of all", "report": {}})
    from nbmlp.server.store.reports import Reports

    Reports(service._database).report(job.id, fence, [*many, told])
    assert "the one cause of all" in page(f"/jobs/{job.id}/status")

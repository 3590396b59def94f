"""Jobs outlast what goes wrong around them: downtime, deleted data, old settings, errors."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from server_fake import FakeService
from server_jobs import (
    add_table,
    end_all,
    finished,
    make_settings,
    running,
    spec_for,
    until,
    write_by_the_clock,
)
from server_live import Live, live
from sqlalchemy import update

from nbmlp.io import atomic
from nbmlp.server import faults
from nbmlp.server.http import feed
from nbmlp.server.jobs import executor
from nbmlp.server.ports import BusyError, EventKind, Job, JobState, NoSpaceError
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
    end_all(service)


@pytest.fixture
def timely(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """Jobs that last write checkpoints now and then."""
    write_by_the_clock(service, monkeypatch)
    return service


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
    first = LocalService(
        make_settings(tmp_path / "data", job_wall_seconds=3600, checkpoint_seconds=1e-3)
    )
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
    with running(tmp_path / "data", job_wall_seconds=3600, checkpoint_seconds=1e-3) as second:
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
    timely: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(timely, model=LONG)
    until(lambda: timely.get_job(job.id).epoch > 1)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3 * DAY)
    timely.pause(job.id)
    paused = until(lambda: (j := timely.get_job(job.id)).state is JobState.PAUSED and j)
    assert 0 < paused.seconds < DAY
    timely.resume(job.id)
    until(lambda: (j := timely.get_job(job.id)).live and j.state is JobState.RUNNING)
    timely.pause(job.id)
    until(lambda: timely.get_job(job.id).state is JobState.PAUSED)
    # Attempts use up one time together.
    change(timely, job.id, used_seconds=timely._settings.job_wall_seconds + 1.0)
    timely.resume(job.id)
    failed = finished(timely, job.id)
    assert (failed.state, failed.error_kind) == (JobState.FAILED, "time")


def test_progress_is_told_however_often_checkpoints_are_written(service: LocalService) -> None:
    """Here one after each epoch."""
    job = submit(service, model=LONG)
    first = until(lambda: service.get_job(job.id).live)
    until(lambda: (live := service.get_job(job.id).live) and live.epoch > first.epoch + 1)


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
    timely: LocalService, page: Callable[[str], str]
) -> None:
    job = submit(timely, model=LONG)
    until(lambda: timely.get_job(job.id).epoch > 1)
    timely.pause(job.id)
    until(lambda: timely.get_job(job.id).state is JobState.PAUSED)
    spec = stored(timely, job.id) | {"priority": 1_000_000, "name": "n" * 5000}
    change(timely, job.id, spec=spec)
    assert timely.get_job(job.id).spec.priority == 1_000_000
    assert job.id in {j.id for j in timely.list_jobs().items}
    for address in ("/jobs", f"/jobs/{job.id}", f"/compare?job={job.id}", "/v1/jobs",
                    f"/v1/jobs/{job.id}"):  # fmt: skip
        assert page(address)
    timely.resume(job.id)
    until(lambda: timely.get_job(job.id).live)
    timely.stop(job.id)
    assert finished(timely, job.id).state is JobState.SUCCEEDED


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
    timely: LocalService, page: Callable[[str], str]
) -> None:
    job = submit(timely, model=LONG)
    until(lambda: timely.get_job(job.id).epoch > 1)
    fence = timely._jobs.row(job.id)["fence"]
    many = [(EventKind.MESSAGE, {"text": "again"})] * 1100
    told = (EventKind.DIAGNOSIS, {"text": "the one cause of all", "report": {}})
    from nbmlp.server.store.reports import Reports

    Reports(timely._database).report(job.id, fence, [*many, told])
    assert "the one cause of all" in page(f"/jobs/{job.id}/status")


# -- a full disk


def test_jobs_wait_for_space_and_go_on_by_themselves(
    service: LocalService, ask_for_fault: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_for(add_table(service), model=LONG)
    mark = ask_for_fault("worker.fsync:20:enospc")
    monkeypatch.setattr(service._files, "_reserve", 0)
    first = service.submit(spec)
    until(lambda: service.get_job(first.id).attempt)  # it has begun, and is far from epoch 20
    monkeypatch.setattr(service._files, "_reserve", 1 << 60)  # nothing new
    until(mark.exists)
    waiting = until(lambda: (j := service.get_job(first.id)).state is JobState.INTERRUPTED and j)
    place = waiting.message.removeprefix("interrupted, waiting for space on the disk, ")
    assert place == "resuming from epoch 19"
    assert [c.epoch for c in service.checkpoints(first.id)] == [19, 18]
    with pytest.raises(NoSpaceError):
        service.submit(spec)
    with service._executor.lock:  # between two looks of it at the queue
        monkeypatch.setattr(service._files, "check_space", lambda *a, **k: None)
        second, third = service.submit(spec), service.submit(spec)
        monkeypatch.setattr(service._files, "check_space", full)
    until(lambda: "waiting for space" in service.get_job(second.id).message)
    assert service.get_job(first.id).attempt == 1
    assert service.get_job(second.id).state is JobState.QUEUED
    for job in (second, third):
        assert service.cancel(job.id).state is JobState.CANCELLED
    monkeypatch.setattr(service._files, "check_space", lambda *a, **k: None)
    until(lambda: service.get_job(first.id).epoch > 20)
    going = service.get_job(first.id)
    assert (going.state, going.attempt) == (JobState.RUNNING, 2)
    assert "waiting" not in going.message


def full(wanted: int = 0, *, lately: bool = False) -> None:
    raise NoSpaceError("the disk has only 0 MB left: free some space.")


def test_a_report_that_finds_no_space_costs_an_attempt_only(
    service: LocalService, ask_for_fault: Asks
) -> None:
    dataset_id = add_table(service)
    mark = ask_for_fault("server.commit:8:enospc")
    job = finished(service, service.submit(spec_for(dataset_id)).id)
    assert mark.exists()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2), job.error
    said = [e.data.get("message", "") for e in service.events(job.id)]
    assert any(text.startswith("interrupted, waiting for space on the disk, ") for text in said)
    assert [row["epoch"] for row in service.metrics(job.id).rows] == list(range(1, 13))


def test_where_nothing_can_be_written_all_jobs_wait(
    service: LocalService, ask_for_fault: Asks
) -> None:
    spec = spec_for(add_table(service), model=LONG)
    jobs = [service.submit(spec).id for _ in range(2)]
    until(lambda: all(service.get_job(job).epoch > 1 for job in jobs))
    for job in jobs:  # both give way to the server, whatever its own priority is
        nice = os.getpriority(os.PRIO_PROCESS, service._jobs.row(job)["pid"])
        assert nice == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)
    ask_for_fault("server.commit:1:enospc")

    def has_waited(job: str) -> bool:
        said = [e.data.get("message", "") for e in service.events(job)]
        return any("waiting for space on the disk" in text for text in said)

    until(lambda: all(map(has_waited, jobs)))
    for job in jobs:
        service.cancel(job)


# -- what is forgotten


def test_events_of_long_ago_go_and_what_a_page_shows_stays(
    served: Live,
    service: LocalService,
    page: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset_id = add_table(service)
    spec = spec_for(dataset_id, model={"epochs": 3})
    done = finished(service, service.submit(spec, "of long ago").id)
    with service._database.write() as connection:  # as if it had been diagnosed before its end
        values = {"job_id": done.id, "seq": 3, "kind": "diagnosis", "data": {"text": "why"}}
        mine = (schema.events.c.job_id == done.id) & (schema.events.c.seq == 3)
        connection.execute(update(schema.events).where(mine).values(**values))
    young = service.submit(spec, "of today")
    before, curve = service.events(done.id), service.metrics(done.id)
    now = time.time()
    change(service, done.id, finished=now - 91 * DAY)
    with service._database.write() as connection:
        old = schema.keys.c.key == "of long ago"
        connection.execute(update(schema.keys).where(old).values(created=now - 8 * DAY))
    monkeypatch.setattr(service._executor, "_tidied", time.monotonic() - 2 * executor._TIDY)
    service._executor.wake()
    until(lambda: len(service.events(done.id)) < len(before))
    kept = service.events(done.id)
    assert [(e.kind, e.data.get("state")) for e in kept] == [
        (EventKind.DIAGNOSIS, None), (EventKind.STATE, "succeeded"),
    ]  # fmt: skip
    assert service.metrics(done.id) == curve
    assert len(curve.rows) == 3
    assert "why" in page(f"/jobs/{done.id}")
    # A stream tells what is left, from the beginning and from within what is missing.
    told = [e.seq for e in kept]
    with served.client() as client:
        for after in (0, 1, told[0], told[-1] - 1):
            answer = client.get(f"/v1/jobs/{done.id}/events", headers={"Last-Event-ID": str(after)})
            assert streamed(answer.text) == [seq for seq in told if seq > after]
    assert len(service.events(young.id)) > 1
    assert service.submit(spec, "of today").id == young.id
    assert service.submit(spec, "of long ago").id != done.id


def streamed(text: str) -> list[int]:
    """Numbers of the events of a stream."""
    return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]


def test_a_job_is_deleted_and_its_model_stays(served: Live, service: LocalService) -> None:
    done = finished(service, submit(service, model={"epochs": 1}).id)
    with served.client() as client:
        waiting = submit(service, model=LONG)
        assert client.delete(f"/v1/jobs/{waiting.id}").status_code == 409
        assert client.delete(f"/v1/jobs/{done.id}").status_code == 204
        for method in (client.get, client.delete):
            assert method(f"/v1/jobs/{done.id}").status_code == 404
        assert client.get(f"/models/{done.model_id}").status_code == 200
    assert done.model_id is not None
    assert service.load_model(done.model_id)


def test_a_job_whose_process_has_not_gone_is_deleted_with_it(timely: LocalService) -> None:
    job = submit(timely, model=LONG)
    until(lambda: timely.get_job(job.id).epoch > 1)
    process = timely._executor._attempts[job.id].process
    with timely._executor.lock:  # before the executor has looked after it
        timely.cancel(job.id)
        timely.delete_job(job.id)
    assert process._process.poll() is not None
    assert not timely._files.job_place(job.id).exists()
    assert finished(timely, submit(timely, model={"epochs": 1}).id).state is JobState.SUCCEEDED


# -- streams


class Flaky:
    """A service that cannot answer some of the time."""

    def __init__(self, service: FakeService) -> None:
        self._service, self.failures = service, 0

    def __getattr__(self, name: str) -> Any:
        def flaky(*args: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise BusyError("the database is locked by another program.")
            return getattr(self._service, name)(*args)

        return flaky if name in ("get_job", "events") else getattr(self._service, name)


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_stream_goes_on_after_an_error(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_PAUSE", 0.01)
    service = FakeService(tmp_path)
    job = service.add_job(a_job())
    flaky = Flaky(service)

    async def story() -> bytes:
        told = b""
        following = feed.Feed(flaky)  # type: ignore[arg-type]
        following.open()
        flaky.failures = 2
        async with asyncio.timeout(60):
            async for frame in following.follow(job.id, 0, 60.0):
                told += frame
                if b"event: job" in frame and service.jobs[job.id].state is JobState.QUEUED:
                    flaky.failures = 3
                    service.cancel(job.id)
                    if end == "delete":
                        service.delete_job(job.id)
        following.close()
        return told

    told = asyncio.run(story())
    assert b'"queued"' in told
    assert end == "delete" or told.count(b'"state":"cancelled"') >= 2


class Slow:
    """A service that takes its time, now more, now less."""

    def __init__(self, service: FakeService, seed: int) -> None:
        self._service, self._random = service, random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        def slow(*args: Any) -> Any:
            time.sleep(self._random.choice((0.0, 0.0, 0.001, 0.003)))
            found = getattr(self._service, name)(*args)
            time.sleep(self._random.choice((0.0, 0.0, 0.001, 0.003)))
            return found

        return slow if name in ("get_job", "events") else getattr(self._service, name)


@pytest.mark.parametrize("seed", range(30))
def test_readers_lose_nothing_while_events_pour_in(seed: int, tmp_path: Path) -> None:
    """Two refreshes of a job at once told its end to readers that lacked its last events."""
    service = FakeService(tmp_path)
    job = service.add_job(a_job())

    def write() -> None:
        for epoch in range(60):
            service.tell(job.id, EventKind.EPOCHS, {"rows": [{"epoch": epoch}]})
            time.sleep(0.002 * (epoch % 7 == 0))
        service.enter(job.id, JobState.SUCCEEDED)

    async def read(following: feed.Feed) -> list[int]:
        return streamed(b"".join([f async for f in following.follow(job.id, 0, 60.0)]).decode())

    async def story() -> list[list[int]]:
        following = feed.Feed(Slow(service, seed))  # type: ignore[arg-type]
        following.open()
        readers = [asyncio.create_task(read(following)) for _ in range(3)]
        await asyncio.sleep(0.002 * (seed % 3))
        async with asyncio.timeout(60):
            await asyncio.to_thread(write)
            return await asyncio.gather(*readers)

    assert asyncio.run(story()) == [list(range(1, 63))] * 3


def a_job() -> Job:
    spec = spec_for("0" * 26)
    return Job(
        "1" * 26, "job", "0" * 26, spec, JobState.QUEUED, "", "", "", 0.0, None, None, 0, 12, 0,
        None, None, None, "", "", None, None,
    )  # fmt: skip

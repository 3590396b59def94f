"""What the service promises, of the real one and of the one in memory that other tests stand on."""

from __future__ import annotations

import hashlib
import inspect
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from server_fake import FakeService, new_id
from server_jobs import make_settings, make_table, spec_for

from nbmlp import MLP
from nbmlp.data import Dataset as Rows
from nbmlp.server.jobs.columns import FieldError
from nbmlp.server.jobs.places import Place
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import (
    CheckpointInfo,
    ColumnInfo,
    ConflictError,
    Dataset,
    DatasetSummary,
    EventKind,
    Job,
    JobState,
    KeyReusedError,
    ModelSummary,
    NoSpaceError,
    NotFoundError,
    ParsedDataset,
    QueueFullError,
    Service,
)
from nbmlp.server.rows import content_hash, save_rows
from nbmlp.server.service import LocalService

NOBODY = "01J9ZC4N3V0000000000000000"
COLUMNS = ("size", "town", "price")
INPUTS = [("x0", "number"), ("x1", "number")]
S = JobState


class LocalStage:
    """The real service, whose executor is not started: a job's process is played by the test."""

    def __init__(self, folder: Path) -> None:
        self.service = LocalService(make_settings(folder / "data", max_queued=6))
        self.fences: dict[str, int] = {}

    def close(self) -> None:
        self.service.close()

    def begin(self, job_id: str) -> None:
        self.fences[job_id] = self.service._reports.begin(job_id)
        self.service._reports.phase(job_id, self.fences[job_id], S.RUNNING, "accuracy")

    def epochs(self, job_id: str, rows: list[dict[str, Any]]) -> None:
        self.service._reports.epochs(job_id, self.fences[job_id], rows)

    def checkpoint(self, job_id: str, epoch: int) -> None:
        (self.service._files.job(job_id) / Place(epoch).file_name).write_bytes(b"")
        info = CheckpointInfo(job_id, epoch, 1000, "0" * 64, time.time())
        self.service._reports.checkpoint(info, self.fences[job_id])

    def obey(self, job_id: str) -> None:
        if self.service._jobs.row(job_id)["wish"] == "pause":
            fence = self.fences[job_id]
            self.service._reports.finish(job_id, fence, S.PAUSED, "paused", wish="")

    def fail(self, job_id: str, kind: str, error: str) -> None:
        self.service._reports.finish(
            job_id, self.fences[job_id], S.FAILED, error, error=error, error_kind=kind
        )

    def succeed(self, job_id: str, reason: str, mlp: MLP, inputs: list[tuple[str, str]]) -> str:
        job, model_id = self.service.get_job(job_id), new_id()
        mlp.save(self.service._files.model(model_id))
        self.service._reports.succeed(job_id, self.fences[job_id], reason, {
            "id": model_id, "job_id": job_id, "dataset_id": job.dataset_id,
            "created": time.time(), "bytes": 1, "sha256": "0" * 64, "task": mlp.coding.task,
            "inputs": inputs, "targets": ["y"], "classes": [], "summary": "2-2-1",
            "evaluation": {"rows": "training", "loss": 0.5},
        })  # fmt: skip
        return model_id


class FakeStage(FakeService):
    """The one in memory plays its processes itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.service, self.max_queued = self, 6


Stage = FakeStage | LocalStage


@pytest.fixture(params=[FakeStage, LocalStage], ids=["fake", "local"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    made = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def service(stage: Stage) -> Service:
    return stage.service


def add(service: Service, name: str = "houses", seed: int = 0) -> Dataset:
    path = service.upload_path()
    save_rows(path, Rows(make_table(50, seed)))
    sha256 = content_hash(path)
    columns = tuple(ColumnInfo(n, "number") for n in COLUMNS)
    preview = ((1.5, "Bonn", 2.0), (None, "Ulm", 3.0))
    return service.add_dataset(
        ParsedDataset(path, sha256, name, "csv", 50, columns, "price", preview, "ada")
    )


@pytest.fixture
def data(service: Service) -> Dataset:
    return add(service)


@pytest.fixture
def job(service: Service, data: Dataset) -> Job:
    return service.submit(spec_for(data.id))


@pytest.fixture(scope="module")
def mlp() -> MLP:
    X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return MLP(2, epochs=1, task="regression", threads=1).fit(X, X[:, 0])


def row(epoch: int, **values: float) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": None, "val_score": None, **values}


def test_both_have_every_method_as_it_is_declared() -> None:
    """And the tests below call them all."""
    declared = {n: f for n, f in vars(Service).items() if n[0] != "_" and callable(f)}
    called = Path(__file__).read_text()
    for name, function in declared.items():
        wanted = inspect.signature(function).parameters
        for kind in (FakeService, LocalService):
            found = inspect.signature(getattr(kind, name)).parameters
            assert {p: v.default for p, v in found.items()} == {
                p: v.default for p, v in wanted.items()
            }, (kind, name)
        assert name in ("start", "close") or f"service.{name}" in called, name


class TestDatasets:
    def test_are_as_they_were_added(self, service: Service) -> None:
        added = add(service, "a name")
        assert service.get_dataset(added.id) == added
        assert (added.name, added.rows, added.format, added.target_guess) == (
            "a name", 50, "csv", "price",
        )  # fmt: skip
        assert [column.name for column in added.columns] == list(COLUMNS)
        assert added.preview[1] == (None, "Ulm", 3.0)
        assert added.bytes > 0
        assert added.owner == "ada"

    def test_the_uploaded_file_is_taken_over(self, service: Service) -> None:
        path = service.upload_path()
        assert path != service.upload_path()
        add(service)
        assert not path.exists()

    def test_files_are_promised_space(self, service: Service) -> None:
        path = service.upload_path()
        with pytest.raises(NoSpaceError):
            service.promise_space(path, 1 << 60)
        service.promise_space(path, 1000)
        path.write_bytes(bytes(1000))
        service.discard_upload(path)
        assert not path.exists()
        service.discard_upload(path)

    def test_the_same_content_twice_is_two_data_sets(self, service: Service) -> None:
        first, second = add(service, "first"), add(service, "second")
        assert (first.sha256, first.name) == (second.sha256, "first")
        service.delete_dataset(first.id)
        assert service.get_dataset(second.id) == second
        third = add(service, "third")
        service.delete_dataset(second.id)
        assert service.get_dataset(third.id) == third

    def test_newest_first_in_pages(self, service: Service) -> None:
        made = [add(service, str(i), i).id for i in range(5)]
        assert_paged(service.list_datasets, made)
        for short in service.list_datasets().items:
            assert short == DatasetSummary.of(service.get_dataset(short.id))

    def test_missing(self, service: Service) -> None:
        for call in (service.get_dataset, service.delete_dataset):
            with pytest.raises(NotFoundError, match="data set"):
                call(NOBODY)

    def test_needed_by_a_job_that_has_not_ended(self, service: Service, job: Job) -> None:
        with pytest.raises(ConflictError, match=job.id):
            service.delete_dataset(job.dataset_id)
        service.cancel(job.id)
        service.delete_dataset(job.dataset_id)
        with pytest.raises(NotFoundError):
            service.get_dataset(job.dataset_id)
        kept = service.get_job(job.id)
        assert (kept.dataset_id, kept.dataset_name) == (job.dataset_id, "houses")


def assert_paged(listed: Any, made: list[str]) -> None:
    """Pages of two, the newest first; and one after an item that has gone or never was."""
    seen, after = [], None
    for _ in range(len(made)):
        page = listed(after, 2)
        assert len(page.items) <= 2
        seen += [item.id for item in page.items]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == sorted(made, reverse=True) == made[::-1]
    assert listed(made[0]).items == ()
    assert len(listed(None, len(made)).items) == len(made)
    assert not listed(None, len(made)).has_more


class TestSubmit:
    def test_a_job_waits(self, service: Service, data: Dataset) -> None:
        spec = spec_for(data.id, name="mine")
        job = service.submit(spec, owner="grace")
        assert service.get_job(job.id) == job
        assert job.owner == "grace"
        assert (job.name, job.state, job.spec, job.queue_place) == ("mine", S.QUEUED, spec, 1)
        assert (job.epoch, job.epochs, job.attempt) == (0, 12, 0)
        assert (job.started, job.finished, job.model_id, job.live) == (None,) * 4
        assert (job.message, job.error, job.error_kind, job.stop_reason) == ("",) * 4
        (event,) = service.events(job.id)
        assert (event.seq, event.kind, event.data["state"]) == (1, EventKind.STATE, "queued")

    def test_without_a_name_it_has_that_of_the_data(self, job: Job) -> None:
        assert job.name == "houses"

    def test_places_by_priority_then_age(self, service: Service, data: Dataset) -> None:
        made = [service.submit(spec_for(data.id, priority=p)).id for p in (0, 0, 5)]
        assert [service.get_job(i).queue_place for i in made] == [2, 3, 1]
        places = {job.id: job.queue_place for job in service.list_jobs().items}
        assert [places[i] for i in made] == [2, 3, 1]

    def test_newest_first_in_pages(self, service: Service, data: Dataset) -> None:
        made = [service.submit(spec_for(data.id)).id for _ in range(5)]
        assert_paged(service.list_jobs, made)

    def test_refused(self, service: Service, data: Dataset) -> None:
        with pytest.raises(NotFoundError, match="data set"):
            service.submit(spec_for(NOBODY))
        for field, wrong in (("target", "prize"), ("columns", ["seize"])):
            with pytest.raises(FieldError, match="has no column") as caught:
                service.submit(spec_for(data.id, **{field: wrong}))
            assert caught.value.field == field
        assert service.list_jobs().items == ()

    def test_a_full_queue(self, service: Service, data: Dataset) -> None:
        for _ in range(6):
            service.submit(spec_for(data.id))
        with pytest.raises(QueueFullError):
            service.submit(spec_for(data.id))

    def test_a_key_is_good_for_one_job(self, service: Service, data: Dataset) -> None:
        job = service.submit(spec_for(data.id), "key")
        assert service.submit(spec_for(data.id), "key").id == job.id
        assert service.submit(spec_for(data.id), "other").id != job.id
        with pytest.raises(KeyReusedError):
            service.submit(spec_for(data.id, name="changed"), "key")
        service.cancel(job.id)
        assert service.submit(spec_for(data.id), "key").state == S.CANCELLED

    def test_a_key_finds_its_job_when_the_data_are_gone(
        self, service: Service, data: Dataset
    ) -> None:
        spec = spec_for(data.id)
        job = service.submit(spec, "key")
        service.cancel(job.id)
        service.delete_dataset(data.id)
        assert service.submit(spec, "key").id == job.id
        with pytest.raises(NotFoundError, match="data set"):
            service.submit(spec, "other")

    def test_missing(self, service: Service) -> None:
        for call in (
            service.get_job, service.cancel, service.pause, service.resume, service.stop,
            service.events, service.metrics, service.checkpoints, service.delete_job,
            lambda job_id: service.last_event(job_id, EventKind.STATE),
        ):  # fmt: skip
            with pytest.raises(NotFoundError, match="job"):
                call(NOBODY)


class TestSteering:
    def test_a_waiting_job(self, service: Service, job: Job) -> None:
        with pytest.raises(ConflictError, match="queued"):
            service.resume(job.id)
        with pytest.raises(ConflictError, match="no weights"):
            service.stop(job.id)
        paused = service.pause(job.id)
        assert (paused.state, paused.queue_place) == (S.PAUSED, None)
        with pytest.raises(ConflictError, match="paused"):
            service.pause(job.id)
        assert service.resume(job.id).state == S.QUEUED
        ended = service.cancel(job.id)
        assert (ended.state, ended.queue_place) == (S.CANCELLED, None)
        assert ended.finished is not None
        states = [event.data["state"] for event in service.events(job.id)]
        assert states == ["queued", "paused", "queued", "cancelled"]

    def test_a_job_that_trains_does_it_at_its_next_batch(self, stage: Stage, job: Job) -> None:
        service = stage.service
        stage.begin(job.id)
        running = service.get_job(job.id)
        assert (running.state, running.attempt, running.queue_place) == (S.RUNNING, 1, None)
        assert running.started is not None
        with pytest.raises(ConflictError, match="running"):
            service.resume(job.id)
        assert service.pause(job.id).state == S.RUNNING
        assert service.resume(job.id).state == S.RUNNING
        stage.obey(job.id)
        assert service.get_job(job.id).state == S.RUNNING
        service.pause(job.id)
        stage.obey(job.id)
        assert service.get_job(job.id).state == S.PAUSED
        assert service.resume(job.id).state == S.QUEUED
        stage.begin(job.id)
        again = service.get_job(job.id)
        assert (again.attempt, again.started) == (2, running.started)
        assert service.stop(job.id).state == S.RUNNING
        assert service.cancel(job.id).state == S.CANCELLED

    def test_a_paused_job_with_weights_can_be_stopped(self, stage: Stage, job: Job) -> None:
        stage.begin(job.id)
        stage.checkpoint(job.id, 1)
        stage.service.pause(job.id)
        stage.obey(job.id)
        assert stage.service.stop(job.id).state == S.QUEUED

    @pytest.mark.parametrize("end", ["cancel", "fail", "succeed"])
    def test_an_end_is_final(self, stage: Stage, job: Job, mlp: MLP, end: str) -> None:
        service, state = stage.service, {"fail": S.FAILED, "succeed": S.SUCCEEDED}
        if end == "cancel":
            service.cancel(job.id)
        else:
            stage.begin(job.id)
            given = ("data", "wrong.") if end == "fail" else ("epoch 12", mlp, INPUTS)
            getattr(stage, end)(job.id, *given)
        ended = service.get_job(job.id)
        assert ended.state == state.get(end, S.CANCELLED)
        told = service.events(job.id)
        for action in (service.cancel, service.pause, service.resume, service.stop):
            with pytest.raises(ConflictError, match=str(ended.state)):
                action(job.id)
        assert service.get_job(job.id) == ended
        assert service.events(job.id) == told


class TestDeletion:
    def test_only_of_what_has_ended(self, stage: Stage, job: Job) -> None:
        service = stage.service
        for step in (lambda: None, lambda: stage.begin(job.id)):
            step()
            with pytest.raises(ConflictError, match="cancel it first"):
                service.delete_job(job.id)
        assert service.get_job(job.id).state == S.RUNNING

    def test_all_of_the_job_goes_and_its_model_stays(
        self, stage: Stage, data: Dataset, mlp: MLP
    ) -> None:
        service, heard = stage.service, list[str]()
        job_id = service.submit(spec_for(data.id), "key").id
        stage.begin(job_id)
        stage.epochs(job_id, [row(1)])
        model_id = stage.succeed(job_id, "epoch 1", mlp, INPUTS)
        service.on_change(heard.append)
        service.delete_job(job_id)
        assert heard == [job_id]
        for call in (service.get_job, service.events, service.metrics, service.delete_job):
            with pytest.raises(NotFoundError, match="job"):
                call(job_id)
        assert service.list_jobs().items == ()
        assert service.get_model(model_id).job_id == job_id
        assert service.load_model(model_id)
        again = service.submit(spec_for(data.id), "key")
        assert again.id != job_id
        assert [event.seq for event in service.events(again.id)] == [1]


class TestEvents:
    def test_the_newest_of_a_kind(self, stage: Stage, job: Job) -> None:
        stage.begin(job.id)
        assert stage.service.last_event(job.id, EventKind.EPOCHS) is None
        for epoch in (1, 2):
            stage.epochs(job.id, [row(epoch)])
        found = stage.service.last_event(job.id, EventKind.EPOCHS)
        assert found == stage.service.events(job.id)[-1]

    def test_in_order_from_anywhere_no_more_than_asked_for(self, stage: Stage, job: Job) -> None:
        stage.begin(job.id)
        for epoch in range(1, 6):
            stage.epochs(job.id, [row(epoch)])
        told = stage.service.events(job.id)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        assert {event.job_id for event in told} == {job.id}
        assert stage.service.events(job.id, 2, 3) == told[2:5]
        assert stage.service.events(job.id, len(told)) == []

    def test_can_be_waited_for(self, service: Service, job: Job) -> None:
        assert service.wait_events(job.id, 1, 0.01) == []
        assert [event.seq for event in service.wait_events(job.id, 0, 0.01)] == [1]
        found: list[Any] = []
        reader = threading.Thread(target=lambda: found.extend(service.wait_events(job.id, 1, 60)))
        reader.start()
        service.cancel(job.id)
        reader.join(60)
        assert [event.data["state"] for event in found] == ["cancelled"]

    def test_listeners_are_told_until_they_are_not(self, service: Service, data: Dataset) -> None:
        heard: list[str] = []
        end = service.on_change(heard.append)
        job = service.submit(spec_for(data.id)).id
        assert set(heard) == {job}
        before = len(heard)
        service.pause(job)
        assert len(heard) > before
        end()
        end()
        before = len(heard)
        service.cancel(job)
        assert len(heard) == before

    def test_metrics_are_those_of_the_epochs_that_count(self, stage: Stage, job: Job) -> None:
        service = stage.service
        assert service.metrics(job.id).rows == ()
        stage.begin(job.id)
        stage.epochs(job.id, [row(1), row(2)])
        stage.epochs(job.id, [row(3)])
        assert service.get_job(job.id).epoch == 3
        assert service.metrics(job.id).rows == (row(1), row(2), row(3))
        stage.epochs(job.id, [row(2, train_loss=9.0)])  # it went back, and trained that again
        assert service.metrics(job.id).rows == (row(1), row(2, train_loss=9.0))

    def test_metrics_come_in_pages_or_thinned(self, stage: Stage, job: Job) -> None:
        service = stage.service
        stage.begin(job.id)
        stage.epochs(job.id, [row(n) for n in range(1, 51)])
        page = service.metrics(job.id, after=10, limit=3)
        assert ([r["epoch"] for r in page.rows], page.has_more) == ([11, 12, 13], True)
        assert page.last_event == service.events(job.id)[-1].seq
        rest = service.metrics(job.id, after=47, limit=3)
        assert ([r["epoch"] for r in rest.rows], rest.has_more) == ([48, 49, 50], False)
        thinned = [r["epoch"] for r in service.metrics(job.id, points=10).rows]
        assert thinned == [1, 8, 16, 24, 32, 40, 48, 50]

    def test_a_failure_is_told(self, stage: Stage, job: Job) -> None:
        stage.begin(job.id)
        stage.fail(job.id, "data", "row 3 is wrong.")
        found = stage.service.get_job(job.id)
        assert (found.error, found.error_kind) == ("row 3 is wrong.", "data")
        assert found.finished is not None
        last = stage.service.events(job.id)[-1].data
        assert (last["state"], last["error"]) == ("failed", "row 3 is wrong.")

    def test_two_checkpoints_newest_first_until_the_end(self, stage: Stage, job: Job) -> None:
        stage.begin(job.id)
        for epoch in (1, 2, 3):
            stage.checkpoint(job.id, epoch)
        kept = stage.service.checkpoints(job.id)
        assert [info.epoch for info in kept] == [3, 2]
        stage.service.cancel(job.id)
        assert stage.service.checkpoints(job.id) == []


class TestModels:
    def made(self, stage: Stage, mlp: MLP) -> tuple[str, str]:
        """A job and its model."""
        job = stage.service.submit(spec_for(add(stage.service).id, name="mine"), owner="eve").id
        stage.begin(job)
        return job, stage.succeed(job, "epoch 12", mlp, INPUTS)

    def test_come_with_the_end_of_their_jobs(self, stage: Stage, mlp: MLP) -> None:
        job, model_id = self.made(stage, mlp)
        ended, model = stage.service.get_job(job), stage.service.get_model(model_id)
        assert (ended.state, ended.model_id, ended.stop_reason) == (
            S.SUCCEEDED, model_id, "epoch 12",
        )  # fmt: skip
        assert (model.name, model.job_id, model.dataset_id) == ("mine", job, ended.dataset_id)
        assert model.owner == ended.owner == "eve"
        assert (model.task, [tuple(pair) for pair in model.inputs]) == ("regression", INPUTS)

    def test_are_files(self, stage: Stage, mlp: MLP) -> None:
        _, model_id = self.made(stage, mlp)
        path = stage.service.model_path(model_id)
        assert np.array_equal(MLP.load(path).get_flat(), mlp.get_flat())
        loaded = stage.service.load_model(model_id)
        assert loaded is not stage.service.load_model(model_id)
        assert np.array_equal(loaded.get_flat(), mlp.get_flat())
        path.unlink()
        for call in (stage.service.model_path, stage.service.load_model):
            with pytest.raises(NotFoundError, match="gone"):
                call(model_id)

    def test_newest_first_in_pages(self, stage: Stage, mlp: MLP) -> None:
        service = stage.service
        assert_paged(service.list_models, [self.made(stage, mlp)[1] for _ in range(5)])
        for short in service.list_models().items:
            assert short == ModelSummary.of(service.get_model(short.id))

    def test_deleted(self, stage: Stage, mlp: MLP) -> None:
        service = stage.service
        job, model_id = self.made(stage, mlp)
        path = service.model_path(model_id)
        service.delete_model(model_id)
        assert not path.exists()
        assert service.get_job(job).model_id is None
        for call in (
            service.get_model, service.delete_model, service.model_path, service.load_model,
        ):  # fmt: skip
            with pytest.raises(NotFoundError, match="model"):
                call(model_id)


def test_tokens(service: Service) -> None:
    (first, secret), (second, other) = (service.create_token(label) for label in ("a", "b"))
    assert secret != other
    assert [token.label for token in service.list_tokens()] == ["a", "b"]
    found = service.verify_token(secret)
    assert found is not None
    assert found.id == first.id
    assert service.verify_token("nobody's") is None
    assert (service.find_token(second.id), service.find_token(NOBODY)) == (second, None)
    digests = [hashlib.sha256(s.encode()).hexdigest() for s in (secret, other)]
    assert service.token_hashes() == set(digests)
    service.delete_token(first.id)
    assert service.verify_token(secret) is None
    assert service.find_token(first.id) is None
    assert service.token_hashes() == {digests[1]}
    assert [token.id for token in service.list_tokens()] == [second.id]
    with pytest.raises(NotFoundError, match="token"):
        service.delete_token(first.id)


def test_health_counts_jobs_by_state(stage: Stage, data: Dataset) -> None:
    service = stage.service
    jobs = [service.submit(spec_for(data.id)).id for _ in range(3)]
    service.pause(jobs[0])
    stage.begin(jobs[1])
    health = service.health()
    assert health.ready
    assert health.reasons == ()
    assert health.cores == 2
    assert health.disk_free > 0
    expected = {"queued": 1, "paused": 1, "running": 1}
    assert health.jobs == {state.value: expected.get(state.value, 0) for state in JobState}


def test_specs_come_back_as_they_were(service: Service, data: Dataset) -> None:
    spec = JobSpec.model_validate(
        {"dataset_id": data.id, "target": ["price"], "columns": ["size", 1], "validation": 0.125}
    )
    assert service.get_job(service.submit(spec).id).spec == spec

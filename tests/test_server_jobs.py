"""Jobs in child processes: states, limits, crashes, recovery."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("sqlalchemy")

from server_jobs import (
    add,
    add_table,
    end_all,
    finished,
    make_settings,
    make_table,
    running,
    spec_for,
    until,
    weights,
    write_by_the_clock,
)

from nbmlp.data import Dataset, Given, Table
from nbmlp.mlp import MLP
from nbmlp.server.jobs.places import checkpoints_in
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import (
    ConflictError,
    EventKind,
    Job,
    JobState,
    KeyReusedError,
    NotFoundError,
    QueueFullError,
)
from nbmlp.server.service import LocalService
from nbmlp.tabular.recipe import PRESETS
from nbmlp.train.standard import EarlyStopping

LONG = {"epochs": 100_000}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with running(tmp_path_factory.mktemp("jobs") / "data") as service:
        yield service


@pytest.fixture
def service(started: LocalService) -> Iterator[LocalService]:
    """Without jobs that another test has left."""
    yield started
    end_all(started)


@pytest.fixture
def timely(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """Jobs write checkpoints now and then, also within epochs."""
    write_by_the_clock(service, monkeypatch)
    return service


@pytest.fixture(scope="module")
def undisturbed(started: LocalService) -> Job:
    """A job whose weights others are to end with, whatever happens to them."""
    spec = spec_for(add_table(started), early_stopping={"patience": 20}, model={"epochs": 20})
    return finished(started, started.submit(spec).id)


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Ask the processes to come for one fault; gives the file that tells of it."""

    def ask(fault: str) -> Path:
        monkeypatch.setenv("NBMLP_FAULT", fault)
        monkeypatch.setenv("NBMLP_FAULT_MARK", str(tmp_path / "mark"))
        return tmp_path / "mark"

    return ask


def process_of(service: LocalService, job_id: str) -> psutil.Process:
    def found() -> Any:
        row = service._jobs.row(job_id)
        return row["pid"] if row["epoch"] >= 2 else None

    return psutil.Process(until(found))


def states(service: LocalService, job_id: str) -> list[str]:
    return [e.data["state"] for e in service.events(job_id) if e.kind is EventKind.STATE]


def texts(service: LocalService, job_id: str) -> list[str]:
    events = service.events(job_id, limit=10_000)
    return [e.data["text"] for e in events if e.kind is EventKind.MESSAGE]


def test_a_job_gives_the_weights_of_the_same_fit_here(service: LocalService) -> None:
    dataset_id = add_table(service)
    early = {"patience": 4}
    spec = spec_for(dataset_id, test=0.2, early_stopping=early, model={"epochs": 30})
    job = finished(service, service.submit(spec).id)
    assert job.state is JobState.SUCCEEDED, job.error
    table = make_table()
    X = {"size": table["size"], "town": table["town"]}
    rest, test = Given.of(X, table["price"]).set_aside(0.2, 3, False)
    model = MLP(hidden=8, dropout=0.2, seed=3, epochs=30)
    model.fit(rest.X, rest.y, validation=0.1, callbacks=[EarlyStopping(patience=4)])
    assert np.array_equal(weights(service, job), model.get_flat())
    stored = service.get_model(job.model_id)
    assert stored.inputs == (("size", "number"), ("town", "text"))
    assert stored.evaluation["rows"] == "test"
    assert stored.evaluation["r2"] == pytest.approx(model.evaluate(test.X, test.y)["r2"])
    assert len(stored.evaluation["residuals"]) == 60
    rows = [r["epoch"] for r in service.metrics(job.id).rows]
    assert rows == list(range(1, job.epoch + 1))
    assert job.best_epoch == model.history.best_epoch
    assert states(service, job.id) == ["queued", "compiling", "running", "succeeded"]
    raw = {"size": [100.0, np.nan], "town": ["Ulm", "elsewhere"]}
    loaded = service.load_model(job.model_id)
    assert np.allclose(loaded.predict(raw), model.predict(raw))
    assert loaded.train_spec.threads == 1
    until(lambda: not list((service._files.root / "jobs").iterdir()))


def test_classes_have_a_confusion_matrix(service: LocalService) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)).astype(np.float32)
    dataset_id = add(service, Dataset(X, (X[:, 0] > 0).astype(np.int64)))
    job = finished(service, service.submit(spec_for(dataset_id, target=None)).id)
    model = service.get_model(job.model_id)
    assert model.classes == ("0", "1")
    assert np.sum(model.evaluation["confusion"]) == model.evaluation["count"] == 20
    assert sum(rows for _, _, rows in model.evaluation["calibration"]) == 20
    worth = model.evaluation["importance"]["columns"]
    assert {name for name, _, _ in worth} == {"x0", "x1", "x2", "x3"}
    assert [lost for _, lost, _ in worth] == sorted((lost for _, lost, _ in worth), reverse=True)
    assert job.score_name == "accuracy"


def test_a_killed_worker_ends_with_the_same_bits(
    service: LocalService, undisturbed: Job, fault: Callable[[str], Path]
) -> None:
    """While a checkpoint takes the place of the one before; tests/soak kills anywhere."""
    mark = fault("worker.rename:4:kill")
    job = finished(service, service.submit(undisturbed.spec).id)
    assert mark.exists()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert np.array_equal(weights(service, job), weights(service, undisturbed))
    told = [e.data.get("message", "") for e in service.events(job.id)]
    assert "interrupted, resuming from epoch 3" in told
    assert [r["epoch"] for r in service.metrics(job.id).rows] == list(range(1, 21))


def test_a_checkpoint_that_cannot_be_written(
    service: LocalService, fault: Callable[[str], Path]
) -> None:
    """For want of space it would wait: test_server_lasting.py."""
    fault("worker.fsync:3:eio")
    job = finished(service, service.submit(spec_for(add_table(service))).id)
    # The attempt is over, not the job.
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    said = [e.data.get("message", "") for e in service.events(job.id)]
    assert "interrupted, resuming from epoch 2" in said


def test_a_server_that_was_killed_leaves_no_orphan_and_its_jobs_go_on(
    started: LocalService, undisturbed: Job, tmp_path: Path, fault: Callable[[str], Path]
) -> None:
    """Its process is in the middle of a training that it does not go on with by itself."""
    first = LocalService(make_settings(tmp_path / "data"))
    first.start()
    spec = undisturbed.spec.model_copy(update={"dataset_id": add_table(first)})
    mark = fault("worker.epoch:5:hang")
    job = first.submit(spec)
    process = process_of(first, job.id)
    until(mark.exists)
    # As after a crash: the executor's thread is gone, its processes are not.
    first._executor._closing = True
    first._executor._thread.join()
    first._database.close()
    first._files.close()
    with running(tmp_path / "data") as second:
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
        done = finished(second, job.id)
        assert done.state is JobState.SUCCEEDED
        assert done.attempt == 2
        assert np.array_equal(weights(second, done), weights(started, undisturbed))
    first._executor._attempts[job.id].process.wait()


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(timely: LocalService) -> None:
    dataset_id = add_table(timely)
    spec = spec_for(dataset_id, model=LONG)
    job = timely.submit(spec)
    until(lambda: len(timely.checkpoints(job.id)) == 2)
    timely.pause(job.id)
    until(lambda: timely.get_job(job.id).state is JobState.PAUSED)
    newest, before = checkpoints_in(timely._files.job(job.id))
    assert [c.epoch for c in timely.checkpoints(job.id)] == [
        int(newest.stem[-9:]), int(before.stem[-9:]),
    ]  # fmt: skip
    raw = bytearray(newest.read_bytes())
    raw[-3] ^= 4
    newest.write_bytes(raw)
    timely.resume(job.id)
    until(lambda: len(texts(timely, job.id)) >= 2)
    assert "is damaged" in texts(timely, job.id)[0]
    assert texts(timely, job.id)[1] == f"resumed from epoch {int(before.stem[-9:])}"
    timely.cancel(job.id)


def test_pause_resume_stop_cancel(timely: LocalService) -> None:
    dataset_id = add_table(timely)
    job = timely.submit(spec_for(dataset_id, model=LONG))
    with pytest.raises(ConflictError):
        timely.resume(job.id)
    process = process_of(timely, job.id)
    promises = timely._files._promises
    until(lambda: promises.open() > 0)  # the next checkpoint's
    timely.pause(job.id)
    paused = until(lambda: (j := timely.get_job(job.id)).state is JobState.PAUSED and j)
    assert paused.message.startswith("paused after epoch")
    until(lambda: not process.is_running())
    until(lambda: promises.open() == 0)
    assert timely.resume(job.id).state in (JobState.QUEUED, JobState.COMPILING)
    until(lambda: timely.get_job(job.id).epoch > paused.epoch)
    timely.stop(job.id)
    stopped = finished(timely, job.id)
    assert (stopped.state, stopped.stop_reason) == (JobState.SUCCEEDED, "stopped")
    assert len(timely.load_model(stopped.model_id).history) == stopped.epoch
    for act in (timely.cancel, timely.pause, timely.resume, timely.stop):
        with pytest.raises(ConflictError):
            act(job.id)
    other = timely.submit(spec_for(dataset_id, model=LONG))
    process = process_of(timely, other.id)
    assert timely.cancel(other.id).state is JobState.CANCELLED
    until(lambda: not process.is_running())
    until(lambda: not list((timely._files.root / "jobs").iterdir()))
    assert states(timely, other.id)[-1] == "cancelled"


def test_a_paused_job_that_is_stopped_hands_over_its_checkpoint(timely: LocalService) -> None:
    job = timely.submit(spec_for(add_table(timely), model=LONG))
    process_of(timely, job.id)
    timely.pause(job.id)
    paused = until(lambda: (j := timely.get_job(job.id)).state is JobState.PAUSED and j)
    timely.stop(job.id)
    done = finished(timely, job.id)
    assert done.state is JobState.SUCCEEDED
    assert done.epoch == paused.epoch == len(timely.load_model(done.model_id).history)


def test_cores_are_never_exceeded_and_nobody_overtakes(tmp_path: Path) -> None:
    service = LocalService(make_settings(tmp_path / "data", max_queued=3, checkpoint_seconds=1e-3))
    dataset_id = add_table(service)
    wide = service.submit(spec_for(dataset_id, threads=2, model=LONG))
    narrow = service.submit(spec_for(dataset_id, model=LONG))
    first = service.submit(spec_for(dataset_id, priority=5, model=LONG))
    places = {j.id: j.queue_place for j in service.list_jobs().items}
    assert places == {first.id: 1, wide.id: 2, narrow.id: 3}
    with pytest.raises(QueueFullError):
        service.submit(spec_for(dataset_id))
    service.start()
    try:
        process_of(service, first.id)
        assert service.health().cores_used == 1
        assert service.get_job(wide.id).state is JobState.QUEUED
        assert service.get_job(narrow.id).state is JobState.QUEUED
        service.cancel(first.id)
        process_of(service, wide.id)
        assert service.health().cores_used == 2
        assert service.get_job(narrow.id).queue_place == 1
    finally:
        service.close()


def test_limits_end_a_job_and_say_which(service: LocalService) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 200)).astype(np.float32)
    data = add(service, Dataset(X, X[:, 0] * 2.0))
    slow = {"epochs": 100_000, "hidden": [300]}
    wanted = {
        "time": {"limits": {"wall_seconds": 1}, "model": slow},
        "cpu_time": {"limits": {"cpu_seconds": 1}, "model": slow},
        "out_of_memory": {
            "limits": {"memory_mb": 256},
            "model": {"hidden": [16384, 16384], "batch_size": None},
        },
    }
    jobs = {k: service.submit(spec_for(data, target=None, **v)).id for k, v in wanted.items()}
    for kind, job_id in jobs.items():
        job = finished(service, job_id)
        assert (job.state, job.error_kind) == (JobState.FAILED, kind), job.error
        assert job.model_id is None
    assert "256 MB" in service.get_job(jobs["out_of_memory"]).error


def test_files_that_outgrow_the_disk_limit_fail_the_job(tmp_path: Path) -> None:
    with running(tmp_path / "data", job_disk_mb=1) as service:
        job = service.submit(spec_for(add_table(service), model={"hidden": [300, 300]}))
        job = finished(service, job.id)
        assert (job.state, job.error_kind) == (JobState.FAILED, "no_space")
        assert service.health().ready


def test_a_job_that_fails_on_nan_is_diagnosed(service: LocalService) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    X[7, 2] = np.nan
    data = add(service, Dataset(X, np.sin(X[:, 0])))
    plain = {"model": {"standardise": False}, "diagnose": True}  # else gaps are filled
    job = finished(service, service.submit(spec_for(data, target=None, **plain)).id)
    assert (job.state, job.error_kind) == (JobState.FAILED, "non_finite")
    assert "row 7" in job.error
    found = [e for e in service.events(job.id) if e.kind is EventKind.DIAGNOSIS]
    assert len(found) == 1
    assert found[0].data["report"]["findings"][0]["cause"] == "nonfinite_inputs"
    assert "on_nonfinite" in found[0].data["text"]


def test_wrong_data_and_wrong_columns(service: LocalService) -> None:
    dataset_id = add_table(service)
    from nbmlp.errors import DataError

    with pytest.raises(DataError, match="did you mean 'price'"):
        service.submit(spec_for(dataset_id, target="prize"))
    text = finished(
        service,
        service.submit(spec_for(dataset_id, target="town", model={"task": "regression"})).id,
    )
    assert (text.state, text.error_kind) == (JobState.FAILED, "data")
    with pytest.raises(NotFoundError):
        service.get_job("0" * 26)


def test_idempotency_keys(service: LocalService) -> None:
    dataset_id = add_table(service)
    spec = spec_for(dataset_id, model={"epochs": 1})
    first = service.submit(spec, "k")
    assert service.submit(spec, "k").id == first.id
    with pytest.raises(KeyReusedError):
        service.submit(spec_for(dataset_id, model={"epochs": 2}), "k")
    assert [j.id for j in service.list_jobs().items if j.dataset_id == dataset_id] == [first.id]
    finished(service, first.id)
    assert service.submit(spec, "k").id == first.id


def test_events_are_waited_for_and_listened_to(service: LocalService) -> None:
    dataset_id = add_table(service)
    heard: list[str] = []
    end = service.on_change(heard.append)
    job = service.submit(spec_for(dataset_id))
    seen, after = [], 0
    while not seen or seen[-1].data.get("state") != "succeeded":
        new = service.wait_events(job.id, after, 30.0)
        assert [e.seq for e in new] == list(range(after + 1, after + 1 + len(new)))
        seen, after = [*seen, *new], after + len(new)
    assert set(heard) == {job.id}
    end()
    assert service.wait_events(job.id, after, 0.01) == []


def test_a_worker_does_not_see_the_servers_secrets(
    timely: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBMLP_TOKEN", "secret")
    job = timely.submit(spec_for(add_table(timely), model=LONG))
    process = process_of(timely, job.id)
    assert "NBMLP_TOKEN" not in process.environ()
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)


def test_a_worker_loads_what_training_needs() -> None:
    """Everything else is time before each job."""
    program = (
        "import sys, nbmlp.server.jobs.worker, nbmlp.server.jobs.training\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), 'scipy.sparse' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    loaded, sparse = done.stdout.decode().rsplit(" ", 1)
    assert sparse == "False\n"
    assert "numba" in loaded
    for heavy in (
        "sqlalchemy", "alembic", "fastapi", "pydantic", "sklearn", "polars", "pandas", "matplotlib",
    ):  # fmt: skip
        assert f"'{heavy}'" not in loaded


def test_the_data_folder_belongs_to_one_server(service: LocalService) -> None:
    from nbmlp.server.ports import ServiceError

    with pytest.raises(ServiceError, match="another server"):
        LocalService(make_settings(service._files.root))


#: With epochs of more rows than the first look at what users want: there is one within each.
LOOKED_INTO = {"epochs": 2, "batch_size": 1, "hidden": [200, 200]}
ROWS = 4000


@pytest.fixture(scope="module")
def of_long_epochs(started: LocalService) -> Job:
    """Undisturbed."""
    spec = spec_for(add_table(started, ROWS), model=LOOKED_INTO)
    return finished(started, started.submit(spec).id)


def submit_and(service: LocalService, spec: JobSpec, act: Callable[[str], Job]) -> Job:
    """Ask for something as soon as a job has a process: it hears of it in its first epoch."""

    def listen(job_id: str) -> None:
        if service.get_job(job_id).state is JobState.COMPILING:
            end()
            act(job_id)

    end = service.on_change(listen)
    return service.submit(spec)


def test_a_worker_killed_within_an_epoch_ends_with_the_same_bits(
    timely: LocalService, of_long_epochs: Job, fault: Callable[[str], Path]
) -> None:
    fault("worker.checkpoint:1:kill")
    done = finished(timely, timely.submit(of_long_epochs.spec).id)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    assert np.array_equal(weights(timely, done), weights(timely, of_long_epochs))
    assert [r["train_loss"] for r in timely.metrics(done.id).rows] == [
        r["train_loss"] for r in timely.metrics(of_long_epochs.id).rows
    ]
    told = [e.data.get("message", "") for e in timely.events(done.id)]
    assert any(re.fullmatch(r"interrupted, resuming from row \d+ of epoch 1", t) for t in told)
    assert any(re.fullmatch(r"resumed from row \d+ of epoch 1", t) for t in texts(timely, done.id))


def test_pause_and_stop_do_not_wait_for_the_end_of_an_epoch(
    timely: LocalService, of_long_epochs: Job
) -> None:
    spec = of_long_epochs.spec
    job = submit_and(timely, spec, timely.pause)
    paused = until(lambda: (j := timely.get_job(job.id)).state is JobState.PAUSED and j)
    assert re.fullmatch(r"paused after row \d+ of epoch 1", paused.message)
    assert paused.epoch == 0
    assert [c.epoch for c in timely.checkpoints(job.id)] == [0]
    timely.resume(job.id)
    assert np.array_equal(
        weights(timely, finished(timely, job.id)), weights(timely, of_long_epochs)
    )
    stopped = finished(timely, submit_and(timely, spec, timely.stop).id)
    assert (stopped.state, stopped.stop_reason, stopped.epoch) == (
        JobState.SUCCEEDED, "stopped", 0,
    )  # fmt: skip
    model = timely.load_model(stopped.model_id)
    assert len(model.history) == 0
    assert 0 < model.net.state.step < ROWS


def test_a_job_paused_in_its_first_epoch_hands_over_its_checkpoint(
    timely: LocalService, of_long_epochs: Job
) -> None:
    job = submit_and(timely, of_long_epochs.spec, timely.pause)
    until(lambda: timely.get_job(job.id).state is JobState.PAUSED)
    timely.stop(job.id)
    done = finished(timely, job.id)
    assert (done.state, done.stop_reason) == (JobState.SUCCEEDED, "stopped")


# -- ensembles


def of_many(dataset_id: str, **changes: Any) -> JobSpec:
    values = {"dataset_id": dataset_id, "target": "price", "preset": "fast", "model": {"seed": 3}}
    return JobSpec.model_validate(values | changes)


@pytest.fixture(scope="module")
def ensemble(started: LocalService) -> Job:
    """Of three nets, whose weights others are to end with."""
    return finished(started, started.submit(of_many(add_table(started), n_members=3)).id)


def own_epochs(rows: Iterable[dict[str, Any]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row["net"], []).append(row["net_epoch"])
    return found


def nets(service: LocalService, job: Job) -> list[np.ndarray]:
    assert job.model_id is not None
    return [kept.state.theta.copy() for kept in service.load_model(job.model_id).kept]


def test_a_preset_trains_an_ensemble(service: LocalService, ensemble: Job) -> None:
    assert (ensemble.state, ensemble.stop_reason) == (JobState.SUCCEEDED, "epochs done")
    rows = service.metrics(ensemble.id).rows
    assert [r["epoch"] for r in rows] == list(range(1, ensemble.epoch + 1))
    assert ensemble.epochs == ensemble.epoch == 3 * 64
    assert own_epochs(rows) == {net: [*range(1, 65)] for net in range(3)}
    model = service.get_model(ensemble.model_id)
    found = model.evaluation
    assert (found["rows"], found["count"], model.targets) == ("validation", 60, ("price",))
    assert found["r2"] > 0.9
    assert len(found["residuals"]) == 60
    worth = found["importance"]["columns"]
    assert [name for name, _, _ in worth] == ["size", "town"]
    assert worth[0][1] > worth[1][1] > 0.01
    told = found["members"]
    assert (told["score"], told["total"]) == (ensemble.score_name, 3)
    assert sum(net["weight"] for net in told["nets"]) == pytest.approx(1.0)
    assert dict(model.inputs) == {"size": "number", "town": "text"}
    loaded = service.load_model(model.id)
    assert loaded.notes["job"]["job"] == ensemble.id
    assert len(loaded.kept) == sum(net["weight"] > 0 for net in told["nets"])


def test_an_ensemble_of_classes_has_a_threshold_of_its_own(service: LocalService) -> None:
    table = make_table(200)
    dear = np.where((table["price"] > 400) & (np.arange(200) % 3 == 0), "yes", "no")
    houses = {"size": table["size"], "town": table["town"]}
    model = {"seed": 3, "tune_threshold": "f1"}
    data_id = add(service, Dataset(Table(houses | {"dear": dear})))
    spec = of_many(data_id, target="dear", model=model)
    job = finished(service, service.submit(spec).id)
    assert job.state is JobState.SUCCEEDED, job.error
    found = service.load_model(job.model_id)
    assert found.threshold != 0.5
    assert EventKind.DIAGNOSIS not in {e.kind for e in service.events(job.id)}
    p = found.predict_proba(Table(houses))[:, 1]
    assert np.array_equal(found.predict(Table(houses)) == "yes", p > found.threshold)


def test_an_ensemble_that_comes_to_nothing_is_diagnosed(service: LocalService) -> None:
    rng = np.random.default_rng(0)
    noise = {"size": rng.normal(size=200), "town": rng.choice(["Bonn", "Ulm"], 200)}
    label = rng.permutation(np.where(np.arange(200) < 16, "rare", "usual"))
    data_id = add(service, Dataset(Table(noise | {"label": label})))
    spec = of_many(data_id, target="label", preset="default", n_members=2)
    job = finished(service, service.submit(spec).id)
    assert job.state is JobState.SUCCEEDED, job.error
    said = texts(service, job.id)
    assert any(text.startswith("2 nets: ") for text in said)
    assert any("'rare' has 3 of 40 held-out rows and is never predicted" in text for text in said)
    told = service.last_event(job.id, EventKind.DIAGNOSIS)
    assert told is not None
    assert re.match(r"Net \d by itself: ", told.data["text"])
    assert told.data["report"]["summary"]["rows"] == 200
    told = service.get_model(job.model_id).evaluation["members"]
    members, remarks = told["nets"], told["remarks"]
    assert set(remarks) <= set(said)
    assert len(remarks) == 2
    assert job.lagged == tuple(n["net"] for n in members if n["ended"].startswith("lagged"))
    assert len(job.lagged) == 1


def test_a_killed_worker_of_an_ensemble_ends_with_the_same_bits(
    service: LocalService, ensemble: Job, fault: Callable[[str], Path]
) -> None:
    mark = fault("worker.rename:4:kill")
    job = finished(service, service.submit(ensemble.spec).id)
    assert mark.exists()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert any(text.startswith("resumed from epoch") for text in texts(service, job.id))
    both = zip(nets(service, job), nets(service, ensemble), strict=True)
    assert all(np.array_equal(a, b) for a, b in both)
    rows, whole = (service.metrics(one.id).rows for one in (job, ensemble))
    assert [r["epoch"] for r in rows] == list(range(1, job.epoch + 1))
    assert own_epochs(rows) == own_epochs(whole)
    best = rows[job.best_epoch - 1]
    assert best["val_score"] == job.best_score == min(r["val_score"] for r in rows)


def test_an_ensemble_is_paused_resumed_and_stopped(timely: LocalService) -> None:
    job = timely.submit(of_many(add_table(timely), n_members=40, test=0.2))
    process_of(timely, job.id)
    timely.pause(job.id)
    paused = until(lambda: (j := timely.get_job(job.id)).state is JobState.PAUSED and j)
    assert paused.message.startswith("paused after epoch")
    timely.resume(job.id)
    until(lambda: timely.get_job(job.id).epoch > paused.epoch)
    timely.stop(job.id)
    done = finished(timely, job.id)
    assert (done.state, done.stop_reason) == (JobState.SUCCEEDED, "stopped")
    assert done.epoch < 40 * 64
    measured = timely.get_model(done.model_id).evaluation
    assert measured["rows"] == "test"
    assert len(measured["importance"]["columns"]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"hidden": [3]}}, "model.hidden is said of one net"),
        ({"early_stopping": {}}, "early_stopping is said of one net"),
        ({"validation": 0.0}, "validation must be above 0"),
        ({"time_limit": 9, "limits": {"wall_seconds": 9}}, "time_limit must be below"),
        ({"preset": None, "n_members": 3}, "n_members is of an ensemble"),
        ({"preset": "slow"}, "'fast', 'default' or 'best'"),
    ],
)
def test_what_is_said_of_one_net_is_not_said_of_many(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        of_many("0" * 26, **changes)


def test_presets_of_jobs_are_those_of_tables() -> None:
    kinds = JobSpec.model_json_schema()["properties"]["preset"]["anyOf"]
    assert kinds[0]["enum"] == list(PRESETS)

"""Jobs that fail or learn nothing: what is said about them, from real causes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("sqlalchemy")

from server_jobs import add, end_all, finished, running, spec_for, until

from nbmlp.data import Dataset
from nbmlp.server.jobs.process import oom_kills
from nbmlp.server.ports import EventKind, Job, JobState
from nbmlp.server.service import LocalService


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    folder = tmp_path_factory.mktemp("data")
    with running(folder, diagnosis_seconds=30.0, checkpoint_seconds=1e-3) as service:
        yield service


@pytest.fixture
def service(started: LocalService) -> Iterator[LocalService]:
    """Without jobs that another test has left."""
    yield started
    end_all(started)


def curve(service: LocalService, scale: float = 1.0) -> str:
    """Five columns, of which two count."""
    X = np.random.default_rng(0).normal(size=(400, 5))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 1]
    y -= y.mean()
    return add(service, Dataset((scale * X).astype(np.float32), y), f"curve {scale}")


def trained(service: LocalService, data: str, **changes: Any) -> Job:
    model = {"epochs": 8, "dropout": 0.0, "standardise": False} | changes.pop("model", {})
    spec = spec_for(data, target=None, model=model, **changes)
    return finished(service, service.submit(spec).id)


# -- memory


@pytest.mark.parametrize("units", [3400, 12_000])
def test_a_net_too_large_for_the_limit(service: LocalService, units: int) -> None:
    """All is there while it compiles, and too much when it begins to train; or it never is."""
    data = curve(service)
    limits = {"memory_mb": 256}
    model = {"hidden": [units, units], "epochs": 1}
    job = trained(service, data, limits=limits, model=model, threads=2)
    assert (job.state, job.error_kind) == (JobState.FAILED, "out_of_memory"), job.error
    assert job.error.startswith("out of memory: ")
    assert service.health().ready
    if units == 3400:  # so it is the net that is too large
        assert trained(service, data, limits=limits).state is JobState.SUCCEEDED


def test_rows_too_many_for_the_limit(service: LocalService) -> None:
    X = np.zeros((50_000, 800), np.float32)
    data = add(service, Dataset(X, X[:, 0]), "large")
    job = trained(service, data, limits={"memory_mb": 256})
    assert (job.state, job.error_kind) == (JobState.FAILED, "out_of_memory"), job.error
    assert "256 MB" in job.error


def test_of_two_processes_the_kernel_is_to_end_the_jobs(service: LocalService) -> None:
    job = service.submit(spec_for(curve(service), target=None, model={"epochs": 100_000}))
    until(lambda: service.get_job(job.id).epoch)
    score = Path(f"/proc/{service._jobs.row(job.id)['pid']}/oom_score_adj").read_text()
    assert int(score) > int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize("counted", [True, False])
def test_who_was_killed_by_the_kernel_was_out_of_memory(
    service: LocalService, counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal is real, the kernel's count of such cases is not: that takes a machine."""
    job = service.submit(spec_for(curve(service), target=None, model={"epochs": 100_000}))
    until(lambda: service.get_job(job.id).epoch > 1)
    kills = oom_kills() + counted
    monkeypatch.setattr("nbmlp.server.jobs.attempt.oom_kills", lambda: kills)
    psutil.Process(service._jobs.row(job.id)["pid"]).send_signal(signal.SIGKILL)
    until(lambda: service.get_job(job.id).state is not JobState.RUNNING)
    if counted:
        failed = finished(service, job.id)
        assert (failed.state, failed.error_kind) == (JobState.FAILED, "out_of_memory")
    else:
        until(lambda: service.get_job(job.id).attempt == 2)


def test_where_the_kernel_counts_what_it_has_killed(tmp_path: Path) -> None:
    assert oom_kills(tmp_path) == 0
    machine, group = tmp_path / "proc/vmstat", tmp_path / "sys/fs/cgroup/jobs/memory.events"
    for file in (machine, group):
        file.parent.mkdir(parents=True)
    machine.write_text("oom_kill 7\n")
    assert oom_kills(tmp_path) == 7
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/else\n0::/jobs\n")
    group.write_text("low 1\noom 3\noom_kill 2\n")
    assert oom_kills(tmp_path) == 2


# -- diagnosis


def causes(service: LocalService, job: Job) -> list[str]:
    """Of the one diagnosis that a job was given."""
    (told,) = [e.data for e in service.events(job.id) if e.kind is EventKind.DIAGNOSIS]
    found = [finding["cause"] for finding in told["report"]["findings"]]
    assert found[0] in told["text"]
    return found


def test_why_a_job_has_learned_nothing(service: LocalService) -> None:
    job = trained(service, curve(service), model={"learning_rate": 1e-7}, diagnose=True)
    assert job.state is JobState.SUCCEEDED, job.error
    assert "no better than a constant: its R² on the 40 validation rows is -" in job.remark
    texts = [e.data["text"] for e in service.events(job.id) if e.kind is EventKind.MESSAGE]
    assert texts[0] == "the training loss has hardly moved."
    assert causes(service, job)[0] == "learning_rate_low"


def test_why_a_job_has_failed(service: LocalService) -> None:
    """That of a rate too high is seen in the browser, too: test_server_browser.py."""
    model = {"learning_rate": 0.01, "optimizer": "sgd"}
    job = trained(service, curve(service, 1e4), model=model, diagnose=True)
    assert (job.state, job.error_kind) == (JobState.FAILED, "non_finite")
    assert causes(service, job)[0] == "unscaled_inputs"
    assert job.model_id is None


def test_a_net_that_always_says_the_same_is_no_plain_success(service: LocalService) -> None:
    """Its loss has fallen; what it says of unseen rows is what the most frequent class says."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 3)).astype(np.float32)
    rare = np.where(rng.random(300) < 0.2, "rare", "often")
    data = add(service, Dataset(noise, rare), "noise")
    job = trained(
        service, data, diagnose=True, test=0.3, validation=0.0,
        model={"epochs": 12, "learning_rate": 0.01, "l2": 0.05},
    )  # fmt: skip
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.model_id is not None
    found = service.get_model(job.model_id).evaluation
    share = max(map(sum, found["confusion"])) / found["count"]
    assert found["accuracy"] <= share
    assert job.remark == (
        f"no better than a constant: its accuracy on the 90 test rows is {found['accuracy']:.2%},"
        f" always answering 'often' reaches {share:.2%}."
    )
    assert [e for e in service.events(job.id) if e.kind is EventKind.DIAGNOSIS]
    last = service.events(job.id)[-1].data
    assert (last["state"], last["remark"]) == ("succeeded", job.remark)


def test_a_job_that_learns_is_not_diagnosed(service: LocalService) -> None:
    model = {"epochs": 40, "learning_rate": 0.01}
    job = trained(service, curve(service), model=model, diagnose=True)
    assert job.remark == ""
    assert [e for e in service.events(job.id) if e.kind is EventKind.DIAGNOSIS] == []

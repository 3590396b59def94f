"""Workers that no longer answer: native code keeps the interpreter's lock, no thread has a turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("sqlalchemy")

from server_jobs import add_table, end_all, finished, make_settings, running, spec_for

from nbmlp.server.jobs.process import birth, kill_orphan
from nbmlp.server.ports import JobState
from nbmlp.server.service import LocalService
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parent.parent
#: Holds the interpreter's lock for hours of CPU time.
ENDLESS = "import re; re.match('(a+)+b', 'a' * 64)"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with running(tmp_path_factory.mktemp("stuck") / "data") as service:
        yield service


@pytest.fixture
def service(started: LocalService) -> Iterator[LocalService]:
    """Without jobs that another test has left."""
    yield started
    end_all(started)


@pytest.fixture
def hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the first worker hang in its second epoch; the file exists once it does."""
    mark = tmp_path / "mark"
    monkeypatch.setenv("NBMLP_FAULT", "worker.epoch:2:hang")
    monkeypatch.setenv("NBMLP_FAULT_MARK", str(mark))
    return mark


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def group(pid: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and not gone(process):
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_a_stuck_worker_dies_with_its_server(tmp_path: Path, hang: Path) -> None:
    folder = tmp_path / "data"
    first = LocalService(make_settings(folder))
    job = first.submit(spec_for(add_table(first)))
    first.close()
    command = [sys.executable, "-m", "tests.soak.server_process", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        until(hang.exists)
        (worker,) = psutil.Process(server.pid).children()
        assert group(worker.pid) == [worker]
    finally:
        server.kill()
        server.wait()
    until(lambda: not group(worker.pid))
    with running(folder) as second:
        assert finished(second, job.id).state is JobState.SUCCEEDED


def test_a_stuck_worker_can_be_cancelled(service: LocalService, hang: Path) -> None:
    job = service.submit(spec_for(add_table(service)))
    until(hang.exists)
    worker = psutil.Process(service._jobs.row(job.id)["pid"])
    service.pause(job.id)  # is not heard
    assert not gone(worker)
    assert service.cancel(job.id).state is JobState.CANCELLED
    until(lambda: gone(worker))
    until(lambda: service.health().cores_used == 0)


@pytest.mark.parametrize(
    ("where", "kind"), [("numba/core/codegen.py", "out_of_memory"), ("", "crash")]
)
def test_what_is_said_of_a_stuck_worker(
    where: str,
    kind: str,
    service: LocalService,
    hang: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The timer's signal comes from here, so that nobody has to wait for it."""
    job = service.submit(spec_for(add_table(service)))
    until(hang.exists)
    (attempt,) = service._executor._attempts.values()
    if where:
        words = attempt.process.last_words
        monkeypatch.setattr(attempt.process, "last_words", lambda: words() + where)
    psutil.Process(attempt.process.pid).send_signal(signal.SIGPROF)
    failed = finished(service, job.id)
    assert (failed.state, failed.error_kind) == (JobState.FAILED, kind)
    assert failed.error.count(".") == 1
    assert "nbmlp/server/faults.py" in caplog.text


@pytest.mark.parametrize(("silent", "code"), [(ENDLESS, -signal.SIGPROF), ("busy()", 0)])
def test_who_falls_silent_for_long_says_where_and_dies(silent: str, code: int) -> None:
    """While Python code is busy just as long, other threads have their turn."""
    program = f"""
import threading, time
from nbmlp.server.jobs import limits

def beat():
    while True:
        limits.live_on(0)
        time.sleep(0.05)

def busy():
    end = time.process_time() + 1.5
    while time.process_time() < end:
        pass

limits._SILENCE = 1.0
limits.end_when_stuck()
threading.Thread(target=beat, daemon=True).start()
{silent}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE)
    assert ended.returncode == code
    assert (b"most recent call first" in ended.stderr) == (code != 0)


def test_there_is_more_memory_as_long_as_something_is_compiled() -> None:
    program = """
import mmap
from types import SimpleNamespace
from nbmlp.server.jobs.limits import Bounds

def refused(step):
    try:
        return step() and None
    except (MemoryError, OSError):
        return True

def take():
    return mmap.mmap(-1, 200 << 20)

bounds = Bounds(SimpleNamespace(memory_mb=64, cpu_seconds=60, largest_file=1 << 20))
block = take()
assert refused(bounds.narrow)
block.close()
assert not refused(bounds.narrow)
assert not bounds.before_last_words()  # what was used up to here counts no more
bounds.narrow()
assert refused(take)
bounds.widen()
assert not refused(take)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)


def test_who_starts_after_its_server_has_died_ends_at_once() -> None:
    program = "from nbmlp.server.jobs.limits import die_with; die_with(1 << 30); print('alive')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, start_new_session=True, timeout=PATIENCE,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


def test_an_orphan_is_known_by_its_birth() -> None:
    orphan = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reaper = threading.Thread(target=orphan.wait)
    reaper.start()
    born = birth(orphan.pid)
    assert not kill_orphan(orphan.pid, born - 1)
    assert kill_orphan(orphan.pid, born)
    reaper.join()
    assert orphan.returncode == -signal.SIGKILL
    assert not kill_orphan(orphan.pid, born)

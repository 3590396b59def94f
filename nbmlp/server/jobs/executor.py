"""LocalExecutor: starts waiting jobs as cores become free, and looks after their processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from nbmlp import tuning
from nbmlp.server.faults import reach
from nbmlp.server.files import DataFolder, new_id
from nbmlp.server.jobs.attempt import Attempt, interruption
from nbmlp.server.jobs.process import kill_orphan
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import ConflictError, JobState, Live, NoSpaceError, ServiceError
from nbmlp.server.settings import ServerSettings
from nbmlp.server.store.jobs import JobStore, StaleError

__all__ = ["LocalExecutor"]

log = logging.getLogger(__name__)
#: Seconds between two looks at the clock, and after a failure of the store.
_PERIOD, _PAUSE = 0.5, 0.25
_LONGEST_DELAY = 30.0


class LocalExecutor:
    """Jobs in child processes of this one.

    Parameters
    ----------
    jobs, files
        What they are told and where they write.
    settings : ServerSettings
    changed : callable
        Called with a job's id after anything about it has changed.

    Attributes
    ----------
    lock : RLock
        Held while a job changes hands; whoever wants a job to end takes it too.
    cores : int
        That jobs may use together.
    """

    def __init__(
        self,
        jobs: JobStore,
        files: DataFolder,
        settings: ServerSettings,
        changed: Callable[[str], None],
    ) -> None:
        self._jobs, self._files, self._settings, self._changed = jobs, files, settings, changed
        self.lock = threading.RLock()
        self.cores = settings.cores or tuning.available_threads()
        self._attempts: dict[str, Attempt] = {}
        self._delays: dict[str, float] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="nbmlp-executor", daemon=True)

    # -- life

    def start(self) -> None:
        """Take up what a former server left, then start jobs."""
        self.recover()
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Kill all processes; their jobs are interrupted."""
        self._closing = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self.lock:
            for attempt in self._attempts.values():
                attempt.abandon()
            for job_id, attempt in self._attempts.items():
                attempt.process.wait()
                self._interrupt(job_id, attempt.order.fence)
            self._attempts.clear()

    def recover(self) -> None:
        """End processes without a server; their jobs are interrupted; sweep what is left over."""
        for row in self._jobs.active():
            if row["pid"] is not None and kill_orphan(row["pid"], row["pid_started"]):
                log.warning("killed process %d, which a former server left", row["pid"])
            self._interrupt(row["id"], row["fence"])
        swept = self._files.sweep(*self._jobs.names_in_use())
        if swept:
            log.info("swept %d files and folders that nobody refers to", swept)

    def _interrupt(self, job_id: str, fence: int) -> None:
        row = self._jobs.row(job_id)
        paused = row["wish"] == "pause"
        state = JobState.PAUSED if paused else JobState.INTERRUPTED
        wish = "" if paused else row["wish"]
        with suppress(StaleError):
            self._jobs.finish(job_id, fence, state, interruption(self._files, job_id), wish=wish)

    def wake(self) -> None:
        """Look at the queue now."""
        with suppress(BlockingIOError):  # it is awake already
            os.write(self._wake_write, b"x")

    # -- what users want

    def live(self, job_id: str) -> Live | None:
        """How far a running job is."""
        attempt = self._attempts.get(job_id)
        return None if attempt is None else attempt.live

    @property
    def cores_used(self) -> int:
        """By processes that have not ended."""
        with self.lock:
            return sum(a.order.threads for a in self._attempts.values())

    def abandon(self, job_id: str) -> None:
        """A job was cancelled: end its process, if there is one, else remove what it has left."""
        with self.lock:
            if attempt := self._attempts.get(job_id):
                attempt.abandon()
            else:
                self._files.remove_job(job_id)
        self.wake()

    def tell(self, job_id: str, wish: str) -> None:
        """Pass a wish on to a job's process, if there is one."""
        with self.lock:
            if attempt := self._attempts.get(job_id):
                attempt.process.tell(wish)

    # -- the thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._wait()
                for attempt in list(self._attempts.values()):
                    self._advance(attempt)
                with self.lock:
                    self._start_waiting()
            except ServiceError as error:
                log.warning("no job is started now: %s", error)
                time.sleep(_PAUSE)
            except Exception:
                log.exception("the executor goes on after an error")
                time.sleep(_PAUSE)

    def _wait(self) -> None:
        """Until a process or a user wants something, or it is time to look at the clock."""
        said: list[Any] = [a.process.connection for a in self._attempts.values() if a.listening]
        if self._wake_read in wait([*said, self._wake_read], _PERIOD):
            os.read(self._wake_read, 4096)

    def _advance(self, attempt: Attempt) -> None:
        order = attempt.order
        try:
            with self.lock:
                changed = attempt.advance()
                if attempt.over:
                    del self._attempts[order.job_id]
                    self._clean_up(order)
        except NoSpaceError as error:
            self._files.drop_ballast()
            attempt.fail("no_space", str(error))
            return
        except ServiceError as error:  # locked: what was reported is not lost, but waits
            log.warning("job %s: reports wait: %s", order.job_id, error)
            time.sleep(_PAUSE)
            return
        except Exception:
            log.exception("job %s: its process is ended", order.job_id)
            attempt.give_up()
            return
        if changed:
            self._changed(order.job_id)

    def _clean_up(self, order: Order) -> None:
        row = self._jobs.row(order.job_id)
        if row["state"] in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
            self._delays.pop(order.job_id, None)
            self._files.remove_job(order.job_id)
        elif row["setbacks"] > 1:
            delay = min(_LONGEST_DELAY, 0.25 * 2.0 ** row["setbacks"])
            self._delays[order.job_id] = time.monotonic() + delay
        if row["model_id"] != order.model.stem:
            order.model.unlink(missing_ok=True)

    def _start_waiting(self) -> None:
        """In their order; nobody overtakes, so that wide jobs get their turn."""
        if self.cores_used >= self.cores:
            return  # without asking the store, at every report
        for row in self._jobs.waiting():
            if self._closing or row["threads"] > self.cores - self.cores_used:
                return
            if row["id"] in self._attempts or self._delays.get(row["id"], 0) > time.monotonic():
                continue
            with suppress(ConflictError):  # cancelled just now
                self._start(row)

    def _start(self, row: Any) -> None:
        job_id = row["id"]
        self._files.load_ballast()
        fence = self._jobs.begin(job_id)
        order, seconds = self._order(row, fence)
        reach("spawn")
        try:
            attempt = Attempt(
                self._jobs, self._files, order, time.monotonic() + seconds,
                self._settings.max_attempts,
            )  # fmt: skip
        except Exception as error:
            log.error("job %s: no process can be started: %s", job_id, error)
            self._interrupt(job_id, fence)
            self._delays[job_id] = time.monotonic() + _LONGEST_DELAY
            return
        self._attempts[job_id] = attempt
        reach("spawned")
        with suppress(ServiceError):  # without it an orphan ends by itself, only later
            self._jobs.report(
                job_id, fence, pid=attempt.process.pid, pid_started=attempt.process.started
            )
        self._changed(job_id)

    def _order(self, row: Any, fence: int) -> tuple[Order, float]:
        """What the process is told, and the wall time that is left to the job."""
        spec, s = JobSpec.model_validate(row["spec"]), self._settings
        limits = spec.limits
        wall = min(limits.wall_seconds or s.job_wall_seconds, s.job_wall_seconds)
        order = Order(
            job_id=row["id"], fence=fence, spec=spec, folder=self._files.job(row["id"]),
            data=self._files.dataset(row["data_sha256"]), model=self._files.model(new_id()),
            data_sha256=row["data_sha256"], threads=row["threads"], recorded=row["epoch"],
            wish=row["wish"], disk_mb=s.job_disk_mb, checkpoint_seconds=s.checkpoint_seconds,
            memory_mb=min(limits.memory_mb or s.job_memory_mb, s.job_memory_mb),
            cpu_seconds=min(limits.cpu_seconds or s.job_cpu_seconds, s.job_cpu_seconds),
            diagnosis_seconds=s.diagnosis_seconds,
        )  # fmt: skip
        return order, max(0.0, wall - row["used_seconds"])

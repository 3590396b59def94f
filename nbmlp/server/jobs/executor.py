"""LocalExecutor: starts waiting jobs as cores become free, and looks after their processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from nbmlp import tuning
from nbmlp.errors import NbmlpError
from nbmlp.server.faults import reach
from nbmlp.server.files import DataFolder
from nbmlp.server.jobs.attempt import Attempt
from nbmlp.server.jobs.orders import order_for, seconds_left
from nbmlp.server.jobs.pauses import WAITING_FOR_SPACE, Pauses
from nbmlp.server.jobs.places import checkpoints_in
from nbmlp.server.jobs.process import kill_orphan
from nbmlp.server.jobs.protocol import failure
from nbmlp.server.ports import (
    TERMINAL,
    ConflictError,
    Live,
    NoSpaceError,
    NotFoundError,
    ServiceError,
)
from nbmlp.server.settings import ServerSettings
from nbmlp.server.space import is_full
from nbmlp.server.store.jobs import JobStore
from nbmlp.server.store.reports import Reports, StaleError
from nbmlp.server.store.retention import Retention

__all__ = ["LocalExecutor"]

log = logging.getLogger(__name__)
#: Seconds between two looks at the clock, and after a failure of the store.
_PERIOD, _PAUSE = 0.5, 0.25
_LONGEST_DELAY = 30.0
#: Seconds between two looks for what is old enough to be forgotten.
_TIDY = 3600.0


class LocalExecutor:
    """Jobs in child processes of this one.

    Parameters
    ----------
    jobs, reports, retention, files
        What they are told, where they write, and for how long.
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
        reports: Reports,
        retention: Retention,
        files: DataFolder,
        settings: ServerSettings,
        changed: Callable[[str], None],
    ) -> None:
        self._jobs, self._reports, self._files = jobs, reports, files
        self._retention, self._tidied = retention, time.monotonic() - _TIDY
        self._settings, self._changed = settings, changed
        self._pauses = Pauses(jobs, reports, files, settings.max_attempts)
        self.lock = threading.RLock()
        self.cores = settings.cores or tuning.available_threads()
        self._attempts: dict[str, Attempt] = {}
        self._left: dict[str, Attempt] = {}  # over, but for what they leave behind
        self._delays: dict[str, float] = {}
        self._full = Counter[str]()  # times that a job met a full disk
        self._doubtful = False  # whether a job may count as working that has no process
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
                with suppress(StaleError):
                    self._pauses.interrupt(
                        job_id, attempt.order.fence, used_seconds=attempt.seconds
                    )
            self._attempts.clear()

    def recover(self) -> None:
        """End processes without a server; their jobs are interrupted; sweep what is left over."""
        for row in self._jobs.active():
            if row["pid"] is not None and kill_orphan(row["pid"], row["pid_started"]):
                log.warning("killed process %d, which a former server left", row["pid"])
            with suppress(StaleError):
                self._pauses.interrupt(row["id"], row["fence"])
        self._files.sweep(self._jobs.names_in_use()).log()

    def wake(self) -> None:
        """Look at the queue now."""
        with suppress(BlockingIOError):  # it is awake already
            os.write(self._wake_write, b"x")

    # -- what users want

    def now(self, job_id: str) -> tuple[Live | None, float] | None:
        """How far a running job is, and the seconds that it has run; None without a process."""
        attempt = self._attempts.get(job_id)
        return None if attempt is None else (attempt.live, attempt.seconds)

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
                self._forget(job_id)
                self._files.remove_job(job_id)
        self.wake()

    def settle(self, job_id: str) -> None:
        """A job that has ended is to be forgotten: so is its process, and what that leaves."""
        with self.lock:
            if attempt := self._attempts.get(job_id):
                attempt.abandon()
                attempt.process.wait()
                self._leave(attempt)
            self._clean_up()

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
                    self._clean_up()
                    self._find_lost()
                    self._start_waiting()
                self._tidy()
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
        """Take what a process has reported; whatever becomes of that, people are told."""
        changed = True
        try:
            with self.lock:
                if self._attempts.get(attempt.order.job_id) is attempt:
                    changed = attempt.advance()
                    self._files.expect(attempt.order.job_id, attempt.writes)
                    if attempt.over:
                        self._leave(attempt)
        except NoSpaceError as error:
            self._files.drop_ballast()
            with self.lock:  # who went on would take the space in which to write this down
                for each in self._attempts.values():
                    each.fill_up(str(error))
        except ServiceError as error:  # locked: what was reported is not lost, but waits
            log.warning("job %s: reports wait: %s", attempt.order.job_id, error)
            time.sleep(_PAUSE)
        except Exception:
            log.exception("job %s: its process is ended", attempt.order.job_id)
            self._drop(attempt)
        if changed:
            self._changed(attempt.order.job_id)

    def _drop(self, attempt: Attempt) -> None:
        """Nothing that a process says can be taken: it is lost, and its job set back."""
        with self.lock:
            self._doubtful = True
            attempt.abandon()
            attempt.process.wait()
            self._leave(attempt)

    def _leave(self, attempt: Attempt) -> None:
        del self._attempts[attempt.order.job_id]
        self._files.expect(attempt.order.job_id, 0)
        self._left[attempt.order.job_id] = attempt

    def _clean_up(self) -> None:
        """What attempts that are over have left behind; tried again if it cannot be done now."""
        for job_id, attempt in list(self._left.items()):
            try:
                self._clean_up_after(attempt)
            except NotFoundError:  # the job was deleted
                self._forget(job_id)
            except Exception as error:
                log.warning("job %s: cleaning up waits: %s", job_id, error)
                continue
            del self._left[job_id]

    def _clean_up_after(self, attempt: Attempt) -> None:
        job_id, model = attempt.order.job_id, attempt.order.model
        row = self._jobs.row(job_id)
        if row["state"] in TERMINAL:
            self._forget(job_id)
            self._files.remove_job(job_id)
        elif attempt.short_of_space:
            self._put_off(job_id)
        elif row["setbacks"] > 1:
            self._delay(job_id, row["setbacks"])
        if row["model_id"] != model.stem:
            model.unlink(missing_ok=True)

    def _delay(self, job_id: str, times: int) -> None:
        self._delays[job_id] = time.monotonic() + min(_LONGEST_DELAY, 0.25 * 2.0**times)

    def _put_off(self, job_id: str) -> None:
        """The disk was full: the next attempt may be soon, but is not to be made all the time."""
        self._full[job_id] += 1
        self._delay(job_id, min(self._full[job_id], 16))

    def _forget(self, job_id: str) -> None:
        self._delays.pop(job_id, None)
        self._full.pop(job_id, None)

    def _find_lost(self) -> None:
        """Jobs that count as working but have no process are set back.

        So whatever goes wrong while one is started or ends, it does not stay in that state.
        """
        if not self._doubtful:
            return
        for row in self._jobs.active():
            if row["id"] not in self._attempts:
                with suppress(StaleError):
                    self._pauses.set_back(row["id"], row["fence"], "the server lost its process")
                self._delay(row["id"], row["setbacks"] + 1)
                self._changed(row["id"])
        self._doubtful = False

    def _tidy(self) -> None:
        """Now and then, forget what is old."""
        if time.monotonic() < self._tidied + _TIDY:
            return
        now, day = time.time(), 86_400.0
        self._retention.forget_keys(now - day * self._settings.keys_days)
        if not self._retention.thin_events(now - day * self._settings.events_days):
            self._tidied = time.monotonic()

    # -- starting

    def _start_waiting(self) -> None:
        """In their order; nobody overtakes, so that wide jobs get their turn."""
        if self.cores_used >= self.cores:
            return  # without asking the store, at every report
        for row in self._jobs.waiting():
            if self._closing or row["threads"] > self.cores - self.cores_used:
                return
            busy = row["id"] in self._attempts or row["id"] in self._left
            if busy or self._delays.get(row["id"], 0) > time.monotonic():
                continue
            if not self._has_space(row):
                if self._full[row["id"]]:
                    continue  # others need less
                return
            with suppress(ConflictError):  # cancelled just now
                self._start(row)

    def _start(self, row: Any) -> None:
        job_id = row["id"]
        self._files.load_ballast()
        self._doubtful = True  # until it has a process, or it is written down why it has none
        waited = WAITING_FOR_SPACE in row["message"]
        fence = self._reports.begin(job_id, "" if waited else None)
        try:
            order = order_for(row, fence, self._files, self._settings)
            reach("spawn")
            attempt = Attempt(
                self._reports, self._pauses, order, row["used_seconds"],
                seconds_left(row, self._settings),
            )  # fmt: skip
        except Exception as error:
            log.exception("job %s: no process can be started", job_id)
            self._not_started(job_id, fence, error)
        else:
            self._attempts[job_id] = attempt
            reach("spawned")
            with suppress(ServiceError):  # without it an orphan ends by itself, only later
                self._reports.report(
                    job_id, fence, pid=attempt.process.pid, pid_started=attempt.process.started
                )
        self._doubtful = False
        self._changed(job_id)

    def _not_started(self, job_id: str, fence: int, error: Exception) -> None:
        """Why no process works at it: for ever, until there is space, or for a while."""
        if is_full(error):
            self._pauses.wait_for_space(job_id, fence, str(error))
            self._put_off(job_id)
        elif isinstance(error, OSError):
            reason = f"no process can be started: {error.strerror or error}"
            self._pauses.interrupt(job_id, fence, reason)
            self._delays[job_id] = time.monotonic() + _LONGEST_DELAY
        elif isinstance(error, NbmlpError):
            self._pauses.fail(job_id, fence, *failure(error))
            self._files.remove_job(job_id)
        else:
            self._pauses.set_back(job_id, fence, f"it cannot be started: {error!r}")
            self._delays[job_id] = time.monotonic() + _LONGEST_DELAY

    def _has_space(self, row: Any) -> bool:
        """Whether there is room for what a job writes; if not, it says that it waits for that.

        A job that met a full disk before needs as much as its last checkpoint again.
        """
        newest = checkpoints_in(self._files.job_place(row["id"]))[:1]
        wanted = sum(path.stat().st_size for path in newest) if self._full[row["id"]] else 0
        try:
            self._files.check_space(wanted, lately=True)
        except NoSpaceError as error:
            if WAITING_FOR_SPACE not in row["message"]:
                text = f"{row['state']}, {WAITING_FOR_SPACE}: {error}"
                self._jobs.say(row["id"], text)
                self._changed(row["id"])
            return False
        return True

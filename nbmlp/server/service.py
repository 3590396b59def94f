"""LocalService: all that the server can do on one machine, with SQLite and child processes."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nbmlp.server import faults
from nbmlp.server.files import DataFolder
from nbmlp.server.jobs.columns import check_columns
from nbmlp.server.jobs.executor import LocalExecutor
from nbmlp.server.jobs.places import checkpoints_in
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import (
    ACTIVE,
    TERMINAL,
    CheckpointInfo,
    ConflictError,
    Curve,
    Dataset,
    DatasetSummary,
    EventKind,
    Health,
    Job,
    JobEvent,
    JobState,
    Model,
    ModelSummary,
    NotFoundError,
    Page,
    ParsedDataset,
    ServiceError,
    Token,
)
from nbmlp.server.settings import ServerSettings
from nbmlp.server.store.catalog import Catalog
from nbmlp.server.store.database import Database
from nbmlp.server.store.jobs import WAITING, JobStore
from nbmlp.server.store.reports import Reports
from nbmlp.server.store.retention import Retention
from nbmlp.server.store.uses import Uses

if TYPE_CHECKING:
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = ["LocalService"]

log = logging.getLogger(__name__)

_MB = 1 << 20


class LocalService:
    """See :class:`nbmlp.server.ports.Service`.

    Parameters
    ----------
    settings : ServerSettings
    adopt : bool
        Take the data folder although it is not known to be a server's.

    Raises
    ------
    ServiceError
        The data folder or the database cannot be used.
    """

    def __init__(self, settings: ServerSettings, adopt: bool = False) -> None:
        faults.arm("server")
        self._files = DataFolder(
            settings.data_dir, settings.quota_mb * _MB, settings.reserve_mb * _MB, adopt
        )
        try:
            self._database = Database(self._files.database, settings.database_timeout)
            self._files.settle()
        except BaseException:
            self._files.close()
            raise
        self._settings = settings
        self._catalog, self._jobs = Catalog(self._database), JobStore(self._database)
        self._uses = Uses(self._catalog)
        self._reports = Reports(self._database)
        self._executor = LocalExecutor(
            self._jobs, self._reports, Retention(self._database), self._files, settings,
            self._tell_listeners,
        )  # fmt: skip
        self._listeners: list[Callable[[str], None]] = []
        self._news, self._changes = threading.Condition(), Counter[str]()
        self._keys: set[str] = set()
        self._content = threading.Lock()  # of the folder of data sets

    # -- life

    def start(self) -> None:
        """Recover what a crash left, then start jobs."""
        self._executor.start()
        self._uses.start()

    def close(self, seconds: float = 4.0) -> None:
        """Stop the workers at once; their jobs are interrupted and resume at the next start."""
        try:
            self._executor.close(seconds)
            self._uses.close()
        finally:
            self._database.close()
            self._files.close()

    def health(self) -> Health:
        """Whether the database answers and there is space."""
        reasons, counts = list[str](), dict.fromkeys(map(str, JobState), 0)
        try:
            counts = self._jobs.counts()
            self._files.check_space(lately=True)
        except ServiceError as error:
            reasons.append(str(error))
        return Health(
            not reasons, tuple(reasons), counts, self._executor.cores, self._executor.cores_used,
            self._files.free(), self._files.quarantined(),
        )  # fmt: skip

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(job_id)`, from another thread, whenever anything about a job changes."""
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def _tell_listeners(self, job_id: str) -> None:
        with self._news:
            self._changes[job_id] += 1
            self._news.notify_all()
        for listener in list(self._listeners):
            try:
                listener(job_id)
            except Exception:  # who did not listen well must not keep the others from hearing
                log.exception("a listener failed")

    # -- data sets

    def upload_path(self) -> Path:
        """A new name in the data folder, swept away at the next start unless added."""
        self._files.check_space()
        return self._files.upload()

    def promise_space(self, path: Path, size: int) -> None:
        """Let a file of `upload_path` have so many bytes in all; others are not given these."""
        self._files.promise(path, size)

    def discard_upload(self, path: Path) -> None:
        """The file is not needed, or has been added: remove it, and what it was promised."""
        self._files.discard(path)

    def add_dataset(self, parsed: ParsedDataset) -> Dataset:
        """Take a parsed file over; the same content is stored once."""
        size = parsed.path.stat().st_size
        self._files.check_space()
        with self._content:
            self._files.adopt(parsed.path, parsed.sha256)
            return self._catalog.add_dataset(parsed, size)

    def get_dataset(self, dataset_id: str) -> Dataset:
        """One data set, with preview."""
        return self._catalog.dataset(dataset_id)

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[DatasetSummary]:
        """Newest first, in short."""
        return self._catalog.datasets(after, limit)

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove it; ConflictError while a job that has not ended needs it."""
        with self._content:
            sha256, unused = self._catalog.delete_dataset(dataset_id)
            if unused:
                self._files.remove_dataset(sha256)

    # -- jobs

    def submit(self, spec: JobSpec, key: str | None = None, owner: str = "") -> Job:
        """Queue a job; the same idempotency key and body give the same job again."""
        if key is None:
            return self._submit(spec, None, owner)
        with self._news:
            if key in self._keys:
                raise ConflictError("a request with this Idempotency-Key is being worked on.")
            self._keys.add(key)
        try:
            return self._submit(spec, key, owner)
        finally:
            self._keys.discard(key)

    def _submit(self, spec: JobSpec, key: str | None, owner: str) -> Job:
        # Asked again, the answer does not depend on what has become of the data since.
        if key is not None and (known := self._jobs.known(spec, key)):
            return self.get_job(known)
        s, cores = self._settings, self._executor.cores
        threads = min(spec.threads or s.threads_per_job or cores, cores)
        data = self._catalog.dataset(spec.dataset_id)
        check_columns(spec, data)
        self._files.check_space()
        job_id = self._jobs.add(
            spec, spec.name or data.name, data, threads, s.max_queued, key, owner
        )
        self._executor.wake()
        self._tell_listeners(job_id)
        return self.get_job(job_id)

    def get_job(self, job_id: str) -> Job:
        """As it is now."""
        return self._with_life(self._jobs.get(job_id))

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        """Newest first."""
        page = self._jobs.page(after, limit)
        return Page(tuple(map(self._with_life, page.items)), page.has_more)

    def _with_life(self, job: Job) -> Job:
        if job.state not in ACTIVE or (now := self._executor.now(job.id)) is None:
            return job
        live, seconds = now
        return replace(job, live=live, seconds=seconds)

    def cancel(self, job_id: str) -> Job:
        """End it and discard what it has learned; ConflictError when it has ended."""
        with self._executor.lock:
            self._jobs.move(job_id, _LIVING, JobState.CANCELLED, "cancelled")
            self._executor.abandon(job_id)
        return self._changed(job_id)

    def pause(self, job_id: str) -> Job:
        """Stop after the batch at hand and wait; frees its cores."""
        with self._executor.lock:
            if self._jobs.row(job_id)["state"] in ACTIVE:
                self._wish(job_id, "pause")
            else:
                self._jobs.move(job_id, WAITING, JobState.PAUSED, "paused")
        return self._changed(job_id)

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue."""
        with self._executor.lock:
            row = self._jobs.row(job_id)
            if row["state"] in ACTIVE and row["wish"] == "pause":
                self._wish(job_id, "")
            else:
                self._jobs.move(job_id, {JobState.PAUSED}, JobState.QUEUED)
        return self._changed(job_id)

    def stop(self, job_id: str) -> Job:
        """End it after the batch at hand and keep the weights so far."""
        with self._executor.lock:
            row = self._jobs.row(job_id)
            if row["state"] in ACTIVE:
                self._wish(job_id, "stop")
            elif row["state"] in TERMINAL:
                raise ConflictError(f"job {job_id} has ended: it is {row['state']}.")
            elif not checkpoints_in(self._files.job_place(job_id)):
                raise ConflictError(f"job {job_id} holds no weights yet: cancel it instead.")
            else:
                # A process is needed to make a model of the checkpoint.
                self._jobs.move(job_id, {JobState(row["state"])}, JobState.QUEUED, "stopping")
                self._jobs.wish(job_id, "stop")
        return self._changed(job_id)

    def delete_job(self, job_id: str) -> None:
        """Forget a job that has ended, with its events; its model stays."""
        with self._executor.lock:
            if self._jobs.row(job_id)["state"] in TERMINAL:
                self._executor.settle(job_id)
            self._jobs.delete(job_id)
            self._files.remove_job(job_id)
        self._tell_listeners(job_id)
        self._changes.pop(job_id, None)

    def _wish(self, job_id: str, wish: str) -> None:
        self._jobs.wish(job_id, wish)
        self._executor.tell(job_id, wish)

    def _changed(self, job_id: str) -> Job:
        self._executor.wake()
        self._tell_listeners(job_id)
        return self.get_job(job_id)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events with larger numbers than `after`, in order."""
        return self._jobs.events(job_id, after, limit)

    def wait_events(self, job_id: str, after: int, timeout: float) -> list[JobEvent]:
        """The same, waiting until there is one; empty when none came in time."""
        end = time.monotonic() + timeout
        while True:
            known = self._changes[job_id]
            found, left = self.events(job_id, after), end - time.monotonic()
            if found or left <= 0:
                return found
            with self._news:
                if self._changes[job_id] == known:
                    self._news.wait(left)

    def last_event(self, job_id: str, kind: EventKind) -> JobEvent | None:
        """The newest event of a kind; None when there is none."""
        return self._jobs.last_event(job_id, kind)

    def metrics(
        self, job_id: str, after: int = 0, limit: int = 2000, points: int | None = None
    ) -> Curve:
        """One row per epoch, or every n-th of them."""
        return self._jobs.metrics(job_id, after, limit, points)

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        """Newest first."""
        return self._jobs.checkpoints(job_id)

    # -- models

    def get_model(self, model_id: str) -> Model:
        """One model."""
        return self._catalog.model(model_id)

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[ModelSummary]:
        """Newest first, in short."""
        return self._catalog.models(after, limit)

    def model_path(self, model_id: str) -> Path:
        """Its safetensors file, for download."""
        path = self._files.model(self._catalog.model(model_id).id)
        if not path.is_file():
            raise NotFoundError(f"the file of model {model_id} is gone.")
        return path

    def load_model(self, model_id: str) -> MLP | TabularModel:
        """Read from its file at every call: the caller keeps it. Its predictor has one thread."""
        from nbmlp.tabular.loading import load_plain

        return load_plain(self.model_path(model_id), threads=1)

    def delete_model(self, model_id: str) -> None:
        """Remove it; its job stays."""
        self._catalog.delete_model(model_id)
        self._files.remove_model(model_id)

    # -- tokens

    def create_token(self, label: str) -> tuple[Token, str]:
        """A new token and its secret, which is kept hashed only."""
        return self._catalog.create_token(label)

    def verify_token(self, secret: str) -> Token | None:
        """Whose secret it is."""
        return self._uses.note(self._catalog.verify_token(secret))

    def find_token(self, token_id: str) -> Token | None:
        """The token with this id, if it is still accepted."""
        return self._uses.note(self._catalog.find_token(token_id))

    def token_hashes(self) -> frozenset[str]:
        """SHA-256 of the secrets of all tokens, in hexadecimal digits."""
        return self._catalog.token_hashes()

    def list_tokens(self) -> Sequence[Token]:
        """Oldest first."""
        return self._catalog.tokens()

    def delete_token(self, token_id: str) -> None:
        """It is no longer accepted."""
        self._catalog.delete_token(token_id)


_LIVING = frozenset(JobState) - TERMINAL

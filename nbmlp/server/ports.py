"""What the parts of the server say to each other: its records, errors and the service.

The HTTP side and the page know nothing of databases, files and processes; they call a
:class:`Service`. All of its methods are synchronous and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nbmlp.errors import NbmlpError
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.records import (
    ACTIVE,
    TERMINAL,
    CheckpointInfo,
    ColumnInfo,
    Dataset,
    EventKind,
    Health,
    Job,
    JobEvent,
    JobState,
    Live,
    Model,
    Page,
    ParsedDataset,
    Token,
)
from nbmlp.server.summaries import Curve, DatasetSummary, JobSummary, ModelSummary

if TYPE_CHECKING:
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = [
    "ACTIVE", "TERMINAL", "BusyError", "CheckpointInfo", "ColumnInfo", "ConflictError", "Curve",
    "Dataset", "DatasetSummary", "EventKind", "Health", "Job", "JobEvent", "JobState",
    "JobSummary", "KeyReusedError", "Live", "Model", "ModelSummary", "NoSpaceError",
    "NotFoundError", "Page", "ParsedDataset", "QueueFullError", "Service", "ServiceError", "Token",
]  # fmt: skip


class ServiceError(NbmlpError):
    """The service cannot do what it was asked to; the text is fit for users."""


class NotFoundError(ServiceError):
    """There is nothing of that name (HTTP 404)."""


class ConflictError(ServiceError):
    """Not in this state: a job that has ended, a data set in use (HTTP 409)."""


class KeyReusedError(ServiceError):
    """The idempotency key came before with another body (HTTP 422)."""


class QueueFullError(ServiceError):
    """Too many jobs wait already (HTTP 429)."""


class BusyError(ServiceError):
    """The database is locked by another program; soon it will not be (HTTP 503)."""


class NoSpaceError(ServiceError):
    """The disk is full, or the data folder's quota used up (HTTP 507)."""


class Service(Protocol):
    """All that the server can do; raises :class:`ServiceError` with a sentence for users."""

    # -- life

    def start(self) -> None:
        """Recover what a crash left, then start jobs."""

    def close(self, seconds: float = 4.0) -> None:
        """Stop the workers at once; their jobs are interrupted and resume at the next start."""

    def health(self) -> Health:
        """Whether the database answers and there is space."""

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(job_id)`, from another thread, whenever anything about a job changes.

        It must return at once. Returns a function that ends this.
        """

    # -- data sets

    def upload_path(self) -> Path:
        """A new name in the data folder, swept away at the next start unless added."""

    def promise_space(self, path: Path, size: int) -> None:
        """Let a file of `upload_path` have so many bytes in all; others are not given these.

        Raises
        ------
        NoSpaceError
            Reserve or quota would not hold.
        """

    def discard_upload(self, path: Path) -> None:
        """The file is not needed, or has been added: remove it, and what it was promised."""

    def add_dataset(self, parsed: ParsedDataset) -> Dataset:
        """Take a parsed file over; the same content is stored once."""

    def get_dataset(self, dataset_id: str) -> Dataset:
        """One data set, with preview."""

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[DatasetSummary]:
        """Newest first, in short."""

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove it; ConflictError while a job that has not ended needs it."""

    # -- jobs

    def submit(self, spec: JobSpec, key: str | None = None, owner: str = "") -> Job:
        """Queue a job; the same idempotency key and body give the same job again."""

    def get_job(self, job_id: str) -> Job:
        """As it is now."""

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        """Newest first."""

    def cancel(self, job_id: str) -> Job:
        """End it and discard what it has learned; ConflictError when it has ended."""

    def pause(self, job_id: str) -> Job:
        """Stop after the batch at hand and wait; frees its cores."""

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue."""

    def stop(self, job_id: str) -> Job:
        """End it after the batch at hand and keep the weights so far."""

    def delete_job(self, job_id: str) -> None:
        """Forget a job that has ended, with its events; its model stays.

        Raises
        ------
        ConflictError
            It has not ended.
        """

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events with larger numbers than `after`, in order."""

    def wait_events(self, job_id: str, after: int, timeout: float) -> list[JobEvent]:
        """The same, waiting until there is one; empty when none came in time."""

    def last_event(self, job_id: str, kind: EventKind) -> JobEvent | None:
        """The newest event of a kind; None when there is none."""

    def metrics(
        self, job_id: str, after: int = 0, limit: int = 2000, points: int | None = None
    ) -> Curve:
        """One row per epoch: the fields of ``EpochRecord.to_row()``, None for what is unknown.

        Of epochs with larger numbers than `after`, in order. With `points` only every n-th of all
        epochs (of an ensemble, of each net), so that they are no more than so many; the first, the
        best and the last are kept.
        """

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        """Newest first."""

    # -- models

    def get_model(self, model_id: str) -> Model:
        """One model."""

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[ModelSummary]:
        """Newest first, in short."""

    def model_path(self, model_id: str) -> Path:
        """Its safetensors file, for download."""

    def load_model(self, model_id: str) -> MLP | TabularModel:
        """Read from its file at every call: the caller keeps it. Its predictor has one thread."""

    def delete_model(self, model_id: str) -> None:
        """Remove it; its job stays."""

    # -- tokens

    def create_token(self, label: str) -> tuple[Token, str]:
        """A new token and its secret, which is kept hashed only."""

    def verify_token(self, secret: str) -> Token | None:
        """Whose secret it is."""

    def find_token(self, token_id: str) -> Token | None:
        """The token with this id, if it is still accepted."""

    def token_hashes(self) -> frozenset[str]:
        """SHA-256 of the secrets of all tokens, in hexadecimal digits."""

    def list_tokens(self) -> Sequence[Token]:
        """Oldest first."""

    def delete_token(self, token_id: str) -> None:
        """It is no longer accepted."""

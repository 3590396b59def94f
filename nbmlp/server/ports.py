"""What the parts of the server say to each other: records, states, errors and the service.

The HTTP side and the page know nothing of databases, files and processes; they call a
:class:`Service`. All of its methods are synchronous and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nbmlp.errors import NbmlpError
from nbmlp.server.jobs.spec import JobSpec

if TYPE_CHECKING:
    from nbmlp.mlp import MLP

__all__ = [
    "ACTIVE", "TERMINAL", "BusyError", "CheckpointInfo", "ColumnInfo", "ConflictError", "Dataset",
    "EventKind", "Health", "Job", "JobEvent", "JobState", "KeyReusedError", "Live", "Model",
    "NoSpaceError", "NotFoundError", "Page", "ParsedDataset", "QueueFullError", "Service",
    "ServiceError", "Token",
]  # fmt: skip

Item = TypeVar("Item")


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


class JobState(StrEnum):
    """Where a job is. ``interrupted`` goes on by itself, ``paused`` waits for somebody."""

    QUEUED = "queued"
    COMPILING = "compiling"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A job in one of these states never changes again.
TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
#: A job in one of these states has a process.
ACTIVE = frozenset({JobState.COMPILING, JobState.RUNNING})


class EventKind(StrEnum):
    """What an event of a job tells; its data are described at :class:`JobEvent`."""

    STATE = "state"
    EPOCHS = "epochs"
    CHECKPOINT = "checkpoint"
    MESSAGE = "message"
    DIAGNOSIS = "diagnosis"


@dataclass(frozen=True)
class ColumnInfo:
    """A column of a data set.

    Attributes
    ----------
    name : str
    kind : str
        ``"number"``, ``"integer"`` or ``"text"``.
    missing, distinct : int
        Values missing; different values (-1 when not counted).
    minimum, maximum, mean : float or None
        Of numbers that are there.
    examples : tuple of str
        The most frequent values of a text column.
    """

    name: str
    kind: str
    missing: int = 0
    distinct: int = -1
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParsedDataset:
    """A file that the intake has parsed, checked, and written with ``rows.save_rows``.

    Attributes
    ----------
    path : Path
        As :meth:`Service.upload_path` gave it; the service moves it to its place.
    sha256 : str
        Of that file, in hex: the data set's name among the files.
    name : str
        The user's label.
    format : str
        What was uploaded: ``"csv"``, ``"npy"``, ...
    rows : int
    columns : tuple of ColumnInfo
        Of a matrix: x0, x1, ... and, if the file holds targets, y or y0, y1, ...
    target_guess : str or None
    preview : tuple of tuples
        The first rows; numbers, text or None.
    """

    path: Path
    sha256: str
    name: str
    format: str
    rows: int
    columns: tuple[ColumnInfo, ...]
    target_guess: str | None = None
    preview: tuple[tuple[float | int | str | None, ...], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set that the server holds; times are seconds since 1970. See ParsedDataset."""

    id: str
    name: str
    sha256: str
    format: str
    bytes: int
    rows: int
    columns: tuple[ColumnInfo, ...]
    target_guess: str | None
    preview: tuple[tuple[float | int | str | None, ...], ...]
    created: float


@dataclass(frozen=True)
class Live:
    """How far a running job has come; kept in memory only, renewed twice a second.

    Attributes
    ----------
    epoch : int
        The one that is being trained.
    rows_done, rows_total : int
        Of this epoch.
    samples_per_second : float
    loss : float or None
        Mean training loss of the epoch so far.
    memory_bytes : int
        Resident memory of the job's process.
    threads : int
        Threads that computed in the last epoch.
    seconds_left : float or None
    """

    epoch: int
    rows_done: int
    rows_total: int
    samples_per_second: float
    loss: float | None
    memory_bytes: int
    threads: int
    seconds_left: float | None


@dataclass(frozen=True)
class Job:
    """A training.

    Attributes
    ----------
    id, name, dataset_id : str
    spec : JobSpec
    state : JobState
    message : str
        The state in words, e.g. ``"interrupted, resuming from epoch 12"``.
    error : str
        Why it failed, one sentence; empty otherwise.
    error_kind : str
        ``"out_of_memory"``, ``"time"``, ``"cpu_time"``, ``"non_finite"``, ``"no_space"``,
        ``"data"``, ``"settings"``, ``"crash"`` or empty.
    created, started, finished : float or None
        Seconds since 1970; `started` is that of the first attempt.
    epoch, epochs : int
        Epochs recorded, epochs planned.
    attempt : int
        Times that a process was started for it.
    best_epoch : int or None
    best_score, best_loss : float or None
        Of the best epoch.
    score_name : str
        ``"accuracy"`` or ``"R2"``.
    stop_reason : str
        Why training ended, e.g. ``"early stopping at epoch 12"``.
    queue_place : int or None
        1 for the next to start; None unless it is queued or interrupted.
    model_id : str or None
        When it has a model.
    live : Live or None
        While it runs.
    """

    id: str
    name: str
    dataset_id: str
    spec: JobSpec
    state: JobState
    message: str
    error: str
    error_kind: str
    created: float
    started: float | None
    finished: float | None
    epoch: int
    epochs: int
    attempt: int
    best_epoch: int | None
    best_score: float | None
    best_loss: float | None
    score_name: str
    stop_reason: str
    queue_place: int | None
    model_id: str | None
    live: Live | None = None


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job, kept for ever.

    Attributes
    ----------
    seq : int
        From 1, rising by 1 within a job; what Last-Event-ID is about.
    job_id : str
    time : float
    kind : EventKind
    data : mapping
        state: ``{"state", "message"}`` (and ``"error"``, ``"error_kind"``); epochs:
        ``{"rows": [...]}``, each as in :meth:`Service.metrics`; checkpoint: ``{"epoch"}``;
        message: ``{"text"}``; diagnosis: ``{"text", "report"}``.
    """

    seq: int
    job_id: str
    time: float
    kind: EventKind
    data: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint on disk; the two newest are kept."""

    job_id: str
    epoch: int
    bytes: int
    sha256: str
    created: float


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes
    ----------
    id, name, job_id, dataset_id : str
    created : float
    bytes : int
    sha256 : str
    task : str
        ``"classes"`` or ``"regression"``.
    inputs : tuple of (str, str)
        Raw columns and their kinds (``"number"`` or ``"text"``) that it predicts from.
    targets : tuple of str
    classes : tuple of str
        Labels in the order of its outputs; empty for regression.
    evaluation : mapping
        On the test rows (else the validation rows, else the training rows, as ``"rows"`` says):
        ``loss`` and measures; for classes ``confusion`` (list of rows: true class, columns:
        predicted), for one number ``residuals`` (up to 500 pairs ``[true, predicted]``).
    summary : str
        Layers, parameters, epochs.
    """

    id: str
    name: str
    job_id: str
    dataset_id: str
    created: float
    bytes: int
    sha256: str
    task: str
    inputs: tuple[tuple[str, str], ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    evaluation: Mapping[str, Any]
    summary: str


@dataclass(frozen=True)
class Token:
    """An access token, without its secret."""

    id: str
    label: str
    created: float


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some of a list, newest first; the next page comes `after` the last item's id."""

    items: tuple[Item, ...]
    has_more: bool


@dataclass(frozen=True)
class Health:
    """Whether the server can work.

    Attributes
    ----------
    ready : bool
    reasons : tuple of str
        Why not.
    jobs : mapping of str to int
        Number of jobs by state; all states are there.
    cores, cores_used : int
    disk_free : int
        Bytes.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    cores: int = 0
    cores_used: int = 0
    disk_free: int = 0


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

    def add_dataset(self, parsed: ParsedDataset) -> Dataset:
        """Take a parsed file over; the same content is stored once."""

    def get_dataset(self, dataset_id: str) -> Dataset:
        """One data set, with preview."""

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[Dataset]:
        """Newest first."""

    def delete_dataset(self, dataset_id: str) -> None:
        """Remove it; ConflictError while a job that has not ended needs it."""

    # -- jobs

    def submit(self, spec: JobSpec, key: str | None = None) -> Job:
        """Queue a job; the same idempotency key and body give the same job again."""

    def get_job(self, job_id: str) -> Job:
        """As it is now."""

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        """Newest first."""

    def cancel(self, job_id: str) -> Job:
        """End it and discard what it has learned; ConflictError when it has ended."""

    def pause(self, job_id: str) -> Job:
        """Stop after this epoch and wait; frees its cores."""

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue."""

    def stop(self, job_id: str) -> Job:
        """End it after this epoch and keep the weights so far."""

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events with larger numbers than `after`, in order."""

    def wait_events(self, job_id: str, after: int, timeout: float) -> list[JobEvent]:
        """The same, waiting until there is one; empty when none came in time."""

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """One row per epoch: the fields of ``EpochRecord.to_row()``, None for what is unknown."""

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        """Newest first."""

    # -- models

    def get_model(self, model_id: str) -> Model:
        """One model."""

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[Model]:
        """Newest first."""

    def model_path(self, model_id: str) -> Path:
        """Its safetensors file, for download."""

    def load_model(self, model_id: str) -> MLP:
        """Read from its file at every call: the caller keeps it. Its predictor has one thread."""

    def delete_model(self, model_id: str) -> None:
        """Remove it; its job stays."""

    # -- tokens

    def create_token(self, label: str) -> tuple[Token, str]:
        """A new token and its secret, which is kept hashed only."""

    def verify_token(self, secret: str) -> Token | None:
        """Whose secret it is."""

    def list_tokens(self) -> Sequence[Token]:
        """Oldest first."""

    def delete_token(self, token_id: str) -> None:
        """It is no longer accepted."""

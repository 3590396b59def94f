"""What the parts of the server tell each other: data sets, jobs, events, models, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from nbmlp.server.jobs.spec import JobSpec

__all__ = [
    "ACTIVE", "TERMINAL", "CheckpointInfo", "ColumnInfo", "Dataset", "EventKind", "Health", "Job",
    "JobEvent", "JobState", "Live", "Model", "Page", "ParsedDataset", "Token",
]  # fmt: skip

Item = TypeVar("Item")


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
        ``"number"``, ``"integer"``, ``"date"`` or ``"text"``.
    missing, distinct : int
        Values missing; different values (-1 when not counted).
    minimum, maximum, mean : float or None
        Of numbers that are there.
    examples : tuple of str
        The most frequent values of a text column, the first and the last of dates.
    first_gap : int or None
        The first row without a value, or with an infinite one: no row of a target may be so.
    becomes, why : str
        What a net gets of it by default, and the reason; empty where nobody asked, as in data sets
        of former versions, and of the column that looks like the target.
    """

    name: str
    kind: str
    missing: int = 0
    distinct: int = -1
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    examples: tuple[str, ...] = ()
    first_gap: int | None = None
    becomes: str = ""
    why: str = ""


@dataclass(frozen=True)
class ParsedDataset:
    """A file that the intake has parsed, checked, and written with ``rows.save_rows``.

    Attributes
    ----------
    path : Path
        As :meth:`.ports.Service.upload_path` gave it; the service moves it to its place.
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
    owner : str
        Label of the token that uploaded it.
    """

    path: Path
    sha256: str
    name: str
    format: str
    rows: int
    columns: tuple[ColumnInfo, ...]
    target_guess: str | None = None
    preview: tuple[tuple[float | int | str | None, ...], ...] = ()
    owner: str = ""


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
    owner: str = ""


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
    owner : str
        Label of the token that submitted it.
    dataset_name : str
        That of its data when it was submitted; they may be deleted since.
    seconds : float
        That its attempts have run, not counting what lay between them.
    remark : str
        One sentence about a job that has succeeded with a model no better than a constant; empty
        otherwise.
    lagged : tuple of int
        Of an ensemble: nets that lagged behind the others, so that they do not count any more.
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
    owner: str = ""
    dataset_name: str = ""
    seconds: float = 0.0
    remark: str = ""
    lagged: tuple[int, ...] = ()


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    Those of a job that ended long ago are removed, but for its end and the diagnosis; numbers
    are missing then. What epochs left behind is kept as long as the job.

    Attributes
    ----------
    seq : int
        From 1, rising by 1 within a job; what Last-Event-ID is about.
    job_id : str
    time : float
    kind : EventKind
    data : mapping
        state: ``{"state", "message"}`` (and ``"error"``, ``"error_kind"``, ``"remark"``); epochs:
        ``{"rows": [...]}``, each as in :meth:`.ports.Service.metrics`; checkpoint: ``{"epoch"}``;
        message: ``{"text"}``; diagnosis: ``{"text", "report"}``.
    """

    seq: int
    job_id: str
    time: float
    kind: EventKind
    data: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint on disk; the two newest are kept.

    Of several with the same number of epochs done only the newest is listed.
    """

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
        predicted) and ``calibration`` (mean probability, share that came true, rows), for one
        number ``residuals`` (up to 500 pairs ``[true, predicted]``); ``importance``: its
        ``score``, and ``columns`` with what is lost when each is shuffled, mean and deviation.
    summary : str
        Layers, parameters, epochs.
    owner : str
        That of its job.
    categories : mapping of str to sequence of str
        Of raw columns of text those that it knows, to be offered; others count as unknown. Of
        many or long ones only the first columns are here.
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
    owner: str = ""
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Token:
    """An access token, without its secret.

    Attributes
    ----------
    id : str
    label : str
        Whose it is; what is made with it has this as its owner.
    created : float
    last_used : float or None
        Seconds since 1970, to a minute or so; None for never.
    rate : float or None
        Requests per second. This and the limits below are its own; None: the server's counts.
    burst, streams, uploads : int or None
        Requests at once; event streams and uploads at a time.
    """

    id: str
    label: str
    created: float
    last_used: float | None = None
    rate: float | None = None
    burst: int | None = None
    streams: int | None = None
    uploads: int | None = None


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
    quarantined : int
        Files and folders that the database does not know.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    cores: int = 0
    cores_used: int = 0
    disk_free: int = 0
    quarantined: int = 0

"""Records in short, for lists: of bounded size, however wide a table or long a training is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from nbmlp.server.records import Dataset, Job, JobState, Live, Model

__all__ = ["Curve", "DatasetSummary", "JobSummary", "ModelSummary", "measures", "target_of"]


@dataclass(frozen=True)
class DatasetSummary:
    """A data set in a list: how many columns it has. The data set itself has all about them."""

    id: str
    name: str
    sha256: str
    format: str
    bytes: int
    rows: int
    n_columns: int
    target_guess: str | None
    created: float
    owner: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Without columns and preview."""
        return cls(**_shared(cls, dataset), n_columns=len(dataset.columns))


@dataclass(frozen=True)
class JobSummary:
    """A job in a list. The job itself has its settings, too."""

    id: str
    name: str
    dataset_id: str
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

    @classmethod
    def of(cls, job: Job) -> Self:
        """Without its settings, which may name thousands of columns."""
        return cls(**_shared(cls, job))


@dataclass(frozen=True)
class ModelSummary:
    """A model in a list: what it is and how good. The model itself has all about it.

    Attributes
    ----------
    target : str
        What it predicts, e.g. ``"price"`` or ``"north and 3 more"``.
    evaluation : mapping
        Without the measures that are lists: confusion, residuals.
    """

    id: str
    name: str
    job_id: str
    dataset_id: str
    created: float
    bytes: int
    task: str
    target: str
    summary: str
    evaluation: Mapping[str, int | float | str | None]
    owner: str = ""

    @classmethod
    def of(cls, model: Model) -> Self:
        """Without columns, classes and long measures."""
        short = {"target": target_of(model.targets), "evaluation": measures(model.evaluation)}
        return cls(**_shared(cls, model) | short)


@dataclass(frozen=True)
class Curve:
    """What the epochs of a job left behind, or some of it.

    Attributes
    ----------
    rows : tuple of dict
        The fields of ``EpochRecord.to_row()`` for each epoch, in their order.
    has_more : bool
        More epochs follow: ask for those after the last one of these.
    last_event : int
        Number of the job's last event when this was read: what comes later is news.
    """

    rows: tuple[dict[str, Any], ...]
    has_more: bool
    last_event: int


def measures(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an evaluation that are single values."""
    return {name: v for name, v in evaluation.items() if not isinstance(v, list | dict)}


def target_of(names: Sequence[str]) -> str:
    """The columns that a model predicts, in a few words."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else ""


def _shared(kind: type, record: Any) -> dict[str, Any]:
    """What a record has of another kind's fields."""
    names = [field.name for field in fields(kind)]
    return {name: getattr(record, name) for name in names if hasattr(record, name)}

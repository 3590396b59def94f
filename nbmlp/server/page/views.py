"""What the templates show of the service's records: words, units and shares, nothing to decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Any

from nbmlp.server.ports import TERMINAL, ColumnInfo, EventKind, Job, JobState, Model, Service

__all__ = [
    "ACTIONS",
    "Action",
    "JobView",
    "ModelView",
    "Scatter",
    "diagnosis",
    "differences",
    "filters",
    "heat",
    "score",
]


@dataclass(frozen=True)
class Action:
    """What a person may do to a job.

    Attributes
    ----------
    name : str
        The last word of the route.
    label, question : str
        On its button; what is asked before.
    states : frozenset of JobState
        In which it makes sense.
    """

    name: str
    label: str
    question: str
    states: frozenset[JobState]


_WAITING = frozenset({JobState.QUEUED, JobState.INTERRUPTED})
_WORKING = frozenset({JobState.COMPILING, JobState.RUNNING})
ACTIONS = (
    Action(
        "pause",
        "Pause",
        "Pause? Its cores become free, and nothing is lost.",
        _WAITING | _WORKING,
    ),
    Action(
        "resume",
        "Resume",
        "Resume? The job goes back into the queue and on from where it was.",
        frozenset({JobState.PAUSED}),
    ),
    Action(
        "stop",
        "Stop and keep",
        "Stop, and keep the model as it is then?",
        _WORKING | {JobState.PAUSED},
    ),
    Action(
        "cancel",
        "Cancel job",
        "Cancel the job? What it has learned is discarded.",
        _WAITING | _WORKING | {JobState.PAUSED},
    ),
)


#: Kinds of failure in words.
_FAILURES = {
    "out_of_memory": "out of memory",
    "time": "out of time",
    "cpu_time": "out of CPU time",
    "non_finite": "NaN or infinity",
    "no_space": "no space left on the disk",
    "data": "wrong data",
    "settings": "wrong settings",
    "crash": "crashed",
}


class JobView:
    """A job in words.

    Parameters
    ----------
    job : Job
    last : mapping
        What the last epoch left behind; of a job that has ended.
    """

    def __init__(self, job: Job, last: Mapping[str, Any] | None = None) -> None:
        self.job = job
        self.last = last or {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.job, name)

    @cached_property
    def ended(self) -> bool:
        """It never changes again."""
        return self.job.state in TERMINAL

    @property
    def actions(self) -> list[Action]:
        """What may be done to it now."""
        return [action for action in ACTIONS if self.job.state in action.states]

    @property
    def target(self) -> str:
        """What it predicts."""
        target = self.job.spec.target
        return "the targets" if target is None else setting(target)

    @property
    def summary(self) -> str:
        """The net in a few words."""
        model = self.job.spec.model
        return f"{setting(model.hidden)} · {model.optimizer} · batch {setting(model.batch_size)}"

    @property
    def note(self) -> str:
        """What the name of the state does not say."""
        if self.job.queue_place is not None and self.job.state == JobState.QUEUED:
            return f"place {self.job.queue_place} in the queue"
        if self.job.state == JobState.FAILED:
            return _FAILURES.get(self.job.error_kind, "")
        if self.job.state == JobState.SUCCEEDED:
            return self.job.stop_reason
        if self.job.state == JobState.COMPILING:
            return "making machine code for this kind of net; it is kept for the next job"
        return self.job.message.removeprefix(self.job.state).removeprefix(", ")

    @property
    def progress(self) -> str:
        """Epochs done, and how much of the current one."""
        text = f"{self.job.epoch} of {self.job.epochs} epochs"
        live = self.job.live
        if live is not None and live.rows_total and 0 < live.rows_done < live.rows_total:
            text += f", {live.rows_done / live.rows_total:.0%} of epoch {live.epoch}"
        return text

    @property
    def eta(self) -> float | None:
        """Seconds left."""
        return None if self.job.live is None else self.job.live.seconds_left

    @property
    def best(self) -> str:
        """The best score, or the best loss without one."""
        if self.job.best_score is not None:
            return score(self.job.best_score, self.job.score_name)
        return "" if self.job.best_loss is None else f"loss {self.job.best_loss:.4g}"

    @property
    def facts(self) -> dict[str, str]:
        """What a person who watches wants to know, those that are known."""
        job, live = self.job, self.job.live
        facts = {"Best" if self.ended else "Best so far": self.best} if self.best else {}
        if job.best_epoch:
            facts["Best epoch"] = str(job.best_epoch)
        if live is not None:
            facts |= _speed(live.samples_per_second, live.threads)
            facts["Memory"] = size(live.memory_bytes)
        elif self.last:
            facts |= _speed(self.last["samples_per_second"], self.last["threads"])
        if job.started is not None and job.finished is not None:
            facts["Took"] = duration(job.finished - job.started)
        if job.attempt > 1:
            facts["Attempts"] = str(job.attempt)
        return facts


def _speed(samples_per_second: float, threads: int) -> dict[str, str]:
    return {"Samples/s": thousands(samples_per_second), "Cores": str(threads)}


#: Keys of a model's evaluation that are not measures.
_NOT_MEASURES = ("rows", "count", "problem", "confusion", "residuals")
#: The frame of the picture of residuals: left, right, bottom, top.
_LEFT, _RIGHT, _BOTTOM, _TOP = 64.0, 312.0, 206.0, 8.0


@dataclass(frozen=True)
class Scatter:
    """Points in the frame of the picture, and the values at its ends."""

    points: list[tuple[float, float]]
    low: str
    high: str


class ModelView:
    """A model in words.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property
    def rows(self) -> str:
        """Which rows it was measured on."""
        told = self.model.evaluation
        return f"{thousands(told.get('count', 0))} {told.get('rows', '')} rows"

    @property
    def measures(self) -> dict[str, str]:
        """Names and values, rounded."""
        return {
            name: score(value, name) if name == "accuracy" else f"{value:.4g}"
            for name, value in self.model.evaluation.items()
            if name not in _NOT_MEASURES and isinstance(value, int | float)
        }

    @property
    def measured(self) -> str:
        """The measure that says most."""
        for name in ("accuracy", "R2", "r2"):
            if name in self.measures:
                value = self.measures[name]
                return value if name == "accuracy" else f"R2 {value}"
        return ""

    @property
    def problem(self) -> str:
        """Why it could not be measured; empty when it could."""
        return str(self.model.evaluation.get("problem", ""))

    @property
    def confusion(self) -> list[list[tuple[int, int]]]:
        """Counts with shades; empty for regression."""
        return heat(self.model.evaluation.get("confusion") or ())

    @property
    def residuals(self) -> list[list[float]]:
        """Pairs of true and predicted value; empty for classes."""
        return list(self.model.evaluation.get("residuals") or ())

    @property
    def scatter(self) -> Scatter:
        """Predicted over true values, both axes alike."""
        values = [value for pair in self.residuals for value in pair]
        low, high = min(values), max(values)
        scale = 1.0 / ((high - low) or 1.0)
        points = [
            (
                round(_LEFT + (_RIGHT - _LEFT) * (true - low) * scale, 1),
                round(_BOTTOM - (_BOTTOM - _TOP) * (predicted - low) * scale, 1),
            )
            for true, predicted in self.residuals
        ]
        return Scatter(points, f"{low:.4g}", f"{high:.4g}")

    def row(self, example: Mapping[str, Any]) -> str:
        """The values of a row, in the order of the inputs; empty when there is none."""
        if not example:
            return ""
        return ", ".join("" if (v := example.get(n)) is None else str(v) for n, _ in self.inputs)


def diagnosis(service: Service, job: Job) -> str:
    """The newest diagnosis of a job; empty when there is none."""
    found = [e for e in service.events(job.id) if e.kind == EventKind.DIAGNOSIS]
    return str(found[-1].data["text"]) if found else ""


def score(value: float, name: str) -> str:
    """Accuracies in percent, others as they are."""
    return f"{value:.2%}".replace("%", "\u202f%") if name == "accuracy" else f"{name} {value:.4g}"


def differences(
    columns: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[str, list[Any]]], list[str]]:
    """Settings that differ between jobs, with the value of each job, and names of the others."""
    names = list(dict.fromkeys(chain.from_iterable(columns)))
    rows = [(name, [column.get(name) for column in columns]) for name in names]
    differ = [(name, values) for name, values in rows if any(v != values[0] for v in values)]
    known = {name for name, _ in differ}
    return differ, [name for name in names if name not in known]


def values(column: ColumnInfo) -> str:
    """Its range, or its most frequent values."""
    if column.minimum is not None and column.maximum is not None:
        return f"{column.minimum:.4g} to {column.maximum:.4g}"
    return ", ".join(column.examples[:4])


def heat(confusion: Iterable[Sequence[int]]) -> list[list[tuple[int, int]]]:
    """Each count of a confusion matrix with its shade, 0 to 9: its share of its row."""
    return [[(n, math.ceil(9 * n / max(sum(row), 1))) for n in row] for row in confusion]


# -- filters of the templates


def thousands(value: float) -> str:
    """``12 345``, with thin spaces that do not break."""
    return f"{value:,.0f}".replace(",", "\u202f")


def size(value: float) -> str:
    """Bytes in the largest unit that leaves at least one."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g}\u00a0{unit}"
        value /= 1000
    return f"{value:.3g}\u00a0GB"


def duration(seconds: float | None) -> str:
    """``3 h 5 min``, ``2 min 10 s``, ``8 s``; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(seconds: float) -> str:
    """A time that is read as it stands: UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def setting(value: Any) -> str:
    """A value of a setting, as it would be typed."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        name = str(value.get("name", ""))
        rest = ", ".join(f"{k}={setting(v)}" for k, v in value.items() if k != "name")
        return f"{name}({rest})" if rest else name
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def words(name: str) -> str:
    """``model.batch_size`` as it is read: batch size."""
    return name.removeprefix("model.").replace(".", " ").replace("_", " ")


def filters() -> dict[str, Any]:
    """By the names that templates use."""
    return {
        "thousands": thousands,
        "bytes": size,
        "duration": duration,
        "moment": moment,
        "setting": setting,
        "words": words,
        "values": values,
    }

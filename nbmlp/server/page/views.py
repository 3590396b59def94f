"""What the templates show of the service's records: words, units and shares, nothing to decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from nbmlp.server.page import words
from nbmlp.server.page.nets import NetView, chosen, nets
from nbmlp.server.page.words import amount, duration, plain, score, setting, size, thousands
from nbmlp.server.ports import TERMINAL, EventKind, Job, JobState, Model, ModelSummary, Service

__all__ = [
    "ACTIONS",
    "Action",
    "JobView",
    "ModelView",
    "Scatter",
    "diagnosis",
    "differences",
    "heat",
    "labels",
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
    best_row : mapping
        What the best epoch left behind; of an ensemble.
    """

    def __init__(
        self, job: Job, last: Mapping[str, Any] | None = None,
        best_row: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.last, self.best_row = last or {}, best_row or {}

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
        """The net, or the ensemble, in a few words."""
        spec, model = self.job.spec, self.job.spec.model
        if spec.preset is not None:
            members = f" · {spec.n_members} members" if spec.n_members else ""
            return f"ensemble · {spec.preset}{members}"
        return f"{setting(model.hidden)} · {model.optimizer} · batch {setting(model.batch_size)}"

    @property
    def note(self) -> str:
        """What the name of the state does not say."""
        message = self.job.message.removeprefix(self.job.state).removeprefix(", ")
        if self.job.queue_place is not None and self.job.state == JobState.QUEUED:
            place = f"place {self.job.queue_place} in the queue"
            return f"{place}, {message}" if message else place
        if self.job.state == JobState.FAILED:
            return _FAILURES.get(self.job.error_kind, "")
        if self.job.state == JobState.SUCCEEDED:
            return self.job.stop_reason
        if self.job.state == JobState.COMPILING:
            return "making machine code for this kind of net; it is kept for the next job"
        return message

    @property
    def progress(self) -> str:
        """Epochs done, and how much of the current one."""
        whose = "" if self.job.spec.preset is None else " of all nets"
        text = f"{self.job.epoch} of {self.job.epochs} epochs{whose}"
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
        return "" if self.job.best_loss is None else f"loss {amount(self.job.best_loss)}"

    @property
    def best_place(self) -> str:
        """The best epoch; of an ensemble, of which net it was."""
        row = self.best_row
        if row.get("net") is not None:
            return f"{row['net_epoch']} of net {row['net']}"
        return str(self.job.best_epoch or "")

    @property
    def facts(self) -> dict[str, str]:
        """What a person who watches wants to know, those that are known."""
        job, live = self.job, self.job.live
        facts = {"Best" if self.ended else "Best so far": self.best} if self.best else {}
        if self.best_place:
            facts["Best epoch"] = self.best_place
        if live is not None:
            facts |= _speed(live.samples_per_second, live.threads)
            facts["Memory"] = size(live.memory_bytes)
        elif self.last:
            facts |= _speed(self.last["samples_per_second"], self.last["threads"])
        if self.ended and job.started is not None:
            facts["Took"] = duration(job.seconds)
        if job.attempt > 1:
            facts["Attempts"] = str(job.attempt)
        return facts


def _speed(samples_per_second: float, threads: int) -> dict[str, str]:
    return {"Samples/s": thousands(samples_per_second), "Cores": str(threads)}


#: Keys of a model's evaluation that are no measures of the page's: it shows the root of the mean
#: squared error, which models of older versions have, too.
_NOT_MEASURES = (
    "rows", "count", "problem", "confusion", "residuals", "calibration", "importance", "members",
    "root_mean_squared_error",
)  # fmt: skip
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
    model : Model or ModelSummary
        Of one in short only what a list shows can be asked for.
    """

    def __init__(self, model: Model | ModelSummary) -> None:
        self.model: Any = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property
    def rows(self) -> str:
        """Which rows it was measured on."""
        told = self.model.evaluation
        return f"{thousands(told.get('count', 0))} {told.get('rows', '')} rows"

    @property
    def measures(self) -> dict[str, str]:
        """Names and values as people give them."""
        return dict(words.measure(name, value) for name, value in self._numbers())

    def _numbers(self) -> Iterable[tuple[str, float]]:
        for name, value in self.model.evaluation.items():
            if name not in _NOT_MEASURES and isinstance(value, int | float):
                yield name, value

    @property
    def units(self) -> str:
        """The column whose units its errors have; empty when they have none."""
        in_units = any(name in words.IN_UNITS for name, _ in self._numbers())
        return self.model.targets[0] if in_units and len(self.model.targets) == 1 else ""

    @property
    def measured(self) -> str:
        """The measure that says most."""
        best = next((pair for pair in self._numbers() if pair[0] in ("accuracy", "r2")), None)
        return "" if best is None else score(best[1], best[0])

    @property
    def problem(self) -> str:
        """Why it could not be measured; empty when it could."""
        return str(self.model.evaluation.get("problem", ""))

    @property
    def confusion(self) -> list[list[tuple[int, int]]]:
        """Counts with shades; empty for regression."""
        return heat(self.model.evaluation.get("confusion") or ())

    @property
    def calibration(self) -> list[tuple[float, float, float]]:
        """Places and sizes of the points of the calibration in its picture."""
        points = self.model.evaluation.get("calibration") or ()
        rows = sum(point[2] for point in points) or 1.0
        return [
            (
                round(_LEFT + (_RIGHT - _LEFT) * said, 1),
                round(_BOTTOM - (_BOTTOM - _TOP) * true, 1),
                round(2.5 + 9.0 * math.sqrt(count / rows), 1),
            )
            for said, true, count in points
        ]

    @property
    def calibrated(self) -> str:
        """Whose probability the calibration is about."""
        classes = self.model.classes
        return classes[1] if len(classes) == 2 else "the predicted class"

    @property
    def importance(self) -> list[tuple[str, float, str]]:
        """Columns by what is lost without them: name, share of the first one's loss, value."""
        told = self.model.evaluation.get("importance") or {}
        columns = told.get("columns") or ()
        most = max([mean for _, mean, _ in columns], default=0.0)
        return [
            (name, round(max(mean, 0.0) / most, 3) if most > 0 else 0.0, amount(mean))
            for name, mean, _ in columns
        ]

    @property
    def members(self) -> list[NetView]:
        """Nets of an ensemble; empty for one."""
        return nets(self.model.evaluation)

    @property
    def chosen(self) -> list[int]:
        """Numbers of those that count in it."""
        return chosen(self.model.evaluation)

    @property
    def remarks(self) -> list[str]:
        """How they ended, and what else is to be said of them."""
        return list((self.model.evaluation.get("members") or {}).get("remarks") or ())

    @property
    def members_score(self) -> str:
        """By which they were compared."""
        name = str((self.model.evaluation.get("members") or {}).get("score", ""))
        return words.measure(name, 0.0)[0]

    @property
    def importance_of(self) -> str:
        """Which score is lost, at the beginning of a sentence."""
        name = str((self.model.evaluation.get("importance") or {}).get("score", ""))
        return words.measure(name, 0.0)[0]

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
        return Scatter(points, amount(low), amount(high))

    def row(self, example: Mapping[str, Any]) -> str:
        """The values of a row, in the order of the inputs; empty when there is none."""
        if not example:
            return ""
        values = (plain(example.get(name)) for name, _ in self.inputs)
        return ", ".join("" if value is None else str(value) for value in values)


def diagnosis(service: Service, job: Job) -> str:
    """The newest diagnosis of a job; empty when there is none."""
    found = service.last_event(job.id, EventKind.DIAGNOSIS)
    return str(found.data["text"]) if found else ""


def differences(
    columns: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[str, list[Any]]], list[str]]:
    """Settings that differ between jobs, with the value of each job, and names of the others."""
    names = list(dict.fromkeys(chain.from_iterable(columns)))
    rows = [(name, [column.get(name) for column in columns]) for name in names]
    differ = [(name, values) for name, values in rows if any(v != values[0] for v in values)]
    known = {name for name, _ in differ}
    return differ, [name for name in names if name not in known]


def labels(jobs: Sequence[Job]) -> list[str]:
    """Names of jobs that are compared; those of one name are numbered, the oldest first."""
    names = [job.name for job in jobs]
    found = []
    for job in jobs:
        same = sorted(other.id for other in jobs if other.name == job.name)
        number = f" ({same.index(job.id) + 1})" if names.count(job.name) > 1 else ""
        found.append(job.name + number)
    return found


def heat(confusion: Iterable[Sequence[int]]) -> list[list[tuple[int, int]]]:
    """Each count of a confusion matrix with its shade, 0 to 9: its share of its row."""
    return [[(n, math.ceil(9 * n / max(sum(row), 1))) for n in row] for row in confusion]

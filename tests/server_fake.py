"""The service in memory, for tests of what stands before it; it keeps the contract of the real one.

``tests/test_service_contract.py`` runs over both. What a job's process would do is done by hand:
``begin``, ``epochs``, ``checkpoint``, ``obey``, ``finish`` and ``succeed``.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbmlp.mlp import MLP
from nbmlp.server.jobs.columns import check_columns
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
    KeyReusedError,
    Model,
    ModelSummary,
    NoSpaceError,
    NotFoundError,
    Page,
    ParsedDataset,
    QueueFullError,
    Token,
)
from nbmlp.tabular import files
from nbmlp.tabular.loading import load_plain
from nbmlp.tabular.model import TabularModel

_COUNT = itertools.count(1)
_WAITING = frozenset({JobState.QUEUED, JobState.INTERRUPTED})


def new_id() -> str:
    return f"{next(_COUNT):026d}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class FakeService:
    """Everything in dictionaries, newest last.

    Attributes
    ----------
    done : list of (str, str)
        What it was told to do: ids and actions.
    wishes : dict of str to str
        What processes have been asked for and have not done yet.
    loads, verified : int
        How often a model was loaded, a token looked up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets: dict[str, Dataset] = {}
        self.jobs: dict[str, Job] = {}
        self.log: dict[str, list[JobEvent]] = {}
        self.saved: dict[str, list[CheckpointInfo]] = {}
        self.models: dict[str, Model] = {}
        self.secrets: dict[str, Token] = {}
        self.keys: dict[str, tuple[JobSpec, str]] = {}
        self.wishes: dict[str, str] = {}
        self.done: list[tuple[str, str]] = []
        self.listeners: list[Callable[[str], None]] = []
        self.loads = self.verified = 0
        self.cores, self.max_queued, self.disk_free = 2, 1000, 1 << 40
        self._news = threading.Condition()

    def start(self) -> None: ...

    def close(self, seconds: float = 4.0) -> None: ...

    def health(self) -> Health:
        jobs = {state.value: 0 for state in JobState}
        for job in list(self.jobs.values()):
            jobs[job.state] += 1
        used = sum(job.state in ACTIVE for job in list(self.jobs.values()))
        return Health(True, (), jobs, self.cores, used, self.disk_free)

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: listener in self.listeners and self.listeners.remove(listener)

    def changed(self, job_id: str) -> Job:
        self.told(job_id)
        return self.get_job(job_id)

    def told(self, job_id: str) -> None:
        with self._news:
            self._news.notify_all()
        for listener in list(self.listeners):
            listener(job_id)

    # -- data sets

    def upload_path(self) -> Path:
        return self.folder / f"tmp-{new_id()}"

    def promise_space(self, path: Path, size: int) -> None:
        if size > self.disk_free:
            raise NoSpaceError("the disk is nearly full: free some space.")

    def discard_upload(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def add_dataset(self, parsed: ParsedDataset) -> Dataset:
        place = self.folder / parsed.sha256
        parsed.path.replace(place)
        made = Dataset(
            new_id(), parsed.name, parsed.sha256, parsed.format, place.stat().st_size,
            parsed.rows, parsed.columns, parsed.target_guess, parsed.preview, time.time(),
            parsed.owner,
        )  # fmt: skip
        self.datasets[made.id] = made
        return made

    def get_dataset(self, dataset_id: str) -> Dataset:
        return _get(self.datasets, dataset_id, "data set")

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[DatasetSummary]:
        return _page(self.datasets, after, limit, DatasetSummary.of)

    def delete_dataset(self, dataset_id: str) -> None:
        sha256 = self.get_dataset(dataset_id).sha256
        for job in self.jobs.values():
            if job.dataset_id == dataset_id and job.state not in TERMINAL:
                raise ConflictError(f"job {job.id} still needs these data: cancel it first.")
        self.done.append((dataset_id, "delete"))
        del self.datasets[dataset_id]
        if all(other.sha256 != sha256 for other in self.datasets.values()):
            (self.folder / sha256).unlink(missing_ok=True)

    # -- jobs

    def submit(self, spec: JobSpec, key: str | None = None, owner: str = "") -> Job:
        if key in self.keys:
            before, job_id = self.keys[key]
            if before != spec:
                raise KeyReusedError("this Idempotency-Key came before with another body.")
            return self.get_job(job_id)
        data = self.get_dataset(spec.dataset_id)
        check_columns(spec, data)
        if sum(job.state in _WAITING for job in self.jobs.values()) >= self.max_queued:
            raise QueueFullError("too many jobs wait already: try again when some have ended.")
        job = self.add_job(Job(
            new_id(), spec.name or data.name, spec.dataset_id, spec, JobState.QUEUED, "", "", "",
            time.time(), None, None, 0, spec.model.epochs, 0, None, None, None, "", "", None, None,
            owner=owner, dataset_name=data.name,
        ))  # fmt: skip
        if key is not None:
            self.keys[key] = spec, job.id
        return self.changed(job.id)

    def add_job(self, job: Job) -> Job:
        """Take a job over, as it is."""
        self.jobs[job.id], self.log[job.id], self.saved[job.id] = job, [], []
        self.tell(job.id, EventKind.STATE, {"state": str(job.state), "message": job.message})
        return job

    def get_job(self, job_id: str) -> Job:
        job: Job = _get(self.jobs, job_id, "job")
        live = job.live if job.state in ACTIVE else None
        return replace(job, queue_place=self._places().get(job_id), live=live)

    def _places(self) -> dict[str, int]:
        waiting = [job for job in list(self.jobs.values()) if job.state in _WAITING]
        waiting.sort(key=lambda job: (-job.spec.priority, job.id))
        return {job.id: place for place, job in enumerate(waiting, start=1)}

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        page = _page(self.jobs, after, limit)
        return Page(tuple(self.get_job(job.id) for job in page.items), page.has_more)

    def cancel(self, job_id: str) -> Job:
        return self._move(job_id, frozenset(JobState) - TERMINAL, JobState.CANCELLED, "cancel")

    def pause(self, job_id: str) -> Job:
        if self.get_job(job_id).state in ACTIVE:
            return self._wish(job_id, "pause")
        return self._move(job_id, _WAITING, JobState.PAUSED, "pause")

    def resume(self, job_id: str) -> Job:
        if self.get_job(job_id).state in ACTIVE and self.wishes.get(job_id) == "pause":
            del self.wishes[job_id]
            return self.changed(job_id)
        return self._move(job_id, frozenset({JobState.PAUSED}), JobState.QUEUED, "resume")

    def stop(self, job_id: str) -> Job:
        state = self.get_job(job_id).state
        if state in ACTIVE:
            return self._wish(job_id, "stop")
        if state in TERMINAL:
            raise ConflictError(f"job {job_id} has ended: it is {state}.")
        if not self.saved[job_id]:
            raise ConflictError(f"job {job_id} holds no weights yet: cancel it instead.")
        self.wishes[job_id] = "stop"
        return self._move(job_id, frozenset({state}), JobState.QUEUED, "stop")

    def _wish(self, job_id: str, wish: str) -> Job:
        self.done.append((job_id, wish))
        self.wishes[job_id] = wish
        return self.changed(job_id)

    def _move(self, job_id: str, allowed: frozenset[JobState], state: JobState, name: str) -> Job:
        now = self.get_job(job_id).state
        if now not in allowed:
            raise ConflictError(f"job {job_id} is {now}: that cannot be done now.")
        self.done.append((job_id, name))
        return self.enter(job_id, state)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        self.get_job(job_id)
        return [event for event in self.log[job_id] if event.seq > after][:limit]

    def wait_events(self, job_id: str, after: int, timeout: float) -> list[JobEvent]:
        with self._news:
            self._news.wait_for(lambda: self.events(job_id, after), timeout)
        return self.events(job_id, after)

    def metrics(
        self, job_id: str, after: int = 0, limit: int = 2000, points: int | None = None
    ) -> Curve:
        job, log = self.get_job(job_id), self.log[job_id]
        told = [event.data for event in log if event.kind == EventKind.EPOCHS]
        rows = {row["epoch"]: row for data in told for row in data["rows"]}
        known = [epoch for epoch in sorted(rows) if epoch <= job.epoch]
        if points is not None and known:
            kept, step = {known[0], job.best_epoch, known[-1]}, -(-len(known) // (points - 3))
            known = [epoch for epoch in known if epoch % step == 0 or epoch in kept]
        known = [epoch for epoch in known if epoch > after]
        return Curve(tuple(rows[n] for n in known[:limit]), len(known) > limit, len(log))

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        self.get_job(job_id)
        return sorted(self.saved[job_id], key=lambda info: -info.epoch)

    def last_event(self, job_id: str, kind: EventKind) -> JobEvent | None:
        self.get_job(job_id)
        return next((e for e in reversed(self.log[job_id]) if e.kind == kind), None)

    def delete_job(self, job_id: str) -> None:
        state = self.get_job(job_id).state
        if state not in TERMINAL:
            raise ConflictError(f"job {job_id} is {state}: cancel it first.")
        self.done.append((job_id, "delete"))
        del self.jobs[job_id], self.log[job_id], self.saved[job_id]
        self.keys = {key: known for key, known in self.keys.items() if known[1] != job_id}
        self.told(job_id)

    # -- what a job's process would do

    def tell(self, job_id: str, kind: EventKind, data: Mapping[str, Any]) -> None:
        """An event."""
        self._note(job_id, kind, data)
        self.changed(job_id)

    def _note(self, job_id: str, kind: EventKind, data: Mapping[str, Any]) -> None:
        log = self.log[job_id]
        log.append(JobEvent(len(log) + 1, job_id, time.time(), kind, data))

    def enter(self, job_id: str, state: JobState, message: str = "", **values: Any) -> Job:
        """A state; one that is terminal is the last."""
        job = self.get_job(job_id)
        assert job.state not in TERMINAL
        if state in TERMINAL:
            self.wishes.pop(job_id, None)
            self.saved[job_id] = []
            values = {"finished": time.time(), **values}
        told = {"state": state.value, "message": message}
        told |= {name: values[name] for name in ("error", "error_kind") if values.get(name)}
        self._note(job_id, EventKind.STATE, told)  # whoever sees the state finds its event
        self.jobs[job_id] = replace(job, state=state, message=message, **values)
        return self.changed(job_id)

    def begin(self, job_id: str) -> None:
        """A process compiles, then trains."""
        job = self.get_job(job_id)
        values = {"attempt": job.attempt + 1, "started": job.started or time.time()}
        self.enter(job_id, JobState.COMPILING, **values)
        self.enter(job_id, JobState.RUNNING, score_name="accuracy")

    def epochs(self, job_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Epochs were trained."""
        self.jobs[job_id] = replace(self.jobs[job_id], epoch=rows[-1]["epoch"])
        self.tell(job_id, EventKind.EPOCHS, {"rows": list(rows)})

    def checkpoint(self, job_id: str, epoch: int) -> None:
        """One was written; two are kept."""
        made = CheckpointInfo(job_id, epoch, 1000, "0" * 64, time.time())
        self.saved[job_id] = [*(i for i in self.saved[job_id] if i.epoch < epoch), made][-2:]
        self.tell(job_id, EventKind.CHECKPOINT, {"epoch": epoch})

    def obey(self, job_id: str) -> None:
        """Do what was asked for; "stop" ends with a model, see `succeed`."""
        if self.wishes.pop(job_id, "") == "pause":
            self.enter(job_id, JobState.PAUSED, "paused")

    def fail(self, job_id: str, kind: str, error: str) -> None:
        """The job fails."""
        self.enter(job_id, JobState.FAILED, error, error=error, error_kind=kind)

    def succeed(self, job_id: str, reason: str, mlp: MLP, inputs: Sequence[tuple[str, str]]) -> str:
        """The job ends with a model, whose id is returned."""
        model_id = self.add_model(mlp, inputs, self.get_job(job_id)).id
        self.enter(job_id, JobState.SUCCEEDED, reason, stop_reason=reason, model_id=model_id)
        return model_id

    # -- models

    def add_model(
        self, mlp: MLP | TabularModel, inputs: Sequence[tuple[str, str]], job: Job | None = None
    ) -> Model:
        """A model that is there, of a job or of one that is gone."""
        name = new_id()
        if isinstance(mlp, TabularModel):
            files.save(mlp, self.folder / f"{name}.safetensors")
            plan, task = mlp.plans[0], mlp.targets.task
        else:
            mlp.save(self.folder / f"{name}.safetensors")
            plan, task = mlp.column_plan, mlp.coding.task
        size = (self.folder / f"{name}.safetensors").stat().st_size
        known = {} if plan is None else {c.name: c.categories for c in plan.categories}
        labels = () if mlp.classes is None else tuple(map(str, mlp.classes))
        made = Model(
            name, job.name if job else "a model", job.id if job else new_id(),
            job.dataset_id if job else new_id(), time.time(), size, "0" * 64, task,
            tuple(inputs), ("y",), labels, {"rows": "training", "loss": 0.5}, "5-50-1",
            job.owner if job else "", known,
        )  # fmt: skip
        self.models[name] = made
        return made

    def get_model(self, model_id: str) -> Model:
        return _get(self.models, model_id, "model")

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[ModelSummary]:
        return _page(self.models, after, limit, ModelSummary.of)

    def model_path(self, model_id: str) -> Path:
        path = self.folder / f"{self.get_model(model_id).id}.safetensors"
        if not path.is_file():
            raise NotFoundError(f"the file of model {model_id} is gone.")
        return path

    def load_model(self, model_id: str) -> MLP | TabularModel:
        self.loads += 1
        return load_plain(self.model_path(model_id), threads=1)

    def delete_model(self, model_id: str) -> None:
        self.get_model(model_id)
        self.done.append((model_id, "delete"))
        del self.models[model_id]
        for job in list(self.jobs.values()):
            if job.model_id == model_id:
                self.jobs[job.id] = replace(job, model_id=None)
        (self.folder / f"{model_id}.safetensors").unlink(missing_ok=True)

    # -- tokens

    def create_token(self, label: str) -> tuple[Token, str]:
        secret = secrets.token_urlsafe(32)
        token = Token(new_id(), label, time.time())
        self.secrets[_digest(secret)] = token
        return token, secret

    def verify_token(self, secret: str) -> Token | None:
        self.verified += 1
        return self.secrets.get(_digest(secret))

    def find_token(self, token_id: str) -> Token | None:
        return next((t for t in self.secrets.values() if t.id == token_id), None)

    def token_hashes(self) -> frozenset[str]:
        return frozenset(self.secrets)

    def list_tokens(self) -> Sequence[Token]:
        return sorted(self.secrets.values(), key=lambda token: token.id)

    def delete_token(self, token_id: str) -> None:
        if all(token.id != token_id for token in self.secrets.values()):
            raise NotFoundError(f"there is no token {token_id!r}.")
        self.secrets = {k: v for k, v in self.secrets.items() if v.id != token_id}


def _get(items: dict[str, Any], name: str, kind: str) -> Any:
    if name not in items:
        raise NotFoundError(f"there is no {kind} {name[:40]!r}.")
    return items[name]


def _page(
    items: dict[str, Any], after: str | None, limit: int, short: Callable[[Any], Any] = lambda x: x
) -> Page[Any]:
    names = sorted(items, reverse=True)
    rest = [name for name in names if after is None or name < after]
    return Page(tuple(short(items[name]) for name in rest[:limit]), len(rest) > limit)

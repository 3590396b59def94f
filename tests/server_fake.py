"""A service in memory, for tests of what does not depend on the real one."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbmlp.mlp import MLP
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import (
    TERMINAL,
    CheckpointInfo,
    ConflictError,
    Dataset,
    EventKind,
    Health,
    Job,
    JobEvent,
    JobState,
    Model,
    NotFoundError,
    Page,
    ParsedDataset,
    Token,
)

_COUNT = itertools.count(1)


def new_id() -> str:
    return f"{next(_COUNT):026d}"


class FakeService:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets: dict[str, Dataset] = {}
        self.jobs: dict[str, Job] = {}
        self.log: dict[str, list[JobEvent]] = {}
        self.models: dict[str, Model] = {}
        self.secrets: dict[str, Token] = {}
        self.listeners: list[Callable[[str], None]] = []
        self.loads = 0
        self.verified = 0
        self.disk_free = 1 << 40

    def start(self) -> None: ...

    def close(self, seconds: float = 4.0) -> None: ...

    def health(self) -> Health:
        jobs = {state.value: 0 for state in JobState}
        return Health(True, (), jobs, 2, 0, self.disk_free)

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def upload_path(self) -> Path:
        return self.folder / f"tmp-{new_id()}"

    def add_dataset(self, parsed: ParsedDataset) -> Dataset:
        place = self.folder / parsed.sha256
        parsed.path.rename(place)
        made = Dataset(
            new_id(), parsed.name, parsed.sha256, parsed.format, place.stat().st_size,
            parsed.rows, parsed.columns, parsed.target_guess, parsed.preview, time.time(),
            parsed.owner,
        )  # fmt: skip
        self.datasets[made.id] = made
        return made

    def get_dataset(self, dataset_id: str) -> Dataset:
        return _get(self.datasets, dataset_id, "data set")

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[Dataset]:
        return _page(self.datasets, after, limit)

    def delete_dataset(self, dataset_id: str) -> None:
        self.get_dataset(dataset_id)
        del self.datasets[dataset_id]

    def submit(self, spec: JobSpec, key: str | None = None, owner: str = "") -> Job:
        job = Job(
            new_id(), spec.name or "job", spec.dataset_id, spec, JobState.QUEUED, "queued", "", "",
            time.time(), None, None, 0, spec.model.epochs, 0, None, None, None, "accuracy", "", 1,
            None, owner=owner,
        )  # fmt: skip
        self.jobs[job.id], self.log[job.id] = job, []
        self.tell(job.id, EventKind.STATE, {"state": "queued", "message": "queued"})
        return job

    def tell(self, job_id: str, kind: EventKind, data: dict[str, Any]) -> None:
        log = self.log[job_id]
        log.append(JobEvent(len(log) + 1, job_id, time.time(), kind, data))
        for listener in self.listeners:
            listener(job_id)

    def enter(self, job_id: str, state: JobState) -> Job:
        job = self.get_job(job_id)
        if job.state in TERMINAL:
            raise ConflictError(f"job {job_id} has ended already.")
        self.jobs[job_id] = replace(job, state=state)
        self.tell(job_id, EventKind.STATE, {"state": state.value, "message": state.value})
        return self.jobs[job_id]

    def get_job(self, job_id: str) -> Job:
        return _get(self.jobs, job_id, "job")

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        return _page(self.jobs, after, limit)

    def cancel(self, job_id: str) -> Job:
        return self.enter(job_id, JobState.CANCELLED)

    def pause(self, job_id: str) -> Job:
        return self.enter(job_id, JobState.PAUSED)

    def resume(self, job_id: str) -> Job:
        return self.enter(job_id, JobState.QUEUED)

    def stop(self, job_id: str) -> Job:
        return self.enter(job_id, JobState.SUCCEEDED)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        self.get_job(job_id)
        return [event for event in self.log[job_id] if event.seq > after][:limit]

    def wait_events(self, job_id: str, after: int, timeout: float) -> list[JobEvent]:
        return self.events(job_id, after)

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        self.get_job(job_id)
        return [{"epoch": 1, "train_loss": float("nan")}]

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        self.get_job(job_id)
        return []

    def add_model(self, mlp: MLP, inputs: Sequence[tuple[str, str]]) -> Model:
        name = new_id()
        mlp.save(self.folder / f"{name}.safetensors")
        size = (self.folder / f"{name}.safetensors").stat().st_size
        labels = () if mlp.classes is None else tuple(map(str, mlp.classes))
        made = Model(
            name, "a model", new_id(), new_id(), time.time(), size, "0" * 64, mlp.coding.task,
            tuple(inputs), ("y",), labels, {"rows": "training", "loss": 0.5}, "5-50-1",
        )  # fmt: skip
        self.models[name] = made
        return made

    def get_model(self, model_id: str) -> Model:
        return _get(self.models, model_id, "model")

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[Model]:
        return _page(self.models, after, limit)

    def model_path(self, model_id: str) -> Path:
        return self.folder / f"{self.get_model(model_id).id}.safetensors"

    def load_model(self, model_id: str) -> MLP:
        self.loads += 1
        mlp = MLP.load(self.model_path(model_id))
        mlp._settings.train = mlp.train_spec.with_(threads=1)
        return mlp

    def delete_model(self, model_id: str) -> None:
        self.get_model(model_id)
        del self.models[model_id]

    def create_token(self, label: str) -> tuple[Token, str]:
        secret = secrets.token_urlsafe(32)
        token = Token(new_id(), label, time.time())
        self.secrets[hashlib.sha256(secret.encode()).hexdigest()] = token
        return token, secret

    def verify_token(self, secret: str) -> Token | None:
        self.verified += 1
        return self.secrets.get(hashlib.sha256(secret.encode()).hexdigest())

    def find_token(self, token_id: str) -> Token | None:
        return next((t for t in self.secrets.values() if t.id == token_id), None)

    def list_tokens(self) -> Sequence[Token]:
        return list(self.secrets.values())

    def delete_token(self, token_id: str) -> None:
        self.secrets = {k: v for k, v in self.secrets.items() if v.id != token_id}


def _get(items: dict[str, Any], name: str, kind: str) -> Any:
    if name not in items:
        raise NotFoundError(f"there is no {kind} {name}.")
    return items[name]


def _page(items: dict[str, Any], after: str | None, limit: int) -> Page[Any]:
    names = sorted(items, reverse=True)
    rest = [name for name in names if after is None or name < after]
    return Page(tuple(items[name] for name in rest[:limit]), len(rest) > limit)

"""A service with jobs in every state, made up: for the page alone."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from nbmlp.server.jobs.spec import EarlyStop, Hyper, JobSpec
from nbmlp.server.page import router
from nbmlp.server.ports import (
    ColumnInfo,
    Dataset,
    EventKind,
    Health,
    Job,
    JobEvent,
    JobState,
    Live,
    Model,
    NotFoundError,
    Page,
)

NOW = 1_790_000_000.0
#: A data set and a class whose names a page or a spreadsheet might run.
HOSTILE = "<script>alert(1)</script>"
FORMULA = "=1+1"
DIAGNOSIS = """1. learning rate too high (learning_rate_high; layer 1, epoch 3)
   seen:   the loss rose from 0.9 to 41 within one epoch
   hurts:  every step jumps over the minimum
   cure:   learning_rate=0.01
   trial:  log loss 2.303 -> 0.412 (5 epochs on 2000 rows)"""


def ulid(number: int) -> str:
    return f"01J9ZC4N3V{number:016d}"


def dataset(number: int, name: str) -> Dataset:
    columns = (
        ColumnInfo("sepal length", "number", 0, 35, 4.3, 7.9, 5.84),
        ColumnInfo("sepal width", "number", 3, 23, 2.0, 4.4, 3.05),
        ColumnInfo("colour", "text", 0, 3, examples=("blue", "violet", "white")),
        ColumnInfo("species", "text", 0, 3, examples=("setosa", "versicolor", "virginica")),
    )
    preview = ((41.0, 3.5, "blue", "setosa"), (4.9, None, "violet", "setosa"),
               (6.3, 3.3, "white", "virginica"))  # fmt: skip
    return Dataset(ulid(number), name, "ab" * 32, "csv", 1_234_567, 15_000, columns, "species",
                   preview, NOW, "ada")  # fmt: skip


def rows(epochs: int) -> list[dict[str, Any]]:
    """A training that overfits a little."""
    out = []
    for epoch in range(1, epochs + 1):
        noise = 0.03 * math.sin(7.0 * epoch)
        train, val = 2.0 * math.exp(-epoch / 9) + 0.05, 1.9 * math.exp(-epoch / 8) + 0.2 + noise
        val += 0.0001 * epoch * epoch
        out.append({"epoch": epoch, "data_loss": train, "penalty": 0.0, "train_loss": train,
                    "val_loss": val, "val_score": 1.0 - 0.3 * val, "learning_rate": 1e-3,
                    "samples_per_second": 412_345.0, "seconds": 0.5, "threads": 3})  # fmt: skip
    return out


def job(number: int, state: JobState, name: str, **values: Any) -> Job:
    spec = JobSpec(dataset_id=ulid(1), target="species", early_stopping=EarlyStop(),
                   model=Hyper(hidden=[100, 50 + number], epochs=100,
                               learning_rate=0.001 * number))  # fmt: skip
    plain = Job(
        ulid(number), name, ulid(1), spec, state, str(state), "", "", NOW + number, NOW, None,
        0, 100, 1, None, None, None, "accuracy", "", None, None,
        owner="ada" if number % 2 else "grace",
    )  # fmt: skip
    return replace(plain, **values)


#: Settings that hardly anybody changes, all changed; as in a job that a program has submitted.
UNUSUAL = JobSpec.model_validate(
    {
        "dataset_id": ulid(1), "target": ["sepal length", "sepal width"], "columns": ["colour", 3],
        "validation": 0.125, "test": 0.07, "threads": 2, "priority": -3, "diagnose": False,
        "early_stopping": {"monitor": "train_loss", "min_delta": 0.001},
        "limits": {"memory_mb": 512},
        "model": {
            "hidden": [], "task": "regression", "standardise": True, "activation": "elu(0.5)",
            "loss": "huber(1.5)", "init": "he_normal", "dtype": "float64", "dropout": 0.33,
            "input_dropout": 0.1, "optimizer": "sgd(momentum=0.9)", "learning_rate": 0.0125,
            "schedule": "constant", "warmup": 2.5, "batch_size": None, "epochs": 41,
            "shuffle": False, "l1": 0.01, "l2": 1e-7, "clip_norm": 1.0, "seed": 7,
        },
    }
)  # fmt: skip
LIVE = Live(42, 6_000, 15_000, 412_345.0, 0.0721, 312_000_000, 3, 31.0)


class FakeService:
    """Answers what the page asks; `done` is what it was told to do."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """All as it was in the beginning."""
        self.done: list[tuple[str, str]] = []
        best = {"best_epoch": 31, "best_score": 0.9314, "best_loss": 0.24}
        self.datasets = [dataset(1, "iris.csv"), dataset(2, HOSTILE)]
        state = JobState
        self.jobs = [
            job(20, state.QUEUED, "iris, three layers", queue_place=2),
            job(19, state.QUEUED, "iris, wide", queue_place=1),
            job(18, state.COMPILING, "iris, first of its kind"),
            job(17, state.RUNNING, "iris, two layers", epoch=41, live=LIVE, **best),
            job(16, state.PAUSED, "iris, later", epoch=20, message="paused after epoch 20"),
            job(15, state.INTERRUPTED, "iris, over night", epoch=12, attempt=2,
                message="interrupted, resuming from epoch 12"),
            job(14, state.SUCCEEDED, "iris, small", epoch=60, finished=NOW + 83,
                stop_reason="early stopping at epoch 60", model_id=ulid(1), **best),
            job(13, state.SUCCEEDED, "iris, large", epoch=50, finished=NOW + 183,
                stop_reason="stopped by the user", model_id=ulid(2), **best),
            job(12, state.FAILED, "iris, learning rate 10", epoch=3, finished=NOW + 3,
                error="The loss became infinite in epoch 3: lower the learning rate.",
                error_kind="non_finite"),
            job(11, state.FAILED, HOSTILE, error_kind="out_of_memory", finished=NOW + 9,
                error="The job needed more than its 4096 MB of memory: raise memory_mb."),
            job(10, state.CANCELLED, "iris, mistaken", epoch=5, finished=NOW + 9),
        ]  # fmt: skip
        confusion = [[48, 2, 0], [3, 44, 3], [0, 5, 45]]
        inputs = (("sepal length", "number"), ("sepal width", "number"), ("colour", "text"))
        classes = ("setosa", "versicolor", FORMULA)
        pairs = [[i / 7, i / 7 + math.sin(3.0 * i)] for i in range(200)]
        model = Model(ulid(1), "iris, small", ulid(14), ulid(1), NOW, 24_576, "cd" * 32, "classes",
                      inputs, ("species",), classes,
                      {"rows": "test", "count": 150, "loss": 0.2412, "accuracy": 0.9133,
                       "confusion": confusion},
                      "5-100-64-3, 7063 parameters, 31 epochs", "grace")  # fmt: skip
        number = replace(
            model, id=ulid(2), name="iris, large", job_id=ulid(13), task="regression", classes=(),
            targets=("sepal length",), inputs=inputs[1:],
            evaluation={"rows": "test", "count": 150, "loss": 0.2, "mean_squared_error": 2.596e9,
                        "mean_absolute_error": 38_204.61, "r2": 0.91237, "residuals": pairs},
        )  # fmt: skip
        self.models = [model, number]

    def change(self, number: int, **values: Any) -> None:
        """Something happens to a job."""
        at = next(i for i, job in enumerate(self.jobs) if job.id == ulid(number))
        self.jobs[at] = replace(self.jobs[at], **values)

    @staticmethod
    def _listed(items: list[Any], after: str | None, limit: int) -> Page[Any]:
        """In the order of the list, as the newest are its first."""
        start = next((i for i, item in enumerate(items, 1) if item.id == after), 0)
        return Page(tuple(items[start : start + limit]), len(items) > start + limit)

    @staticmethod
    def _find(items: list[Any], key: str) -> Any:
        for item in items:
            if item.id == key:
                return item
        raise NotFoundError(f"There is no {key}.")

    def health(self) -> Health:
        return Health(True, cores=2, cores_used=1)

    def get_dataset(self, dataset_id: str) -> Dataset:
        return self._find(self.datasets, dataset_id)

    def list_datasets(self, after: str | None = None, limit: int = 50) -> Page[Dataset]:
        return self._listed(self.datasets, after, limit)

    def get_job(self, job_id: str) -> Job:
        return self._find(self.jobs, job_id)

    def list_jobs(self, after: str | None = None, limit: int = 50) -> Page[Job]:
        return self._listed(self.jobs, after, limit)

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        return rows(self.get_job(job_id).epoch)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        job = self.get_job(job_id)
        told: list[tuple[EventKind, dict[str, Any]]] = [
            (EventKind.EPOCHS, {"rows": [row]}) for row in rows(job.epoch)
        ]
        if job.error_kind == "non_finite":
            told.append((EventKind.DIAGNOSIS, {"text": DIAGNOSIS}))
        numbered = enumerate(told, start=1)
        return [JobEvent(i, job_id, NOW, kind, data) for i, (kind, data) in numbered if i > after]

    def get_model(self, model_id: str) -> Model:
        return self._find(self.models, model_id)

    def list_models(self, after: str | None = None, limit: int = 50) -> Page[Model]:
        return self._listed(self.models, after, limit)


def application(service: FakeService, csrf: str = "csrf-of-tests") -> FastAPI:
    """The page for somebody who has signed in (unless `csrf` is empty), and what it calls."""
    app = FastAPI(docs_url=None)

    @app.middleware("http")
    async def outermost(request: Request, answer: Any) -> Any:
        request.state.csrf = csrf
        response = await answer(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response

    @app.get("/v1/jobs/{job_id}/metrics")
    def metrics(job_id: str) -> list[dict[str, Any]]:
        return service.metrics(job_id)

    @app.get("/v1/jobs/{job_id}/events")
    def events(job_id: str) -> StreamingResponse:
        def stream() -> Iterator[str]:
            last, end = 0, time.monotonic() + 20.0
            while time.monotonic() < end:
                for event in service.events(job_id, last):
                    last = event.seq
                    data = json.dumps({"seq": last, "kind": event.kind, "data": event.data})
                    yield f"id: {last}\nevent: {event.kind}\ndata: {data}\n\n"
                time.sleep(0.1)
                state = json.dumps({"state": service.get_job(job_id).state})
                yield f"event: job\ndata: {state}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.post("/v1/jobs/{job_id}/{action}")
    def act(request: Request, job_id: str, action: str) -> Response:
        assert request.headers["x-csrf-token"] == csrf
        service.done.append((job_id, action))
        return Response("{}", media_type="application/json")

    @app.delete("/v1/datasets/{dataset_id}")
    def delete(dataset_id: str) -> dict[str, str]:
        service.done.append((dataset_id, "delete"))
        return {}

    app.include_router(router(service))  # type: ignore[arg-type]
    return app

"""Jobs in every state, made up, in the service in memory; and the page before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from server_fake import FakeService
from server_live import Live as Served
from server_live import live

from nbmlp.server.jobs.spec import EarlyStop, Hyper, JobSpec
from nbmlp.server.ports import ColumnInfo, Dataset, EventKind, Job, JobState, Live, Model
from nbmlp.server.settings import ServerSettings

NOW = 1_790_000_000.0
#: A data set and a class whose names a page or a spreadsheet might run.
HOSTILE = "<script>alert(1)</script>"
FORMULA = "=1+1"
REMARK = (
    "no better than a constant: its accuracy on the 15 test rows is 33.33%, always answering"
    " 'setosa' reaches 40.00%."
)
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
        ColumnInfo("colour", "text", 0, 3, examples=("blue", "violet", "white"),
                   becomes="one-hot: 3 categories", why="holds text"),
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
        owner="ada" if number % 2 else "grace", dataset_name="iris.csv",
        seconds=values.get("finished", NOW) - NOW,
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
            "scaling": "robust", "bins": 4, "column_kinds": {"colour": "category"},
        },
    }
)  # fmt: skip
LIVE = Live(42, 6_000, 15_000, 412_345.0, 0.0721, 312_000_000, 3, 31.0)


def made_up_jobs() -> list[Job]:
    best = {"best_epoch": 31, "best_score": 0.9314, "best_loss": 0.24}
    state = JobState
    return [
        job(20, state.QUEUED, "iris, three layers"),
        job(19, state.QUEUED, "iris, wide"),
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
        job(9, state.SUCCEEDED, "iris, dead", epoch=8, finished=NOW + 9, remark=REMARK),
        job(10, state.CANCELLED, "iris, mistaken", epoch=5, finished=NOW + 9),
    ]  # fmt: skip


def made_up_models() -> list[Model]:
    confusion = [[48, 2, 0], [3, 44, 3], [0, 5, 45]]
    inputs = (("sepal length", "number"), ("sepal width", "number"), ("colour", "text"))
    classes = ("setosa", "versicolor", FORMULA)
    pairs = [[i / 7, i / 7 + math.sin(3.0 * i)] for i in range(200)]
    model = Model(ulid(1), "iris, small", ulid(14), ulid(1), NOW, 24_576, "cd" * 32, "classes",
                  inputs, ("species",), classes,
                  {"rows": "test", "count": 150, "loss": 0.2412, "accuracy": 0.9133,
                   "confusion": confusion, "calibration": [[0.3, 0.2, 20], [0.92, 0.95, 130]],
                   "importance": {"score": "accuracy", "columns": [
                       ["sepal length", 0.31, 0.02], [HOSTILE, 0.1, 0.0], ["colour", -0.01, 0.0]]}},
                  "5-100-64-3, 7063 parameters, 31 epochs", "grace",
                  {"colour": ("blue", "violet", "white")})  # fmt: skip
    number = replace(
        model, id=ulid(2), name="iris, large", job_id=ulid(13), task="regression", classes=(),
        targets=("sepal length",), inputs=inputs[1:],
        evaluation={"rows": "test", "count": 150, "loss": 0.2, "mean_squared_error": 2.596e9,
                    "mean_absolute_error": 38_204.61, "r2": 0.91237, "residuals": pairs,
                    "members": {"score": "rmse", "total": 2, "nets": [
                        {"settings": {"hidden": [256, 128], "batch_size": 32, "note": HOSTILE},
                         "score": 17.98, "weight": 0.75},
                        {"settings": {"hidden": [64]}, "score": None, "weight": 0.0}]}},
    )  # fmt: skip
    return [number, model]


def lengthen(service: FakeService) -> None:
    """Give everything a name as long as names may be, without a place to break it."""
    name, text = "w" * 200, "W" * 900
    for table in service.datasets.values():
        columns = tuple(replace(c, name=f"{text}{i}") for i, c in enumerate(table.columns))
        columns = tuple(replace(c, examples=(text,) * len(c.examples)) for c in columns)
        preview = tuple(tuple(text for _ in row) for row in table.preview)
        service.datasets[table.id] = replace(
            table, name=name, owner=name, columns=columns, preview=preview,
            target_guess=columns[-1].name,
        )  # fmt: skip
    for job in service.jobs.values():
        spec = job.spec.model_copy(update={"target": f"{text}3", "columns": [f"{text}0"]})
        note = {"message": text, "error": job.error and text}
        service.jobs[job.id] = replace(job, name=name, owner=name, spec=spec, **note)
    for model in service.models.values():
        inputs = tuple((f"{text}{i}", kind) for i, (_, kind) in enumerate(model.inputs))
        classes = tuple(f"{text}{i}" for i, _ in enumerate(model.classes))
        known = {inputs[-1][0]: (text, name)}
        service.models[model.id] = replace(
            model,
            name=name,
            owner=name,
            inputs=inputs,
            classes=classes,
            targets=(text,),
            categories=known,
        )


#: Of an ensemble, as they ended: net, its own epoch, score. The net 2 has lagged behind.
COURSES = (
    (2, 1, 0.9), (2, 2, 0.8), (1, 1, 0.7), (0, 1, 0.6), (1, 2, 0.5), (0, 2, 0.4), (1, 3, 0.3),
    (0, 3, 0.35), (0, 4, 0.38),
)  # fmt: skip


def rows_of_nets(courses: Sequence[tuple[int, int, float]] = COURSES) -> list[dict[str, Any]]:
    usual = rows(1)[0]
    return [
        usual | {"epoch": i, "net": net, "net_epoch": epoch, "val_loss": score, "val_score": score}
        for i, (net, epoch, score) in enumerate(courses, start=1)
    ]


def add_ensemble(service: FakeService) -> Job:
    """A job of three nets, in the middle of it."""
    spec = JobSpec(dataset_id=ulid(1), target="species", preset="default", n_members=3)
    made = job(
        21, JobState.RUNNING, "iris, many", spec=spec, live=LIVE, epoch=len(COURSES), best_epoch=7,
        best_score=0.3, best_loss=0.3, score_name="log_loss", lagged=(2,),
    )  # fmt: skip
    service.add_job(made)
    service.tell(made.id, EventKind.EPOCHS, {"rows": rows_of_nets()})
    return made


def add_model_of_many(service: FakeService) -> Model:
    """What came of it: of the nets 0, 1 and 2 the second alone counts."""
    usual = {"settings": {"hidden": [8, 8], "activation": "relu"}, "columns": {"bins": 128}}
    ends = ("lagged behind at epoch 2", "early stopping at epoch 3", "epochs done")
    nets = [
        {**usual, "net": net, "score": 0.3, "weight": weight, "ended": end, "epochs": 4}
        for net, weight, end in zip((2, 1, 0), (0.0, 1.0, 0.0), ends, strict=True)
    ]
    (*_, model) = made_up_models()
    members = {"score": "log_loss", "total": 3, "nets": nets, "remarks": []}
    made = replace(
        model, id=ulid(3), job_id=ulid(21), evaluation={**model.evaluation, "members": members}
    )
    service.models[made.id] = made
    return made


def renew(service: FakeService) -> None:
    """Everything as it was in the beginning."""
    service.done = []
    service.datasets = {ulid(i): dataset(i, n) for i, n in ((2, HOSTILE), (1, "iris.csv"))}
    service.models = {model.id: model for model in made_up_models()}
    service.jobs = {}
    for made in made_up_jobs():
        service.add_job(made)
        for told in rows(made.epoch):
            service.tell(made.id, EventKind.EPOCHS, {"rows": [told]})
        if made.error_kind == "non_finite":
            service.tell(made.id, EventKind.DIAGNOSIS, {"text": DIAGNOSIS})


def change(service: FakeService, number: int, **values: Any) -> None:
    """Something happens to a job."""
    before = service.jobs[ulid(number)]
    service.jobs[before.id] = replace(before, **values)
    for told in rows(service.jobs[before.id].epoch)[before.epoch :]:
        service.tell(before.id, EventKind.EPOCHS, {"rows": [told]})
    service.changed(before.id)


@contextmanager
def page_server(folder: Path) -> Iterator[Served]:
    """The whole application before the service in memory."""
    service = FakeService(folder)
    renew(service)
    settings = ServerSettings(
        data_dir=folder, port=0, rate=1e6, burst=10**6, max_streams=100, max_connections=1000
    )
    with live(service, settings) as served:
        yield served


def signed_in(served: Served) -> httpx.Client:
    """As a browser is."""
    client = httpx.Client(base_url=served.url, timeout=60)
    assert client.post("/login", data={"token": served.secret}).status_code == 303
    return client

"""What a document cannot say, for schemathesis: a request that keeps to it can then be accepted.

Loaded by schemathesis (SCHEMATHESIS_HOOKS). Only requests that are meant to be accepted are
touched, right before they are sent; those that are meant to be refused go out as they were made.
"""

from __future__ import annotations

import atexit
import io
import itertools
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation

from nbmlp.server.jobs.spec import OF_ENSEMBLES, Hyper

TOKEN = os.environ.get("CONTRACT_TOKEN", "")
URL = os.environ["CONTRACT_URL"]
REPORT = Path(os.environ["CONTRACT_REPORT"])
OPEN = ("/v2/health/live", "/v2/health/ready")
HOUSES = "size,town,rooms,price\n" + "80,Ulm,3,290\n120,Bonn,4,410\n" * 20
TOWNS = ["Bonn", "Köln", "Ulm", None]
NUMBERS = ("UINT8", "UINT16", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
#: Arguments that a name takes; the others go without. The first two cannot do without.
ARGUMENTS = {
    "uniform": "(-0.1, 0.1)", "normal": "(0.1)", "leaky_relu": "(0.2)", "elu": "(alpha=0.5)",
    "huber": "(1.5)", "quantile": "(0.9)", "he_normal": "(2)", "sgd": "(0.1, momentum=0.9)",
    "adam": "(beta2=0.99)", "step": "(10)",
    "pinball": "(0.9)", "pbld": "(4, 2, 0.1)",
}  # fmt: skip
NEEDS_ARGUMENTS = ("uniform", "normal")
CALLS = (
    "activation", "output", "loss", "init", "optimizer", "schedule", "dropout_schedule",
    "decay_schedule", "eval_metric", "tune_threshold", "number_embedding",
)  # fmt: skip
#: Losses that are computed together with their own output.
OWN_OUTPUT = ("binary_cross_entropy", "bce", "cross_entropy", "log_loss", "poisson")

answers: Counter[str] = Counter()
uploaded: list[str] = []
keys = itertools.count()


# -- files: any bytes for the document, those of a table for the server


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    rows = draw(st.integers(20, 60))
    make = random.Random(draw(st.integers(0, 1000)))
    frame = pl.DataFrame(
        {
            "size": [make.choice((None, make.uniform(20, 200))) for _ in range(rows)],
            "town": [make.choice(TOWNS) for _ in range(rows)],
            "rooms": [1 + i % 5 for i in range(rows)],
            "price": [make.uniform(50, 900) for _ in range(rows)],
        }
    )
    write = draw(st.sampled_from((pl.DataFrame.write_csv, pl.DataFrame.write_parquet)))
    write(frame, file := io.BytesIO())
    return file.getvalue()


schemathesis.openapi.media_type("application/octet-stream", tables())


# -- requests that have to fit what is on the server


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    operation = case.operation.definition.raw["operationId"]
    if not TOKEN or case.meta is None:
        return
    if not case.meta.is_negative_at(ParameterLocation.PATH):
        name_a_model(case, operation)
    if case.meta.generation.mode.is_positive:
        change = random.Random(str(case.body))
        if operation == "upload_dataset":
            case.query = {}  # the tables are written as most are, or are no text
        elif operation == "submit_job":
            fit_job(case, change)
        elif operation in ("model_infer", "model_version_infer"):
            fit_request(case, change)


def name_a_model(case: Any, operation: str) -> None:
    """One that there is, for all but those who delete it; ids that are made up rarely are."""
    path = case.path_parameters
    for parameter in {"name", "model_id"} & set(path):
        if path[parameter] in (None, "None"):
            # Links that schemathesis infers by itself lead on from jobs that have no model yet.
            path[parameter] = "0" * 26
        elif operation != "delete_model" and ask("GET", f"/v1/models/{path[parameter]}").is_error:
            path[parameter] = a_model()
    if "version" in path and len(path["version"]) % 2:
        path["version"] = "1"


def a_dataset() -> str:
    if not uploaded:
        uploaded.append(ask("PUT", "/v1/datasets/houses.csv", content=HOUSES).json()["id"])
    return uploaded[-1]


def a_model() -> str:
    """The newest; trained first, before all jobs that wait, when there is none."""
    while not (models := ask("GET", "/v1/models?limit=1").json()["data"]):
        spec = {"dataset_id": a_dataset(), "target": "price", "model": {"epochs": 1}}
        job = ask("POST", "/v1/jobs", json={**spec, "priority": 100}).json()["id"]
        while not ask("GET", f"/v1/jobs/{job}").json()["finished"]:
            time.sleep(0.1)
    return models[0]["id"]


def ask(method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.request(method, URL + quote(path, safe="/?="), headers=headers, **options)


def fit_job(case: Any, change: random.Random) -> None:
    case.body = fitting_job(case.body, change)
    # A key that came before with another body is refused.
    if key := (case.headers or {}).get("idempotency-key"):
        case.headers["idempotency-key"] = f"{key[:150]}-{next(keys)}"


def fitting_job(body: dict[str, Any], change: random.Random) -> dict[str, Any]:
    """Data that are there, columns that they have, settings that go together."""
    if body["dataset_id"] not in uploaded:
        body = {**body, "dataset_id": a_dataset()}
    if body.get("target") is not None:  # not the town, which some rows lack
        body = {**body, "target": change.choice(("price", 3, -1, "rooms", ["price", 2]))}
    if body.get("columns") is not None:
        body = {**body, "columns": change.choice((["size", 1], ["size"]))}
    if body.get("preset") is not None:
        return of_an_ensemble(body)
    body = {**body, "n_members": None, "time_limit": None}
    return {**body, "model": fitting_model(body["model"])} if "model" in body else body


def of_an_ensemble(body: dict[str, Any]) -> dict[str, Any]:
    """Without what is said of one net, and with a limit that is below the job's."""
    model = {k: v for k, v in body.get("model", {}).items() if k in OF_ENSEMBLES}
    body = {**body, "model": fitting_model(model), "early_stopping": None}
    if body.get("validation") == 0.0:
        body["validation"] = None
    if body.get("limits", {}).get("wall_seconds") is not None:
        body["time_limit"] = None
    return body


def fitting_model(model: dict[str, Any]) -> dict[str, Any]:
    model = {k: called(v) if k in CALLS and v is not None else v for k, v in model.items()}
    if model.get("label_smoothing"):
        model["loss"] = "cross_entropy"
    if model.get("residual"):
        model["hidden"] = [4, 4]
    if str(model.get("loss", "")).partition("(")[0] in OWN_OUTPUT:
        model["output"] = "auto"
    if str(model.get("optimizer", "")).startswith("lbfgs"):
        for name in ("weight_decay", "max_norm", "clip_norm", "clip_value"):
            model.pop(name, None)
    return going_together(model)


def going_together(model: dict[str, Any]) -> dict[str, Any]:
    """Without what is refused beside what comes before it; what is refused by itself stays."""
    kept: dict[str, Any] = {}
    for name, value in model.items():
        if refused({name: value}) or not refused({**kept, name: value}):
            kept[name] = value
    return kept


def refused(model: dict[str, Any]) -> bool:
    try:
        Hyper.model_validate(model)
    except ValueError:
        return True
    return False


def called(text: str) -> str:
    """A name with the arguments that it takes, if it came with some or needs them."""
    name, bracket, _ = text.partition("(")
    return name + ARGUMENTS.get(name, "") if bracket or name in NEEDS_ARGUMENTS else name


def fit_request(case: Any, change: random.Random) -> None:
    """Tensors as the model wants them."""
    known = ask("GET", f"/v2/models/{case.path_parameters['name']}")
    if known.is_error:
        return
    rows = change.randint(1, 4)
    inputs = [tensor(wanted, rows, change) for wanted in known.json()["inputs"]]
    case.body = {**case.body, "inputs": inputs}
    if case.body.get("outputs"):
        case.body["outputs"] = [{"name": out["name"]} for out in known.json()["outputs"]]


def tensor(wanted: dict[str, Any], rows: int, change: random.Random) -> dict[str, Any]:
    """Values for one input, in any type that it can be sent in.

    A matrix has its columns; a column may have an axis of its own.
    """
    _, *columns = wanted["shape"]
    if columns:
        data = [change.randint(0, 100) for _ in range(rows * columns[0])]
        shape = [rows, columns[0]]
        return {"name": wanted["name"], "shape": shape, "datatype": "FP32", "data": data}
    if wanted["datatype"] == "BYTES":
        kind, data = "BYTES", [change.choice([*TOWNS, "elsewhere"]) for _ in range(rows)]
    else:
        kind, data = change.choice(NUMBERS), [change.randint(0, 100) for _ in range(rows)]
    shape = change.choice(([rows], [rows, 1]))
    return {"name": wanted["name"], "shape": shape, "datatype": kind, "data": data}


# -- what happened


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    operation = case.operation.definition.raw["operationId"]
    answers[f"{operation} {response.status_code}"] += 1
    if operation == "upload_dataset" and response.status_code == 201:
        uploaded.append(response.json()["id"])
    elif operation == "delete_dataset" and response.status_code == 204:
        gone = case.path_parameters["dataset"]
        uploaded[:] = [name for name in uploaded if name != gone]


@schemathesis.check
def nothing_without_a_token(ctx: Any, response: Any, case: Any) -> None:
    """Without a token, every operation answers 401, but for the open ones."""
    if not TOKEN and case.operation.path not in OPEN:
        assert response.status_code == 401, f"{response.status_code} without a token"


atexit.register(lambda: REPORT.write_text(json.dumps(answers)))

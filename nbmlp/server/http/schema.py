"""The OpenAPI document, with what FastAPI cannot know: how one answer leads to the next request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from nbmlp.names import ACTIVATIONS, INITIALISERS, LOSSES, OUTPUTS, SCORES, spellings
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from nbmlp.server.http.tensors import InferRequest

__all__ = ["INFER_BODY", "allowed_methods", "complete"]

_REFERENCE = "#/components/schemas/{model}"
#: Settings that are calls of a name: the names that there are.
_CALLS: dict[str, Iterable[str]] = {
    "activation": spellings(ACTIVATIONS),
    "output": ("auto", *spellings(OUTPUTS)),
    "loss": ("auto", *spellings(LOSSES)),
    "init": ("auto", *spellings(INITIALISERS)),
    "optimizer": OPTIMIZERS,
    **dict.fromkeys(("schedule", "dropout_schedule", "decay_schedule"), SCHEDULES),
    **dict.fromkeys(("eval_metric", "tune_threshold"), spellings(SCORES)),
    "number_embedding": ("none", "pbld"),
}
#: The body of a prediction, which is parsed by hand because bytes may follow it.
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REFERENCE.format(model="InferRequest")},
                "example": {
                    "id": "1",
                    "inputs": [
                        {"name": "age", "shape": [2], "datatype": "FP64", "data": [31, 54]},
                        {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["Bonn", None]},
                    ],
                },
            }
        },
    }
}
_JOB = (
    "get_job", "cancel_job", "pause_job", "resume_job", "stop_job", "stream_job_events",
    "get_job_metrics", "list_checkpoints",
)  # fmt: skip
_MODEL = ("get_model", "download_model", "delete_model")
_NAMED = ("model_metadata", "model_ready", "model_infer")
_ID, _FIRST = "$response.body#/id", "$response.body#/data/0/id"
#: Operation and status -> parameter, where it is in the answer, operations that take it.
_LINKS: dict[tuple[str, str], list[tuple[str, str, tuple[str, ...]]]] = {
    ("upload_dataset", "201"): [("dataset", _ID, ("get_dataset", "delete_dataset"))],
    ("list_datasets", "200"): [("dataset", _FIRST, ("get_dataset",))],
    ("submit_job", "201"): [("job_id", _ID, _JOB)],
    ("list_jobs", "200"): [("job_id", _FIRST, _JOB)],
    ("list_models", "200"): [("model_id", _FIRST, _MODEL), ("name", _FIRST, _NAMED)],
}


def complete(app: FastAPI) -> None:
    """Let the application's document have schemas parsed by hand, and links."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            # Not as dependencies of the routes: the gate has looked at the token before.
            found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
            _add_schemas(found)
            _add_links(found)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _add_schemas(document: dict[str, Any]) -> None:
    schema = InferRequest.model_json_schema(ref_template=_REFERENCE)
    schemas = document["components"]["schemas"]
    schemas.update(schema.pop("$defs"))
    schemas["InferRequest"] = schema
    for setting, known in _CALLS.items():
        # Only here: who mistypes a name is told the nearest one, not a pattern.
        named = schemas["Hyper"]["properties"][setting]
        called = named["anyOf"][0] if "anyOf" in named else named
        called["pattern"] = called["pattern"].replace("[a-z_0-9]+", f"({'|'.join(known)})", 1)
    # Generators of clients do not know tuples yet.
    pair = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
    schemas["Model"]["properties"]["inputs"]["items"] = pair


def _add_links(document: dict[str, Any]) -> None:
    paths: dict[str, dict[str, Any]] = document["paths"]
    operations = {o["operationId"]: o for path in paths.values() for o in path.values()}
    for (source, status), links in _LINKS.items():
        found = operations[source]["responses"][status].setdefault("links", {})
        for parameter, place, targets in links:
            for target in targets:
                found[target] = {"operationId": target, "parameters": {parameter: place}}
    uploaded = operations["upload_dataset"]["responses"]["201"]["links"]
    uploaded["submit_job"] = {"operationId": "submit_job", "requestBody": {"dataset_id": _ID}}


def allowed_methods(app: FastAPI, path: str) -> str:
    """For the header Allow: what the document offers at a path; empty when it does not know it."""
    found: set[str] = set()
    for template, methods in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)), path):
            found.update(name.upper() for name in methods)
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found))

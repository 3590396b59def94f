"""What a program writes to do the same as a page: for each action one line of curl, some Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbmlp.server.page.views import ACTIONS, labels
from nbmlp.server.ports import Dataset, Job, Model

__all__ = ["Example", "compare", "dataset", "job", "model", "upload"]

_AUTHORISED = '-H "Authorization: Bearer $NBMLP_TOKEN"'
_JSON = '-H "Content-Type: application/json"'


@dataclass(frozen=True)
class Example:
    """An action of the page, done by a program.

    Attributes
    ----------
    name : str
        Without spaces; no two on a page are alike.
    title : str
        The action in words.
    curl, python : str
        Each works as it stands, with a token in NBMLP_TOKEN.
    """

    name: str
    title: str
    curl: str
    python: str


def _curl(address: str, *options: str) -> str:
    return " \\\n  ".join([f"curl {_AUTHORISED}", *options, shlex.quote(address)])


def _python(origin: str, *lines: str) -> str:
    connect = f'client = Client("{origin}")  # the token is read from NBMLP_TOKEN'
    return "\n".join(["from nbmlp import Client", "", connect, *lines])


def _delete(address: str) -> str:
    return _curl(address, "-X DELETE")


def upload(origin: str) -> list[Example]:
    """Send a file."""
    return [
        Example(
            "upload",
            "Upload a table",
            _curl(f"{origin}/v1/datasets/table.csv", "-T table.csv"),
            _python(origin, 'print(client.upload("table.csv"))'),
        )
    ]


def dataset(origin: str, table: Dataset) -> list[Example]:
    """Submit a job; the page puts the form's values where ``{job}`` stands. Delete the table."""
    return [
        Example(
            "train",
            "Train",
            _curl(f"{origin}/v1/jobs", _JSON, "-d {job}"),
            _python(origin, "job = client.submit({job})", "print(client.wait(job))"),
        ),
        Example(
            "delete",
            "Delete the table",
            _delete(f"{origin}/v1/datasets/{table.id}"),
            _python(origin, f'client.delete_dataset("{table.id}")'),
        ),
    ]


def job(origin: str, job: Job) -> list[Example]:
    """Watch and steer it."""
    address = f"{origin}/v1/jobs/{job.id}"
    watch = (f'for event in client.stream("{job.id}"):', "    print(event)")
    return [
        Example("watch", "Watch", _curl(f"{address}/events", "-N"), _python(origin, *watch)),
        _curve(origin, job, "values", "Values of every epoch"),
        *(
            Example(
                action.name,
                action.label,
                _curl(f"{address}/{action.name}", "-X POST"),
                _python(origin, f'client.act("{job.id}", "{action.name}")'),
            )
            for action in ACTIONS
        ),
        Example(
            "delete-job",
            "Delete the job",
            _delete(address),
            _python(origin, f'client.delete_job("{job.id}")'),
        ),
    ]


def compare(origin: str, jobs: Sequence[Job]) -> list[Example]:
    """The curves of some jobs."""
    named = zip(jobs, labels(jobs), strict=True)
    return [_curve(origin, job, f"values-{job.id}", f"Values of {name}") for job, name in named]


def _curve(origin: str, job: Job, name: str, title: str) -> Example:
    return Example(
        name,
        title,
        _curl(f"{origin}/v1/jobs/{job.id}/metrics?points=2000"),
        _python(origin, f'for row in client.metrics("{job.id}"):', "    print(row)"),
    )


def _tensors(inputs: Sequence[tuple[str, str]], row: Sequence[Any]) -> list[dict[str, Any]]:
    """One matrix of numbers; columns one by one where some are text."""
    if all(kind == "number" for _, kind in inputs):
        shape = [1, len(row)]
        return [{"name": "input", "shape": shape, "datatype": "FP64", "data": list(row)}]
    types = {"number": "FP64", "text": "BYTES"}
    return [
        {"name": name, "shape": [1], "datatype": types[kind], "data": [value]}
        for (name, kind), value in zip(inputs, row, strict=True)
    ]


def model(origin: str, model: Model, example: Mapping[str, Any]) -> list[Example]:
    """Ask it for one row, take it home, delete it."""
    row = [example.get(name) for name, _ in model.inputs]
    body = shlex.quote(json.dumps({"inputs": _tensors(model.inputs, row)}))
    numeric = all(kind == "number" for _, kind in model.inputs)
    given = row if numeric else {name: example.get(name) for name, _ in model.inputs}
    address = f"{origin}/v1/models/{model.id}"
    home = (
        f'client.download("{model.id}", "model.safetensors")',
        "",
        "from nbmlp import MLP  # without the server",
        "",
        'print(MLP.load("model.safetensors"))',
    )
    return [
        Example(
            "predict",
            "Predict",
            _curl(f"{origin}/v2/models/{model.id}/infer", _JSON, f"-d {body}"),
            _python(origin, f'print(client.predict("{model.id}", [{given!r}]))'),
        ),
        Example(
            "download",
            "Download the model",
            _curl(f"{address}/file", "-o model.safetensors"),
            _python(origin, *home),
        ),
        Example(
            "delete",
            "Delete the model",
            _delete(address),
            _python(origin, f'client.delete_model("{model.id}")'),
        ),
    ]

"""What a program writes to do the same as a page: one example for the shell, one in Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nbmlp.server.ports import Job, Model

__all__ = ["Examples", "job", "predict", "train", "upload"]

#: Pairs of a language and lines in it.
Examples = list[tuple[str, str]]
_AUTHORISED = '-H "Authorization: Bearer $NBMLP_TOKEN"'


def _curl(address: str, *options: str) -> str:
    return " \\\n  ".join([f"curl {_AUTHORISED}", *options, shlex.quote(address)])


def _python(origin: str, *lines: str) -> str:
    connect = f'client = Client("{origin}")  # the token is read from NBMLP_TOKEN'
    return "\n".join(["from nbmlp import Client", "", connect, *lines])


def upload(origin: str) -> Examples:
    """Send a file."""
    return [
        ("curl", _curl(f"{origin}/v1/datasets/table.csv", "-T table.csv")),
        ("Python", _python(origin, 'dataset = client.upload("table.csv")', "print(dataset)")),
    ]


def train(origin: str) -> Examples:
    """Submit a job; the page puts the form's values where ``{job}`` stands."""
    options = ('-H "Content-Type: application/json"', "-d {job}")
    return [
        ("curl", _curl(f"{origin}/v1/jobs", *options)),
        ("Python", _python(origin, "job = client.submit({job})", "print(client.wait(job))")),
    ]


def job(origin: str, job: Job) -> Examples:
    """Watch and steer it, and take what it made."""
    address = f"{origin}/v1/jobs/{job.id}"
    shell = [
        ("Watch", _curl(f"{address}/events", "-N")),
        ("Stop, keep the model", _curl(f"{address}/stop", "-X POST")),
        ("Pause (resume, cancel)", _curl(f"{address}/pause", "-X POST")),
        ("Values of every epoch", _curl(f"{address}/metrics")),
    ]
    lines = [f'for event in client.stream("{job.id}"):', "    print(event)"]
    lines += [f'client.act("{job.id}", "stop")  # or pause, resume, cancel']
    lines += [f'job = client.wait("{job.id}")']
    lines += ['client.download(job["model_id"], "model.safetensors")'] if job.model_id else []
    return [
        ("curl", "\n\n".join(f"# {what}\n{line}" for what, line in shell)),
        ("Python", _python(origin, *lines)),
    ]


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


def predict(origin: str, model: Model, example: Mapping[str, Any]) -> Examples:
    """Take a model home; ask it for one row."""
    row = [example.get(name) for name, _ in model.inputs]
    body = json.dumps({"inputs": _tensors(model.inputs, row)})
    numeric = all(kind == "number" for _, kind in model.inputs)
    given = row if numeric else {name: example.get(name) for name, _ in model.inputs}
    ask = ('-H "Content-Type: application/json"', f"-d {shlex.quote(body)}")
    shell = (
        _curl(f"{origin}/v1/models/{model.id}/file", "-o model.safetensors"),
        _curl(f"{origin}/v2/models/{model.id}/infer", *ask),
    )
    lines = (
        f'print(client.predict("{model.id}", [{given!r}]))',
        f'client.download("{model.id}", "model.safetensors")',
        "",
        "from nbmlp import MLP  # without the server",
        "",
        'print(MLP.load("model.safetensors"))',
    )
    return [("curl", "\n\n".join(shell)), ("Python", _python(origin, *lines))]

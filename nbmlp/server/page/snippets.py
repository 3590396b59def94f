"""What a program writes to do the same as a page: one example for the shell, one in Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from nbmlp.server.ports import Job, Model

__all__ = ["Examples", "job", "predict", "train", "upload"]

#: Pairs of a language and lines in it.
Examples = list[tuple[str, str]]
#: Inputs of an example.
_MOST_SHOWN = 20
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


def predict(origin: str, model: Model, example: Mapping[str, Any]) -> Examples:
    """Take a model home; ask it for one row."""
    address = f"{origin}/v1/models/{model.id}/file"
    row = {name: example.get(name) for name, _ in model.inputs[:_MOST_SHOWN]}
    lines = (
        f'client.download("{model.id}", "model.safetensors")',
        f"row = {row!r}",
        f'print(client.predict("{model.id}", [row]))',
        "",
        "# Without the server:",
        "from nbmlp import MLP",
        'print(MLP.load("model.safetensors"))',
    )
    return [
        ("curl", _curl(address, "-o model.safetensors")),
        ("Python", _python(origin, *lines)),
    ]

"""What a program writes to do the same as a page: one example for the shell, one in Python."""

from __future__ import annotations

import json
import shlex
from typing import Any

from nbmlp.server.ports import Model

__all__ = ["Examples", "job", "predict", "train", "upload"]

#: Pairs of a language and lines in it.
Examples = list[tuple[str, str]]
_AUTHORISED = '-H "Authorization: Bearer $NBMLP_TOKEN"'


def _curl(address: str, *options: str) -> str:
    return " \\\n  ".join([f"curl {_AUTHORISED}", *options, shlex.quote(address)])


def _python(origin: str, *lines: str) -> str:
    connect = f'client = Client("{origin}", token=os.environ["NBMLP_TOKEN"])'
    return "\n".join(["import os", "", "from nbmlp import Client", "", connect, *lines])


def upload(origin: str) -> Examples:
    """Send a file."""
    return [
        ("curl", _curl(f"{origin}/v1/datasets/table.csv", "-T table.csv")),
        ("Python", _python(origin, 'dataset = client.upload("table.csv")', "print(dataset)")),
    ]


def train(origin: str, spec: dict[str, Any]) -> Examples:
    """Submit a job."""
    body = json.dumps(spec)
    options = ('-H "Content-Type: application/json"', f"-d {shlex.quote(body)}")
    words = ", ".join(f"{name}={value!r}" for name, value in spec.items())
    return [
        ("curl", _curl(f"{origin}/v1/jobs", *options)),
        ("Python", _python(origin, f"job = client.submit({words})", "client.wait(job)")),
    ]


def job(origin: str, job_id: str, model_id: str | None) -> Examples:
    """Watch and steer it, and take what it made."""
    address = f"{origin}/v1/jobs/{job_id}"
    shell = [
        ("Watch", _curl(f"{address}/events", "-N")),
        ("Stop, keep the model", _curl(f"{address}/stop", "-X POST")),
        ("Pause (resume, cancel)", _curl(f"{address}/pause", "-X POST")),
        ("Values of every epoch", _curl(f"{address}/metrics")),
    ]
    lines = [f'for event in client.events("{job_id}"):', "    print(event)"]
    lines += [f'job = client.wait("{job_id}")']
    lines += ['client.download(job["model_id"], "model.safetensors")'] if model_id else []
    return [
        ("curl", "\n\n".join(f"# {what}\n{line}" for what, line in shell)),
        ("Python", _python(origin, *lines)),
    ]


def predict(origin: str, model: Model, example: dict[str, Any]) -> Examples:
    """Ask a model for one row."""
    return []

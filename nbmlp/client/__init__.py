"""A client of the training server: submit, stream, wait, download, predict."""

from __future__ import annotations

from nbmlp.client.answers import (
    DatasetInfo,
    DatasetSummary,
    Event,
    JobInfo,
    ModelInfo,
    ModelSummary,
    ServerError,
    WaitError,
)
from nbmlp.client.client import Client

__all__ = [
    "Client", "DatasetInfo", "DatasetSummary", "Event", "JobInfo", "ModelInfo", "ModelSummary",
    "ServerError", "WaitError",
]  # fmt: skip

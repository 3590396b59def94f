"""What the server and a job's process say to each other: JSON over a pair of sockets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nbmlp.errors import DataError, NbmlpError, NonFiniteError, SpecError

if TYPE_CHECKING:
    from nbmlp.server.jobs.spec import JobSpec

__all__ = ["Order", "failure", "plain", "receive", "send"]

Message = dict[str, Any]
_MB = 1 << 20


@dataclass(frozen=True)
class Order:
    """All that a process needs to know.

    Attributes
    ----------
    job_id : str
    fence : int
        Its token; goes into each report.
    spec : JobSpec
        In a job's process a plain object with the same values: they were checked when the job was
        accepted, and what checks them takes longer to load than a small table to train.
    folder, data, model : Path
        Of the job; of its data; where its model is to be written.
    data_sha256 : str
    threads : int
    recorded : int
        Epochs that the server knows already.
    wish : str
        ``"stop"`` for a job that is only to hand over the weights of its checkpoint.
    memory_mb, cpu_seconds, disk_mb : int
        Limits.
    checkpoint_seconds, diagnosis_seconds : float
    """

    job_id: str
    fence: int
    spec: JobSpec
    folder: Path
    data: Path
    model: Path
    data_sha256: str
    threads: int
    recorded: int
    wish: str
    memory_mb: int
    cpu_seconds: int
    disk_mb: int
    checkpoint_seconds: float
    diagnosis_seconds: float

    @property
    def largest_file(self) -> int:
        """Bytes: two checkpoints are kept while another is written, and the model."""
        return self.disk_mb * _MB // 4

    def to_dict(self) -> Message:
        """Plain values."""
        paths = {name: str(getattr(self, name)) for name in ("folder", "data", "model")}
        values = {k: v for k, v in vars(self).items() if k != "spec"}
        return values | paths | {"spec": self.spec.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: Message) -> Order:
        """The inverse of :meth:`to_dict`."""
        paths = {name: Path(values[name]) for name in ("folder", "data", "model")}
        return cls(**{**values, **paths, "spec": _sent(values["spec"])})


def _sent(spec: Message) -> JobSpec:
    """The values of a spec, and of its parts, by their names."""
    parts = {k: SimpleNamespace(**v) for k, v in spec.items() if isinstance(v, Mapping)}
    return cast("JobSpec", SimpleNamespace(**{**spec, **parts}))


def failure(error: Exception) -> tuple[str, str]:
    """Kind and sentence of what an error means for a job."""
    for class_, kind in _KINDS.items():
        if isinstance(error, class_):
            return kind, str(error)
    return "crash", f"an error inside of the training: {type(error).__name__}: {error}"


_KINDS: dict[type[Exception], str] = {
    NonFiniteError: "non_finite", SpecError: "settings", DataError: "data", NbmlpError: "data",
}  # fmt: skip


def plain(value: Any) -> Any:
    """A value as strict JSON takes it: numbers that are not finite become None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def send(connection: Connection, message: Mapping[str, Any]) -> None:
    """Send one message; blocks while the other side does not read."""
    connection.send_bytes(json.dumps(plain(message), allow_nan=False).encode())


def receive(connection: Connection) -> Message:
    """The next message; raises EOFError when the other side has gone."""
    return dict(json.loads(connection.recv_bytes()))

"""What a server answers, and whether what has come is that."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from nbmlp.errors import NbmlpError

__all__ = [
    "DatasetInfo", "DatasetSummary", "Event", "InferInfo", "JobInfo", "Listing", "ModelInfo",
    "ModelSummary", "ServerError", "WaitError", "fits", "rows_of",
]  # fmt: skip


class ServerError(NbmlpError):
    """The server refused, cannot be reached, or is no such server.

    Attributes
    ----------
    status : int
        Of HTTP; 0 when there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class WaitError(ServerError, TimeoutError):
    """A job has not ended in the time that was given; it goes on."""


class DatasetSummary(TypedDict):
    """A data set in a list: some of the fields that the server tells."""

    id: str
    name: str
    rows: int


class DatasetInfo(DatasetSummary):
    """A data set, with its columns."""

    columns: list[dict[str, Any]]
    target_guess: str | None


class JobInfo(TypedDict):
    """A job: some of the fields that the server tells."""

    id: str
    name: str
    state: str
    message: str
    error: str
    epoch: int
    epochs: int
    best_score: float | None
    best_loss: float | None
    model_id: str | None


class ModelSummary(TypedDict):
    """A model in a list: some of the fields that the server tells."""

    id: str
    name: str
    job_id: str
    task: str
    evaluation: dict[str, Any]


class ModelInfo(ModelSummary):
    """A model; its evaluation has the confusion of classes or the residuals, too."""

    inputs: list[tuple[str, str]]
    categories: dict[str, list[str]]
    classes: list[str]


class Event(TypedDict):
    """Something that happened to a job."""

    seq: int
    job_id: str
    time: float
    kind: str
    data: dict[str, Any]


class Listing(TypedDict):
    """Some of a list."""

    data: list[dict[str, Any]]
    has_more: bool


class _Output(TypedDict):
    shape: list[int]
    data: list[Any]


class _Remarks(TypedDict, total=False):
    parameters: dict[str, Any]


class InferInfo(_Remarks):
    """Predictions."""

    outputs: list[_Output]


def rows_of(found: InferInfo) -> list[Any]:
    """One item for each row, of the only output, which comes flat.

    Raises
    ------
    ServerError
        It is not the only one, or has another shape than it says.
    """
    if len(found["outputs"]) != 1 or not found["outputs"][0]["shape"]:
        raise ServerError(f"the server gave {len(found['outputs'])} outputs: one was asked for.")
    shape, values = found["outputs"][0]["shape"], found["outputs"][0]["data"]
    if math.prod(shape) != len(values):
        raise ServerError(f"the server gave {len(values)} values and called their shape {shape}.")
    if len(shape) == 1:
        return list(values)
    width = math.prod(shape[1:])
    return [values[i : i + width] for i in range(0, len(values), width)]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def fits(value: object, kind: Any) -> bool:
    """Whether a value out of JSON is what a type says; records may have further fields."""
    if kind is Any:
        return True
    if is_typeddict(kind):
        return isinstance(value, Mapping) and all(
            fits(value[name], hint) if name in value else name in kind.__optional_keys__
            for name, hint in _hints(kind).items()
        )
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is tuple:  # a list in JSON
        return isinstance(value, list) and list(map(fits, value, inner)) == [True] * len(inner)
    if origin is float:
        return isinstance(value, int | float)
    return isinstance(value, origin)

"""A client of the training server: submit, stream, wait, download, predict."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, cast
from urllib.parse import quote

from nbmlp.errors import NbmlpError, missing_package

try:
    import httpx
except ModuleNotFoundError:
    raise missing_package("nbmlp.Client", "httpx", "server") from None

__all__ = ["Client", "DatasetInfo", "Event", "JobInfo", "ModelInfo", "ModelSummary", "ServerError"]

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_TRIES, _PIECE = 5, 1 << 20
#: Seconds between two signs of life of a stream, with some to spare.
_SILENCE = 45.0


class ServerError(NbmlpError):
    """The server refused, or cannot be reached.

    Attributes
    ----------
    status : int
        Of HTTP; 0 when there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class DatasetInfo(TypedDict):
    """A data set: some of the fields that the server tells."""

    id: str
    name: str
    rows: int
    columns: list[dict[str, Any]]
    target_guess: str | None


class JobInfo(TypedDict):
    """A job: some of the fields that the server tells."""

    id: str
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
    classes: list[str]


class Event(TypedDict):
    """Something that happened to a job."""

    seq: int
    job_id: str
    time: float
    kind: str
    data: dict[str, Any]


class Client:
    """Talks to a server that ``nbmlp serve`` started.

    Parameters
    ----------
    url : str
        E.g. ``"http://127.0.0.1:8765"``.
    token : str, optional
        By default that of the variable NBMLP_TOKEN.
    timeout : float
        Seconds for an answer, uploads aside.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8765", token) as client:
    ...     data = client.upload("houses.csv")
    ...     job = client.wait(client.submit(data, target="price"))
    ...     client.predict(job["model_id"], [{"rooms": 4, "city": "Bonn"}])
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8765", token: str | None = None, timeout: float = 60.0
    ) -> None:
        secret = os.environ.get("NBMLP_TOKEN", "") if token is None else token
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- data sets

    def upload(self, path: str | os.PathLike[str], name: str | None = None) -> DatasetInfo:
        """Send a .csv, .parquet, .npy, .npz or .mat file.

        Raises
        ------
        ServerError
            With what is wrong with the file.
        """
        file = Path(path)
        address = f"/v1/datasets/{quote(name or file.name, safe='')}"
        with file.open("rb") as content:
            answer = self._send("PUT", address, content=content, timeout=None)
        return cast("DatasetInfo", answer.json())

    def delete_dataset(self, dataset: DatasetInfo | str) -> None:
        """Remove it from the server; models that were trained on it stay."""
        self._send("DELETE", f"/v1/datasets/{_id(dataset)}")

    # -- jobs

    def submit(self, dataset: DatasetInfo | str, *, key: str | None = None, **spec: Any) -> JobInfo:
        """Queue a training.

        Parameters
        ----------
        dataset : DatasetInfo or str
            Or its id.
        key : str, optional
            The same key and settings give the same job again.
        **spec
            Fields of a job: target, columns, model={"hidden": [64], "epochs": 50, ...},
            validation, early_stopping, priority, threads, ...
        """
        headers = {"Idempotency-Key": key} if key else {}
        body = {"dataset_id": _id(dataset), **spec}
        return cast("JobInfo", self._send("POST", "/v1/jobs", json=body, headers=headers).json())

    def job(self, job: JobInfo | str) -> JobInfo:
        """A job as it is now."""
        return cast("JobInfo", self._get(f"/v1/jobs/{_id(job)}"))

    def act(self, job: JobInfo | str, action: str) -> JobInfo:
        """Steer a job: ``"cancel"``, ``"pause"``, ``"resume"`` or ``"stop"``."""
        return cast("JobInfo", self._send("POST", f"/v1/jobs/{_id(job)}/{action}").json())

    def metrics(self, job: JobInfo | str) -> list[dict[str, Any]]:
        """One row for each epoch."""
        return cast("list[dict[str, Any]]", self._get(f"/v1/jobs/{_id(job)}/metrics"))

    def stream(self, job: JobInfo | str, after: int = 0) -> Iterator[Event]:
        """What happens to a job until it ends; goes on where a connection broke off.

        Parameters
        ----------
        job : JobInfo or str
        after : int
            Number of the last event that is known.
        """
        path, failures = f"/v1/jobs/{_id(job)}/events", 0
        while True:
            try:
                for event in self._events(path, after):
                    after, failures = event["seq"], 0
                    yield event
                if self.job(job)["state"] in _ENDED:
                    return
            except httpx.TransportError as error:
                failures += 1
                if failures == _TRIES:
                    raise ServerError(f"the stream broke off: {error}") from None
            time.sleep(0.2 * 2**failures)

    def _events(self, path: str, after: int) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers, timeout=_SILENCE) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            numbered, data = False, ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                numbered |= field == "id"
                data = value if field == "data" else data
                if not line:
                    if numbered and data:
                        yield json.loads(data)
                    numbered, data = False, ""

    def wait(self, job: JobInfo | str) -> JobInfo:
        """Until a job has ended.

        Raises
        ------
        ServerError
            It failed; the text says why.
        """
        for _ in self.stream(job):
            pass
        found = self.job(job)
        if found["state"] == "failed":
            raise ServerError(f"job {found['id']} failed: {found['error']}")
        return found

    # -- models

    def model(self, model: ModelSummary | str) -> ModelInfo:
        """All about a model."""
        return cast("ModelInfo", self._get(f"/v1/models/{_id(model)}"))

    def models(self) -> Iterator[ModelSummary]:
        """All models in short, newest first."""
        after: dict[str, str] = {}
        while True:
            page = self._get("/v1/models", **after)
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["data"][-1]["id"]}

    def delete_model(self, model: ModelSummary | str) -> None:
        """Remove it from the server; its job stays."""
        self._send("DELETE", f"/v1/models/{_id(model)}")

    def download(self, model: ModelSummary | str, path: str | os.PathLike[str]) -> None:
        """Save a model as a safetensors file, whole or not at all; ``MLP.load`` reads it."""
        part = Path(f"{os.fspath(path)}.part")
        try:
            with self._http.stream("GET", f"/v1/models/{_id(model)}/file") as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                with part.open("wb") as file:
                    file.writelines(answer.iter_bytes(_PIECE))
            part.replace(path)
        except httpx.TransportError as error:
            raise ServerError(f"the download broke off: {error}") from None
        finally:
            part.unlink(missing_ok=True)

    def predict(
        self,
        model: ModelSummary | str,
        rows: Mapping[str, Sequence[Any]] | Sequence[Any],
        output: str = "prediction",
    ) -> list[Any]:
        """Predict raw rows.

        Parameters
        ----------
        model : ModelSummary or str
        rows : mapping, list of mappings, or rows of numbers
            Columns by name; or one mapping for each row; or a matrix.
        output : str
            ``"prediction"``, or ``"probabilities"`` in the order of the model's classes.

        Returns
        -------
        list
            One item for each row.
        """
        inputs = _tensors(_plain(rows))
        body = {"inputs": inputs, "outputs": [{"name": output}]}
        found = self._send("POST", f"/v2/models/{_id(model)}/infer", json=body).json()
        values, shape = found["outputs"][0]["data"], found["outputs"][0]["shape"]
        if len(shape) == 1:
            return list(values)
        return [values[i : i + shape[1]] for i in range(0, len(values), shape[1])]

    # -- HTTP

    def _get(self, path: str, **query: str) -> Any:
        return self._send("GET", path, params=query).json()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ServerError(f"{self._http.base_url} cannot be reached: {error}") from None
        if answer.is_error:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> ServerError:
    try:
        text = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = f"the server answered with status {answer.status_code}."
    return ServerError(text, answer.status_code)


def _id(thing: Mapping[str, Any] | str) -> str:
    return thing if isinstance(thing, str) else str(thing["id"])


def _plain(rows: Any) -> Any:
    return rows.tolist() if hasattr(rows, "tolist") else rows


def _tensors(rows: Any) -> list[dict[str, Any]]:
    if isinstance(rows, Mapping):
        return [_tensor(name, list(_plain(values))) for name, values in rows.items()]
    rows = [_plain(row) for row in rows]
    if not rows:
        raise ServerError("there are no rows to predict.")
    if isinstance(rows[0], Mapping):
        return [_tensor(name, [row.get(name) for row in rows]) for name in rows[0]]
    flat = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return [{"name": "x", "shape": shape, "datatype": "FP64", "data": flat}]


def _tensor(name: str, values: Iterable[Any]) -> dict[str, Any]:
    cells = list(values)
    text = any(isinstance(value, str) for value in cells)
    kind = "BYTES" if text else "FP64"
    return {"name": name, "shape": [len(cells)], "datatype": kind, "data": cells}

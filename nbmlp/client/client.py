"""The client: one method for each thing that a server does."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

from nbmlp.client.answers import (
    DatasetInfo,
    DatasetSummary,
    Event,
    InferInfo,
    JobInfo,
    Listing,
    ModelInfo,
    ModelSummary,
    ServerError,
    WaitError,
    rows_of,
)
from nbmlp.client.connection import Connection
from nbmlp.client.rows import tensors

__all__ = ["Client"]

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
#: Seconds between two looks at a job that is waited for: the first, and the most.
_OFTEN, _SELDOM = 0.1, 2.0


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
    patience : float
        Seconds for which ``stream`` and ``wait`` try again when the server does not answer, for
        example because it is being started again.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8765", token) as client:
    ...     data = client.upload("houses.csv")
    ...     job = client.wait(client.submit(data, target="price"))
    ...     client.predict(job["model_id"], [{"rooms": 4, "city": "Bonn"}])
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8765",
        token: str | None = None,
        timeout: float = 60.0,
        patience: float = 120.0,
    ) -> None:
        secret = os.environ.get("NBMLP_TOKEN", "") if token is None else token
        self._connection = Connection(url, secret, timeout, patience)

    def close(self) -> None:
        """End its connections."""
        self._connection.close()

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

    def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        decimal: str | None = None,
        encoding: str | None = None,
        separator: str | None = None,
    ) -> DatasetInfo:
        """Send a .csv, .csv.gz, .parquet, .npy, .npz or .mat file.

        Parameters
        ----------
        path : str or path-like
        name : str, optional
            What the server calls it; by default the file's name.
        decimal, encoding, separator : str, optional
            How a .csv is written, where that is not found out: ``","``, ``"cp1252"``, ``"tab"``.

        Raises
        ------
        ServerError
            With what is wrong with the file.
        """
        file = Path(path)
        address = f"/v1/datasets/{quote(name or file.name, safe='')}"
        told = {"decimal": decimal, "encoding": encoding, "separator": separator}
        query = {option: value for option, value in told.items() if value is not None}
        with file.open("rb") as content:
            found = self._connection.ask(
                "PUT", address, DatasetInfo, params=query, content=content, timeout=None
            )
        return cast("DatasetInfo", found)

    def datasets(self) -> Iterator[DatasetSummary]:
        """All data sets in short, newest first."""
        return self._connection.pages("/v1/datasets", DatasetSummary)

    def delete_dataset(self, dataset: DatasetSummary | str) -> None:
        """Remove it from the server; models that were trained on it stay."""
        self._connection.send("DELETE", f"/v1/datasets/{_id(dataset)}")

    # -- jobs

    def submit(
        self, dataset: DatasetSummary | str, *, key: str | None = None, **spec: Any
    ) -> JobInfo:
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
        return cast(
            "JobInfo",
            self._connection.ask("POST", "/v1/jobs", JobInfo, json=body, headers=headers),
        )

    def jobs(self) -> Iterator[JobInfo]:
        """All jobs, newest first."""
        return self._connection.pages("/v1/jobs", JobInfo)

    def job(self, job: JobInfo | str) -> JobInfo:
        """A job as it is now."""
        return cast("JobInfo", self._connection.ask("GET", f"/v1/jobs/{_id(job)}", JobInfo))

    def act(self, job: JobInfo | str, action: str) -> JobInfo:
        """Steer a job: ``"cancel"``, ``"pause"``, ``"resume"`` or ``"stop"``."""
        path = f"/v1/jobs/{_id(job)}/{quote(action, safe='')}"
        return cast("JobInfo", self._connection.ask("POST", path, JobInfo))

    def delete_job(self, job: JobInfo | str) -> None:
        """Remove a job that has ended, with its curve and events; its model stays."""
        self._connection.send("DELETE", f"/v1/jobs/{_id(job)}")

    def metrics(self, job: JobInfo | str) -> list[dict[str, Any]]:
        """One row for each epoch."""
        rows: list[dict[str, Any]] = []
        more, path = True, f"/v1/jobs/{_id(job)}/metrics"
        while more:
            after = {"after": str(rows[-1]["epoch"]) if rows else "0"}
            page: Listing = self._connection.ask("GET", path, Listing, params=after)
            rows += page["data"]
            more = page["has_more"] and bool(page["data"])
        return rows

    def stream(self, job: JobInfo | str, after: int = 0) -> Iterator[Event]:
        """What happens to a job until it ends; goes on where a connection broke off.

        Parameters
        ----------
        job : JobInfo or str
        after : int
            Number of the last event that is known.
        """
        path, patience = f"/v1/jobs/{_id(job)}/events", self._connection.patience()
        ended = False
        while True:
            try:
                for event in self._connection.events(path, after):
                    after = event["seq"]
                    patience.renew()
                    yield event
                if ended:
                    return
                # A server that goes cuts streams off: what it did not tell is asked for once more.
                ended = self.job(job)["state"] in _ENDED
            except ServerError as error:
                patience.wait(error)
            else:  # the server ended the stream before the job: it goes, and will be back
                patience.renew()
                time.sleep(0.0 if ended else _OFTEN)

    def wait(self, job: JobInfo | str, timeout: float | None = None) -> JobInfo:
        """Until a job has ended.

        Parameters
        ----------
        job : JobInfo or str
        timeout : float, optional
            Seconds; without it as long as it takes.

        Raises
        ------
        ServerError
            It failed; the text says why.
        WaitError
            It has not ended in time; a TimeoutError, too. The job goes on.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        pause = _OFTEN
        while True:
            found = self._connection.patiently(lambda: self.job(job), end)
            left = end - time.monotonic()
            if found["state"] in _ENDED or left <= 0:
                return _ended(found, timeout)
            time.sleep(min(pause, left))
            pause = min(1.2 * pause, _SELDOM)

    # -- models

    def model(self, model: ModelSummary | str) -> ModelInfo:
        """All about a model."""
        return cast("ModelInfo", self._connection.ask("GET", f"/v1/models/{_id(model)}", ModelInfo))

    def models(self) -> Iterator[ModelSummary]:
        """All models in short, newest first."""
        return self._connection.pages("/v1/models", ModelSummary)

    def delete_model(self, model: ModelSummary | str) -> None:
        """Remove it from the server; its job stays."""
        self._connection.send("DELETE", f"/v1/models/{_id(model)}")

    def download(self, model: ModelSummary | str, path: str | os.PathLike[str]) -> None:
        """Save a model as a safetensors file, whole or not at all; ``MLP.load`` reads it."""
        self._connection.save(f"/v1/models/{_id(model)}/file", Path(path))

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
        rows : mapping, data frame, list of mappings, or rows of numbers
            Columns by name; or one mapping for each row, all with the same names; or a matrix.
            None and NaN are missing values.
        output : str
            ``"prediction"``, or ``"probabilities"`` in the order of the model's classes.

        Returns
        -------
        list
            One item for each row.

        Warns
        -----
        UserWarning
            A text is no category that the model knows: it counts as unknown.

        Raises
        ------
        DataError
            Rows that do not have the same names or lengths, or hold what is no number or text.
        """
        body = {"inputs": tensors(rows), "outputs": [{"name": output}]}
        path = f"/v2/models/{_id(model)}/infer"
        found = self._connection.ask("POST", path, InferInfo, json=body)
        if unknown := found.get("parameters", {}).get("unknown"):
            warnings.warn(f"model {_id(model)}: {unknown}", UserWarning, stacklevel=2)
        return rows_of(found)


def _ended(job: JobInfo, timeout: float | None) -> JobInfo:
    """A job that has ended well; raises what else there is to say."""
    if job["state"] == "failed":
        raise ServerError(f"job {job['id']} failed: {job['error']}")
    if job["state"] not in _ENDED:
        raise WaitError(
            f"job {job['id']} is {job['state']} after {timeout:g} s: it goes on; wait longer, or"
            " look at it with job()."
        )
    return job


def _id(thing: Mapping[str, Any] | str) -> str:
    return quote(thing if isinstance(thing, str) else str(thing["id"]), safe="")

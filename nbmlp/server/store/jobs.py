"""Jobs in the database: every change of state is one transaction, and is checked there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from nbmlp.server.files import new_id
from nbmlp.server.jobs.spec import JobSpec, stored_spec
from nbmlp.server.ports import (
    ACTIVE,
    TERMINAL,
    CheckpointInfo,
    ConflictError,
    Dataset,
    EventKind,
    Job,
    JobEvent,
    JobState,
    KeyReusedError,
    Page,
    QueueFullError,
)
from nbmlp.server.quarantine import Known
from nbmlp.server.store import epochs, schema
from nbmlp.server.store.catalog import newest_first
from nbmlp.server.store.database import Database
from nbmlp.server.store.statements import Row, job_row, move, tell
from nbmlp.server.summaries import Curve

__all__ = ["WAITING", "JobStore"]

jobs, events, checkpoints = schema.jobs, schema.events, schema.checkpoints
#: States of jobs that start when their turn comes.
WAITING = frozenset({JobState.QUEUED, JobState.INTERRUPTED})
_ORDER = (jobs.c.priority.desc(), jobs.c.id)


class JobStore:
    """What jobs there are, what they are doing and what they have told.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading

    def row(self, job_id: str) -> Row:
        """The whole row of a job.

        Raises
        ------
        NotFoundError
        """
        with self._database.read() as connection:
            return job_row(connection, job_id)

    def get(self, job_id: str) -> Job:
        """One job."""
        with self._database.read() as connection:
            return _job(job_row(connection, job_id), _places(connection))

    def page(self, after: str | None, limit: int) -> Page[Job]:
        """A page of jobs, newest first."""
        with self._database.read() as connection:
            rows, more = newest_first(connection, jobs, after, limit)
            places = _places(connection)
        return Page(tuple(_job(row, places) for row in rows), more)

    def waiting(self) -> list[Row]:
        """Jobs that may start, the next one first."""
        return self._in(WAITING)

    def active(self) -> list[Row]:
        """Jobs that have a process, or had one when the server died."""
        return self._in(ACTIVE)

    def _in(self, states: Collection[str]) -> list[Row]:
        query = select(jobs).where(jobs.c.state.in_(states)).order_by(*_ORDER)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, int]:
        """Number of jobs in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        with self._database.read() as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {state.value: found.get(state.value, 0) for state in JobState}

    def events(self, job_id: str, after: int, limit: int) -> list[JobEvent]:
        """Events behind the one of number `after`; of epochs, with the rows that they left."""
        query = select(events).where(events.c.job_id == job_id, events.c.seq > after)
        with self._database.read() as connection:
            job_row(connection, job_id)
            found = connection.execute(query.order_by(events.c.seq).limit(limit)).mappings()
            return _events(connection, job_id, found.all())

    def last_event(self, job_id: str, kind: EventKind) -> JobEvent | None:
        """The newest of its kind."""
        query = select(events).where(events.c.job_id == job_id, events.c.kind == kind)
        with self._database.read() as connection:
            job_row(connection, job_id)
            found = connection.execute(query.order_by(events.c.seq.desc()).limit(1)).mappings()
            return next(iter(_events(connection, job_id, found.all())), None)

    def metrics(self, job_id: str, after: int, limit: int, points: int | None) -> Curve:
        """Rows of epochs behind the one of number `after`; see `epochs.read`."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            rows, more = epochs.read(connection, job, after, limit, points)
        return Curve(tuple(rows), more, job["last_seq"])

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        """Newest first."""
        query = select(checkpoints).where(checkpoints.c.job_id == job_id)
        with self._database.read() as connection:
            job_row(connection, job_id)
            found = connection.execute(query.order_by(checkpoints.c.epoch.desc())).mappings()
            return [CheckpointInfo(**row) for row in found]

    def names_in_use(self) -> Known:
        """What files and folders there may be."""
        ended = jobs.c.state.in_(TERMINAL)
        queries = (
            select(schema.datasets.c.sha256), select(jobs.c.id).where(~ended),
            select(jobs.c.id).where(ended), select(schema.models.c.id),
        )  # fmt: skip
        with self._database.read() as connection:
            return Known(*(set(connection.execute(query).scalars()) for query in queries))

    # -- what users want

    def known(self, spec: JobSpec, key: str) -> str | None:
        """Id of the job that came with this key before; None if there is none.

        Raises
        ------
        KeyReusedError
            The key came with another body.
        """
        with self._database.read() as connection:
            return _known(connection, key, _digest(spec))

    def add(
        self,
        spec: JobSpec,
        name: str,
        data: Dataset,
        threads: int,
        most: int,
        key: str | None,
        owner: str = "",
    ) -> str:
        """Queue a job; returns its id, or that of the job that the key belongs to.

        Raises
        ------
        KeyReusedError, QueueFullError
        """
        digest = _digest(spec)
        with self._database.write() as connection:
            if key is not None and (known := _known(connection, key, digest)):
                return known
            count = select(func.count()).where(jobs.c.state.in_(WAITING))
            if connection.execute(count).scalar_one() >= most:
                raise QueueFullError(f"{most} jobs wait already: try again when some have ended.")
            job_id = new_id()
            connection.execute(insert(jobs).values(
                id=job_id, name=name, dataset_id=data.id, data_name=data.name,
                data_sha256=data.sha256, spec=spec.model_dump(mode="json"), priority=spec.priority,
                threads=threads, state=JobState.QUEUED, wish="", message="", error="",
                error_kind="", created=time.time(), used_seconds=0.0, epoch=0,
                epochs=spec.planned_epochs, attempt=0, setbacks=0, fence=0, last_seq=0,
                score_name="", stop_reason="", owner=owner,
            ))  # fmt: skip
            tell(connection, job_id, EventKind.STATE, {"state": "queued", "message": ""})
            if key is not None:
                values = {"key": key, "digest": digest, "job_id": job_id, "created": time.time()}
                connection.execute(insert(schema.keys).values(**values))
        return job_id

    def move(
        self,
        job_id: str,
        allowed: Collection[JobState],
        state: JobState,
        message: str = "",
        **values: Any,
    ) -> None:
        """Change a job's state.

        Raises
        ------
        ConflictError
            It is in none of the allowed states.
        """
        with self._database.write() as connection:
            row = job_row(connection, job_id)
            if row["state"] not in allowed:
                raise ConflictError(f"job {job_id} is {row['state']}: that cannot be done now.")
            move(connection, row, state, message, **values)

    def delete(self, job_id: str) -> None:
        """Forget a job with its events and keys; a model that it has stays.

        Raises
        ------
        ConflictError
            It has not ended.
        """
        with self._database.write() as connection:
            row = job_row(connection, job_id)
            if row["state"] not in TERMINAL:
                raise ConflictError(f"job {job_id} is {row['state']}: cancel it first.")
            for table in (events, schema.epochs, checkpoints, schema.keys):
                connection.execute(delete(table).where(table.c.job_id == job_id))
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    def wish(self, job_id: str, wish: str) -> None:
        """Note what is to happen to the training at its next batch."""
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(wish=wish))

    def say(self, job_id: str, message: str) -> None:
        """Explain the state that a waiting job is in."""
        with self._database.write() as connection:
            row = job_row(connection, job_id)
            if row["state"] in WAITING and row["message"] != message:
                move(connection, row, JobState(row["state"]), message)


# -- one statement each


def _digest(spec: JobSpec) -> str:
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()


def _known(connection: Connection, key: str, digest: str) -> str | None:
    keys = schema.keys
    found = connection.execute(select(keys).where(keys.c.key == key)).mappings().first()
    if found is None:
        return None
    if found["digest"] != digest:
        raise KeyReusedError("this Idempotency-Key came before with another body: use a new one.")
    return str(found["job_id"])


def _places(connection: Connection) -> dict[str, int]:
    query = select(jobs.c.id).where(jobs.c.state.in_(WAITING)).order_by(*_ORDER)
    return {job_id: n for n, job_id in enumerate(connection.execute(query).scalars(), start=1)}


def _events(connection: Connection, job_id: str, found: Sequence[RowMapping]) -> list[JobEvent]:
    """As they are told: with the rows of epochs, which are kept once, in a table of their own."""
    spans = {row["seq"]: row["data"] for row in found if row["kind"] == EventKind.EPOCHS}
    rows = zip(spans, epochs.rows_of(connection, job_id, list(spans.values())), strict=True)
    told = {seq: {"data": {"rows": left}} for seq, left in rows}
    return [
        JobEvent(**{**row, "kind": EventKind(row["kind"]), **told.get(row["seq"], {})})
        for row in found
    ]


_SAME = (
    "id", "name", "dataset_id", "message", "error", "error_kind", "created", "started", "finished",
    "epoch", "epochs", "attempt", "best_epoch", "best_score", "best_loss", "score_name",
    "stop_reason", "model_id", "owner", "remark",
)  # fmt: skip


def _job(row: Mapping[Any, Any], places: Mapping[str, int]) -> Job:
    return Job(
        spec=stored_spec(row["spec"]), state=JobState(row["state"]),
        queue_place=places.get(row["id"]), dataset_name=row["data_name"],
        seconds=row["used_seconds"], lagged=tuple(row["lagged"]),
        **{name: row[name] for name in _SAME},
    )  # fmt: skip

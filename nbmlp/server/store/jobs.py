"""Jobs in the database: every change of state is one transaction, and is checked there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.engine import RowMapping

from nbmlp.server.files import new_id
from nbmlp.server.jobs.spec import JobSpec
from nbmlp.server.ports import (
    ACTIVE,
    TERMINAL,
    CheckpointInfo,
    ConflictError,
    EventKind,
    Job,
    JobEvent,
    JobState,
    KeyReusedError,
    NotFoundError,
    Page,
    QueueFullError,
)
from nbmlp.server.store import schema
from nbmlp.server.store.catalog import newest_first
from nbmlp.server.store.database import Database
from nbmlp.train.history import MONITORS

__all__ = ["WAITING", "JobStore", "StaleError"]

Row = Mapping[str, Any]
jobs, events, checkpoints = schema.jobs, schema.events, schema.checkpoints
#: States of jobs that start when their turn comes.
WAITING = frozenset({JobState.QUEUED, JobState.INTERRUPTED})
_ORDER = (jobs.c.priority.desc(), jobs.c.id)


class StaleError(Exception):
    """The reporting process is not, or no longer, the one that the job belongs to."""


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
            return _row(connection, job_id)

    def get(self, job_id: str) -> Job:
        """One job."""
        with self._database.read() as connection:
            return _job(_row(connection, job_id), _places(connection))

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
        """Events behind the one of number `after`."""
        query = select(events).where(events.c.job_id == job_id, events.c.seq > after)
        with self._database.read() as connection:
            _row(connection, job_id)
            found = connection.execute(query.order_by(events.c.seq).limit(limit)).mappings()
            return [_event(row) for row in found]

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """Rows of all epochs; of an epoch that was trained again, the last."""
        query = select(events.c.data).where(
            events.c.job_id == job_id, events.c.kind == EventKind.EPOCHS
        )
        with self._database.read() as connection:
            known = _row(connection, job_id)["epoch"]
            found = list(connection.execute(query.order_by(events.c.seq)).scalars())
        rows = {row["epoch"]: row for data in found for row in data["rows"]}
        return [rows[epoch] for epoch in sorted(rows) if epoch <= known]

    def checkpoints(self, job_id: str) -> list[CheckpointInfo]:
        """Newest first."""
        query = select(checkpoints).where(checkpoints.c.job_id == job_id)
        with self._database.read() as connection:
            _row(connection, job_id)
            found = connection.execute(query.order_by(checkpoints.c.epoch.desc())).mappings()
            return [CheckpointInfo(**row) for row in found]

    def names_in_use(self) -> tuple[list[str], list[str], list[str]]:
        """Hashes of data sets, ids of jobs that have not ended, ids of models."""
        live = select(jobs.c.id).where(jobs.c.state.not_in(TERMINAL))
        queries = (select(schema.datasets.c.sha256), live, select(schema.models.c.id))
        with self._database.read() as connection:
            found = [list(connection.execute(query).scalars()) for query in queries]
        return found[0], found[1], found[2]

    # -- what users want

    def add(
        self,
        spec: JobSpec,
        name: str,
        data_sha256: str,
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
        body = spec.model_dump(mode="json")
        digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
        with self._database.write() as connection:
            if key is not None and (known := _known(connection, key, digest)):
                return known
            count = select(func.count()).where(jobs.c.state.in_(WAITING))
            if connection.execute(count).scalar_one() >= most:
                raise QueueFullError(f"{most} jobs wait already: try again when some have ended.")
            job_id = new_id()
            connection.execute(insert(jobs).values(
                id=job_id, name=name, dataset_id=spec.dataset_id, data_sha256=data_sha256,
                spec=body, priority=spec.priority, threads=threads, state=JobState.QUEUED, wish="",
                message="", error="", error_kind="", created=time.time(), used_seconds=0.0,
                epoch=0, epochs=spec.model.epochs, attempt=0, setbacks=0, fence=0, last_seq=0,
                score_name="", stop_reason="", owner=owner,
            ))  # fmt: skip
            _tell(connection, job_id, EventKind.STATE, {"state": "queued", "message": ""})
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
            row = _row(connection, job_id)
            if row["state"] not in allowed:
                raise ConflictError(f"job {job_id} is {row['state']}: that cannot be done now.")
            _move(connection, row, state, message, **values)

    def wish(self, job_id: str, wish: str) -> None:
        """Note what is to happen to the training at its next batch."""
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(wish=wish))

    # -- what happens to its processes

    def begin(self, job_id: str) -> int:
        """A process is about to start; returns its fencing token.

        Raises
        ------
        ConflictError
            It is not waiting any longer.
        """
        with self._database.write() as connection:
            row = _row(connection, job_id)
            if row["state"] not in WAITING:
                raise ConflictError(f"job {job_id} is {row['state']}.")
            fence, now = int(row["fence"]) + 1, time.time()
            _move(
                connection, row, JobState.COMPILING, row["message"], fence=fence,
                attempt=row["attempt"] + 1, started=row["started"] or now, attempt_started=now,
                pid=None, pid_started=None,
            )  # fmt: skip
        return fence

    def report(
        self,
        job_id: str,
        fence: int,
        told: Sequence[tuple[EventKind, Mapping[str, Any]]] = (),
        **values: Any,
    ) -> None:
        """Events and changed columns, from the process that holds the token.

        Raises
        ------
        StaleError
            It does not, or the job has ended.
        """
        with self._database.write() as connection:
            _owned(connection, job_id, fence)
            if values:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
            for kind, data in told:
                _tell(connection, job_id, kind, data)

    def epochs(self, job_id: str, fence: int, rows: Sequence[Row]) -> None:
        """Epochs that were trained, oldest first."""
        with self._database.write() as connection:
            best = _best(_owned(connection, job_id, fence), rows)
            last = rows[-1]["epoch"]
            self.report(
                job_id, fence, [(EventKind.EPOCHS, {"rows": list(rows)})], epoch=last, **best,
            )  # fmt: skip

    def checkpoint(self, info: CheckpointInfo, fence: int, keep: int = 2) -> None:
        """A checkpoint is on disk; rows of older ones than the last two go."""
        with self._database.write() as connection:
            _owned(connection, info.job_id, fence)
            mine = checkpoints.c.job_id == info.job_id
            # Those of an epoch not reached yet belong to a future that a crash has undone.
            connection.execute(checkpoints.delete().where(mine, checkpoints.c.epoch >= info.epoch))
            connection.execute(insert(checkpoints).values(**vars(info)))
            kept = select(checkpoints.c.epoch).where(mine)
            kept = kept.order_by(checkpoints.c.epoch.desc()).limit(keep)
            connection.execute(checkpoints.delete().where(mine, checkpoints.c.epoch.not_in(kept)))
            told = [(EventKind.CHECKPOINT, {"epoch": info.epoch})]
            self.report(info.job_id, fence, told, setbacks=0)

    def phase(self, job_id: str, fence: int, state: JobState, score_name: str) -> None:
        """The process compiles or trains."""
        with self._database.write() as connection:
            row = _owned(connection, job_id, fence)
            if row["state"] != state:
                _move(connection, row, state, row["message"], score_name=score_name)

    def finish(
        self, job_id: str, fence: int, state: JobState, message: str = "", **values: Any
    ) -> None:
        """The process has ended, and with it the job or its attempt.

        Raises
        ------
        StaleError
            It did not hold the token, or the job had ended before.
        """
        with self._database.write() as connection:
            row = _owned(connection, job_id, fence)
            used = row["used_seconds"] + time.time() - (row["attempt_started"] or time.time())
            _move(connection, row, state, message, used_seconds=used, pid=None, **values)

    def succeed(self, job_id: str, fence: int, reason: str, model: Row) -> None:
        """The job has ended with a model: both are known, or neither.

        Raises
        ------
        StaleError
        """
        with self._database.write() as connection:
            owner = _owned(connection, job_id, fence)["owner"]
            connection.execute(insert(schema.models).values(**model, owner=owner))
            self.finish(
                job_id, fence, JobState.SUCCEEDED, reason, stop_reason=reason,
                model_id=model["id"],
            )  # fmt: skip


# -- one statement each


def _row(connection: Connection, job_id: str) -> Row:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no job {job_id[:40]!r}.")
    return dict(row)


def _owned(connection: Connection, job_id: str, fence: int) -> Row:
    row = _row(connection, job_id)
    if row["fence"] != fence or row["state"] not in ACTIVE:
        raise StaleError(job_id)
    return row


def _known(connection: Connection, key: str, digest: str) -> str | None:
    keys = schema.keys
    found = connection.execute(select(keys).where(keys.c.key == key)).mappings().first()
    if found is None:
        return None
    if found["digest"] != digest:
        raise KeyReusedError("this Idempotency-Key came before with another body: use a new one.")
    return str(found["job_id"])


def _tell(connection: Connection, job_id: str, kind: EventKind, data: Mapping[str, Any]) -> None:
    next_seq = update(jobs).where(jobs.c.id == job_id).values(last_seq=jobs.c.last_seq + 1)
    seq = connection.execute(next_seq.returning(jobs.c.last_seq)).scalar_one()
    connection.execute(
        insert(events).values(job_id=job_id, seq=seq, time=time.time(), kind=kind, data=dict(data))
    )


def _move(connection: Connection, row: Row, state: JobState, message: str, **values: Any) -> None:
    """Change the state; a terminal one stays for ever, and its checkpoints' rows go."""
    assert row["state"] not in TERMINAL
    if state in TERMINAL:
        values |= {"finished": time.time(), "wish": ""}
        connection.execute(checkpoints.delete().where(checkpoints.c.job_id == row["id"]))
    changed = update(jobs).where(jobs.c.id == row["id"])
    connection.execute(changed.values(state=state, message=message, **values))
    told = {"state": state.value, "message": message}
    told |= {n: values[n] for n in ("error", "error_kind") if values.get(n)}
    _tell(connection, row["id"], EventKind.STATE, told)


def _places(connection: Connection) -> dict[str, int]:
    query = select(jobs.c.id).where(jobs.c.state.in_(WAITING)).order_by(*_ORDER)
    return {job_id: n for n, job_id in enumerate(connection.execute(query).scalars(), start=1)}


def _best(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """The best epoch, these included; the first one on a tie, as in History.best_epoch."""
    best = {name: row[name] for name in ("best_epoch", "best_score", "best_loss")}
    for new in rows:
        name = next(n for n in MONITORS if new[n] is not None or n == "train_loss")
        old = best["best_score"] if name == "val_score" else best["best_loss"]
        value = new[name]
        if value is None or (old is not None and MONITORS[name] * (value - old) <= 0):
            continue
        loss = new["train_loss"] if new["val_loss"] is None else new["val_loss"]
        best = {"best_epoch": new["epoch"], "best_score": new["val_score"], "best_loss": loss}
    return best


def _event(row: RowMapping) -> JobEvent:
    return JobEvent(**{**row, "kind": EventKind(row["kind"])})


_SAME = (
    "id", "name", "dataset_id", "message", "error", "error_kind", "created", "started", "finished",
    "epoch", "epochs", "attempt", "best_epoch", "best_score", "best_loss", "score_name",
    "stop_reason", "model_id", "owner",
)  # fmt: skip


def _job(row: Mapping[Any, Any], places: Mapping[str, int]) -> Job:
    return Job(
        spec=JobSpec.model_validate(row["spec"]), state=JobState(row["state"]),
        queue_place=places.get(row["id"]), **{name: row[name] for name in _SAME},
    )  # fmt: skip

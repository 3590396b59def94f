"""What several stores do to the row and the events of one job, within a transaction of theirs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from nbmlp.server.ports import TERMINAL, EventKind, JobState, NotFoundError
from nbmlp.server.store import schema

__all__ = ["Row", "job_row", "move", "tell"]

Row = Mapping[str, Any]
jobs, events, checkpoints = schema.jobs, schema.events, schema.checkpoints


def job_row(connection: Connection, job_id: str) -> Row:
    """The whole row of a job.

    Raises
    ------
    NotFoundError
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no job {job_id[:40]!r}.")
    return dict(row)


def tell(connection: Connection, job_id: str, kind: EventKind, data: Mapping[str, Any]) -> None:
    """Add an event, with the next number."""
    next_seq = update(jobs).where(jobs.c.id == job_id).values(last_seq=jobs.c.last_seq + 1)
    seq = connection.execute(next_seq.returning(jobs.c.last_seq)).scalar_one()
    connection.execute(
        insert(events).values(job_id=job_id, seq=seq, time=time.time(), kind=kind, data=dict(data))
    )


def move(connection: Connection, row: Row, state: JobState, message: str, **values: Any) -> None:
    """Change the state; a terminal one stays for ever, and its checkpoints' rows go."""
    assert row["state"] not in TERMINAL
    if state in TERMINAL:
        values |= {"finished": time.time(), "wish": ""}
        connection.execute(checkpoints.delete().where(checkpoints.c.job_id == row["id"]))
    changed = update(jobs).where(jobs.c.id == row["id"])
    connection.execute(changed.values(state=state, message=message, **values))
    told = {"state": state.value, "message": message}
    told |= {n: values[n] for n in ("error", "error_kind", "remark") if values.get(n)}
    tell(connection, row["id"], EventKind.STATE, told)

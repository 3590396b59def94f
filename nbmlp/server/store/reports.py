"""What the processes of jobs report: taken from the one that holds the job's token only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from nbmlp.server.ports import (
    ACTIVE,
    CheckpointInfo,
    ConflictError,
    EventKind,
    JobState,
)
from nbmlp.server.store import epochs, schema
from nbmlp.server.store.database import Database
from nbmlp.server.store.jobs import WAITING
from nbmlp.server.store.statements import Row, job_row, move, tell
from nbmlp.server.summaries import measures
from nbmlp.train.history import MONITORS, direction

__all__ = ["Reports", "StaleError"]

jobs, checkpoints = schema.jobs, schema.checkpoints


class StaleError(Exception):
    """The reporting process is not, or no longer, the one that the job belongs to."""


class Reports:
    """Jobs as their processes change them; `values` are further columns that change with it.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, job_id: str, message: str | None = None) -> int:
        """A process is about to start; returns its fencing token.

        Raises
        ------
        ConflictError
            It is not waiting any longer.
        """
        with self._database.write() as connection:
            row = job_row(connection, job_id)
            if row["state"] not in WAITING:
                raise ConflictError(f"job {job_id} is {row['state']}.")
            fence, text = int(row["fence"]) + 1, row["message"] if message is None else message
            move(
                connection, row, JobState.COMPILING, text, fence=fence,
                attempt=row["attempt"] + 1, started=row["started"] or time.time(),
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
                tell(connection, job_id, kind, data)

    def epochs(self, job_id: str, fence: int, rows: Sequence[Row], **values: Any) -> None:
        """Epochs that were trained, oldest first."""
        with self._database.write() as connection:
            best = _best(_owned(connection, job_id, fence), rows)
            epochs.add(connection, job_id, rows)
            span = {"first": rows[0]["epoch"], "last": rows[-1]["epoch"]}
            told = [(EventKind.EPOCHS, span)]
            self.report(job_id, fence, told, epoch=span["last"], **best, **values)

    def checkpoint(self, info: CheckpointInfo, fence: int, keep: int = 2, **values: Any) -> None:
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
            self.report(info.job_id, fence, told, setbacks=0, **values)

    def phase(
        self, job_id: str, fence: int, state: JobState, score_name: str, **values: Any
    ) -> None:
        """The process compiles or trains."""
        with self._database.write() as connection:
            row = _owned(connection, job_id, fence)
            if row["state"] != state:
                move(connection, row, state, row["message"], score_name=score_name, **values)

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
            move(connection, row, state, message, pid=None, **values)

    def succeed(self, job_id: str, fence: int, reason: str, model: Row, **values: Any) -> None:
        """The job has ended with a model: both are known, or neither.

        Raises
        ------
        StaleError
        """
        with self._database.write() as connection:
            row = _owned(connection, job_id, fence)
            given = {"name": row["name"], "owner": row["owner"]}
            given["measures"] = measures(model["evaluation"])
            connection.execute(insert(schema.models).values(**model, **given))
            self.finish(
                job_id, fence, JobState.SUCCEEDED, reason, stop_reason=reason,
                model_id=model["id"], **values,
            )  # fmt: skip


def _owned(connection: Connection, job_id: str, fence: int) -> Row:
    row = job_row(connection, job_id)
    if row["fence"] != fence or row["state"] not in ACTIVE:
        raise StaleError(job_id)
    return row


def _best(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """The best epoch, these included; the first one on a tie, as in History.best_epoch."""
    anew = rows[0]["epoch"] == 1  # an ensemble that goes on has other numbers for its epochs
    names = ("best_epoch", "best_score", "best_loss")
    best = {name: None if anew else row[name] for name in names}
    for new in rows:
        name = next(n for n in MONITORS if new[n] is not None or n == "train_loss")
        old = best["best_score"] if name == "val_score" else best["best_loss"]
        value = new[name]
        sign = direction(name, row["score_name"])
        if value is None or (old is not None and sign * (value - old) <= 0):
            continue
        loss = new["train_loss"] if new["val_loss"] is None else new["val_loss"]
        best = {"best_epoch": new["epoch"], "best_score": new["val_score"], "best_loss": loss}
    return best

"""What the epochs of jobs left behind: one row of the database for each, found by its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select

from nbmlp.server.store import schema

__all__ = ["add", "read", "rows_of"]

epochs = schema.epochs


def add(connection: Connection, job_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Epochs that were trained, oldest first; those from the first on were not, if there are any.

    A process that goes on from a checkpoint trains some again: what came later is undone.
    """
    mine = (epochs.c.job_id == job_id) & (epochs.c.epoch >= rows[0]["epoch"])
    connection.execute(delete(epochs).where(mine))
    values = [{"job_id": job_id, "epoch": row["epoch"], "data": dict(row)} for row in rows]
    connection.execute(insert(epochs), values)


def rows_of(
    connection: Connection, job_id: str, spans: Sequence[Mapping[str, int]]
) -> list[list[dict[str, Any]]]:
    """Rows of the epochs from ``"first"`` to ``"last"`` of each span."""
    if not spans:
        return []
    first, last = min(s["first"] for s in spans), max(s["last"] for s in spans)
    query = select(epochs.c.epoch, epochs.c.data).where(
        epochs.c.job_id == job_id, epochs.c.epoch >= first, epochs.c.epoch <= last
    )
    found = {row[0]: row[1] for row in connection.execute(query)}
    numbers = (range(span["first"], span["last"] + 1) for span in spans)
    return [[found[epoch] for epoch in span if epoch in found] for span in numbers]


def _own(job: Mapping[str, Any]) -> ColumnElement[int]:
    """The number of an epoch; of an ensemble, among those of its net."""
    if job["spec"].get("preset") is None:
        return epochs.c.epoch
    return func.coalesce(epochs.c.data["net_epoch"].as_integer(), epochs.c.epoch)


def read(
    connection: Connection, job: Mapping[str, Any], after: int, limit: int, points: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """Some rows of a job, and whether there are more.

    Parameters
    ----------
    connection : Connection
    job : mapping
        Its row.
    after : int
        Epochs with larger numbers only.
    limit : int
        Most rows.
    points : int or None
        Every n-th of all epochs only, so that they are no more than so many (10 at least); the
        first, the best and the last are among them. Of an ensemble, every n-th of each net.
    """
    mine = (epochs.c.job_id == job["id"]) & (epochs.c.epoch <= job["epoch"])
    query = select(epochs.c.data).where(mine, epochs.c.epoch > after)
    if points is not None:
        ends = select(func.min(epochs.c.epoch), func.max(epochs.c.epoch)).where(mine)
        first, last = connection.execute(ends).one()
        kept = {first, job["best_epoch"], last} - {None}
        step = max(1, -(-job["epoch"] // (points - 3)))
        query = query.where(or_(_own(job) % step == 0, epochs.c.epoch.in_(kept)))
    found = list(connection.execute(query.order_by(epochs.c.epoch).limit(limit + 1)).scalars())
    return found[:limit], len(found) > limit

"""Who made what; tokens with limits of their own; what a job leaves behind; lists in short."""

from __future__ import annotations

import json

from alembic import op
from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, String, Text, text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What is there already was made by nobody in particular."""
    for table in ("datasets", "jobs", "models"):
        op.add_column(table, Column("owner", Text, nullable=False, server_default=""))
    for column in (
        Column("last_used", Float), Column("rate", Float), Column("burst", Integer),
        Column("streams", Integer), Column("uploads", Integer),
    ):  # fmt: skip
        op.add_column("tokens", column)
    op.add_column("models", Column("categories", JSON, nullable=False, server_default="{}"))
    op.add_column("keys", Column("created", Float, nullable=False, server_default="0"))
    op.execute(
        "UPDATE keys SET created = (SELECT jobs.created FROM jobs WHERE jobs.id = keys.job_id)"
    )
    _jobs()
    _summaries()
    _epochs()


def _jobs() -> None:
    """What stays known of a job's data; what is to be said of its model; its time, measured."""
    for column in (
        Column("data_name", Text, nullable=False, server_default=""),
        Column("remark", Text, nullable=False, server_default=""),
        Column("thinned", Boolean, nullable=False, server_default="0"),
    ):
        op.add_column("jobs", column)
    op.execute(
        "UPDATE jobs SET data_name = coalesce("
        "(SELECT datasets.name FROM datasets WHERE datasets.id = jobs.dataset_id), '')"
    )
    op.drop_column("jobs", "attempt_started")
    op.create_index("told", "events", ["job_id", "kind", "seq"])


def _summaries() -> None:
    """What lists tell of data sets and models, without reading all about them."""
    op.add_column("datasets", Column("n_columns", Integer, nullable=False, server_default="0"))
    op.execute("UPDATE datasets SET n_columns = json_array_length(columns)")
    op.add_column("models", Column("measures", JSON, nullable=False, server_default="{}"))
    connection = op.get_bind()
    short = text("UPDATE models SET measures = :measures WHERE id = :id")
    for (model_id,) in connection.execute(text("SELECT id FROM models")).all():
        # Read here, not by SQLite: NaN, which older ones do not know, may be among them.
        found = text("SELECT evaluation FROM models WHERE id = :id")
        told = json.loads(connection.execute(found, {"id": model_id}).scalar_one())
        kept = {name: v for name, v in told.items() if not isinstance(v, list | dict)}
        connection.execute(short, {"measures": json.dumps(kept), "id": model_id})


def _epochs() -> None:
    """Each epoch has a row of its own; the events say which ones they told of."""
    op.create_table(
        "epochs",
        Column("job_id", String(26), ForeignKey("jobs.id"), primary_key=True),
        Column("epoch", Integer, primary_key=True),
        Column("data", JSON, nullable=False),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    told = text("SELECT job_id, seq FROM events WHERE kind = 'epochs' ORDER BY job_id, seq")
    found = text("SELECT data FROM events WHERE job_id = :job_id AND seq = :seq")
    row = text("INSERT OR REPLACE INTO epochs VALUES (:job_id, :epoch, :data)")
    short = text("UPDATE events SET data = :data WHERE job_id = :job_id AND seq = :seq")
    for event in connection.execute(told).mappings().all():
        rows = json.loads(connection.execute(found, dict(event)).scalar_one())["rows"]
        values = [{"job_id": event["job_id"], "epoch": r["epoch"], "data": json.dumps(r)}
                  for r in rows]  # fmt: skip
        connection.execute(row, values)
        span = json.dumps({"first": rows[0]["epoch"], "last": rows[-1]["epoch"]})
        connection.execute(short, {**event, "data": span})

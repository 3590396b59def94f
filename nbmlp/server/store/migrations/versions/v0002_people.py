"""Who made what; tokens with limits of their own; what a job leaves behind of itself."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, Float, Integer, Text

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
    op.add_column("keys", Column("created", Float, nullable=False, server_default="0"))
    op.execute(
        "UPDATE keys SET created = (SELECT jobs.created FROM jobs WHERE jobs.id = keys.job_id)"
    )
    _jobs()


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

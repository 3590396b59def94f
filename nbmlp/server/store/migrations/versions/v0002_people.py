"""Who made what; tokens with limits of their own; when a request's key came."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, Integer, Text

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

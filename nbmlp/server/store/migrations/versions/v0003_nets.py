"""Which nets of an ensemble have lagged behind."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Of jobs that have ended their models tell more; of others the next report does."""
    op.add_column("jobs", Column("lagged", JSON, nullable=False, server_default="[]"))

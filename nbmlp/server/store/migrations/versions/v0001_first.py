"""The first tables."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Text,
)

revision = "0001"
down_revision = None
_ID = String(26)


def upgrade() -> None:
    """From nothing."""
    for create in (_data_sets, _jobs, _reports, _models, _access):
        create()


def _data_sets() -> None:
    """What was uploaded."""
    op.create_table(
        "datasets",
        Column("id", _ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("sha256", String(64), nullable=False, index=True),
        Column("format", String(20), nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("rows", BigInteger, nullable=False),
        Column("columns", JSON, nullable=False),
        Column("target_guess", Text),
        Column("preview", JSON, nullable=False),
        Column("created", Float, nullable=False),
    )


def _jobs() -> None:
    """Trainings, and the order in which they wait."""
    op.create_table(
        "jobs",
        Column("id", _ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("dataset_id", _ID, nullable=False, index=True),
        Column("data_sha256", String(64), nullable=False),
        Column("spec", JSON, nullable=False),
        Column("priority", Integer, nullable=False),
        Column("threads", Integer, nullable=False),
        Column("state", String(20), nullable=False, index=True),
        Column("wish", String(10), nullable=False),
        Column("message", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("error_kind", String(20), nullable=False),
        Column("created", Float, nullable=False),
        Column("started", Float),
        Column("finished", Float),
        Column("attempt_started", Float),
        Column("used_seconds", Float, nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("epochs", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("setbacks", Integer, nullable=False),
        Column("fence", Integer, nullable=False),
        Column("pid", Integer),
        Column("pid_started", Float),
        Column("last_seq", Integer, nullable=False),
        Column("best_epoch", Integer),
        Column("best_score", Float),
        Column("best_loss", Float),
        Column("score_name", String(40), nullable=False),
        Column("stop_reason", Text, nullable=False),
        Column("model_id", _ID),
    )
    op.create_index("queue", "jobs", ["state", "priority", "id"])


def _reports() -> None:
    """What their processes have told."""
    op.create_table(
        "events",
        Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
        Column("seq", Integer, primary_key=True),
        Column("time", Float, nullable=False),
        Column("kind", String(20), nullable=False),
        Column("data", JSON, nullable=False),
    )
    op.create_table(
        "checkpoints",
        Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
        Column("epoch", Integer, primary_key=True),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("created", Float, nullable=False),
    )


def _models() -> None:
    """What came of them."""
    op.create_table(
        "models",
        Column("id", _ID, primary_key=True),
        Column("name", Text, nullable=False),
        Column("job_id", _ID, nullable=False),
        Column("dataset_id", _ID, nullable=False),
        Column("created", Float, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("task", String(20), nullable=False),
        Column("inputs", JSON, nullable=False),
        Column("targets", JSON, nullable=False),
        Column("classes", JSON, nullable=False),
        Column("evaluation", JSON, nullable=False),
        Column("summary", Text, nullable=False),
    )


def _access() -> None:
    """Requests not to be done twice; who may ask."""
    op.create_table(
        "keys",
        Column("key", String(200), primary_key=True),
        Column("digest", String(64), nullable=False),
        Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False),
    )
    op.create_table(
        "tokens",
        Column("id", _ID, primary_key=True),
        Column("label", Text, nullable=False),
        Column("hash", String(64), nullable=False, unique=True),
        Column("created", Float, nullable=False),
    )

"""The tables as they are now; how older ones become these is told in migrations/versions."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = [
    "checkpoints", "datasets", "epochs", "events", "jobs", "keys", "metadata", "models", "tokens",
]  # fmt: skip

metadata = MetaData()
_ID = String(26)

datasets = Table(
    "datasets", metadata,
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
    Column("owner", Text, nullable=False, server_default=""),  # label of the token that made it
    Column("n_columns", Integer, nullable=False, server_default="0"),
)  # fmt: skip

jobs = Table(
    "jobs", metadata,
    Column("id", _ID, primary_key=True),
    Column("name", Text, nullable=False),
    # The data set may be deleted once the job has ended; what it was stays known.
    Column("dataset_id", _ID, nullable=False, index=True),
    Column("data_name", Text, nullable=False, server_default=""),
    Column("data_sha256", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("wish", String(10), nullable=False),  # "", "pause" or "stop": at the next batch
    Column("message", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("error_kind", String(20), nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("used_seconds", Float, nullable=False),  # that its attempts have run, as last reported
    Column("epoch", Integer, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("setbacks", Integer, nullable=False),  # attempts in a row that got nowhere
    Column("fence", Integer, nullable=False),  # of the process that may report; only rises
    Column("pid", Integer),
    Column("pid_started", Float),
    Column("last_seq", Integer, nullable=False),
    Column("best_epoch", Integer),
    Column("best_score", Float),
    Column("best_loss", Float),
    Column("score_name", String(40), nullable=False),
    Column("stop_reason", Text, nullable=False),
    Column("model_id", _ID),
    Column("owner", Text, nullable=False, server_default=""),
    Column("remark", Text, nullable=False, server_default=""),
    Column("thinned", Boolean, nullable=False, server_default="0"),  # its old events are removed
    Column("lagged", JSON, nullable=False, server_default="[]"),  # nets that do not count any more
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("data", JSON, nullable=False),
)  # fmt: skip

epochs = Table(
    "epochs", metadata,
    Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("data", JSON, nullable=False),
    sqlite_with_rowid=False,  # rows lie in the order of the key: a page of them is read in one go
)  # fmt: skip

checkpoints = Table(
    "checkpoints", metadata,
    Column("job_id", _ID, ForeignKey("jobs.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created", Float, nullable=False),
)  # fmt: skip

models = Table(
    "models", metadata,
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
    Column("measures", JSON, nullable=False, server_default="{}"),  # those that are single values
    Column("summary", Text, nullable=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("categories", JSON, nullable=False, server_default="{}"),
)  # fmt: skip

keys = Table(
    "keys", metadata,
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("job_id", _ID, ForeignKey("jobs.id"), nullable=False),
    Column("created", Float, nullable=False, server_default="0"),
)  # fmt: skip

tokens = Table(
    "tokens", metadata,
    Column("id", _ID, primary_key=True),
    Column("label", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("last_used", Float),
    Column("rate", Float),  # limits of its own; null: the server's setting counts
    Column("burst", Integer),
    Column("streams", Integer),
    Column("uploads", Integer),
)  # fmt: skip

Index("queue", jobs.c.state, jobs.c.priority, jobs.c.id)
Index("told", events.c.job_id, events.c.kind, events.c.seq)

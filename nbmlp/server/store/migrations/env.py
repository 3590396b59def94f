"""Run by alembic, on the connection that it is handed."""

from __future__ import annotations

from alembic import context

from nbmlp.server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()

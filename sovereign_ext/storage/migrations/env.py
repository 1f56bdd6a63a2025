"""Alembic's entry point: runs migrations on the connection that ``storage.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from sovereign_ext.storage.schema import metadata

# The transaction is the caller's. SQLite can take back CREATE TABLE too; Alembic does not think so by itself.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()

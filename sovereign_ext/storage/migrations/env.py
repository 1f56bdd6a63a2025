"""Alembic's entry point: runs migrations on the connection that ``storage.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from sovereign_ext.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

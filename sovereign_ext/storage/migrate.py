"""Brings the schema to ``schema.REVISION``, importing Alembic only when there is something to migrate.

A database from a newer release is refused. Downgrades are not offered.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.storage.schema import REVISION


def ensure_schema(engine: Engine) -> None:
    """Migrate if needed. Raises ``LogUnavailable`` when this release does not know the database's
    revision."""
    with engine.connect() as connection:
        if current_revision(connection) != REVISION:
            _upgrade(connection)


def current_revision(connection: Connection) -> str | None:
    """The revision the database says it is at; ``None`` for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    # Alembic costs a third of a second to import, which every start would pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script.revision import ResolutionError  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except (CommandError, ResolutionError) as error:
        raise LogUnavailable(f"the database's schema is not known to this release: {error}") from error
    connection.commit()

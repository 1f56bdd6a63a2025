"""Brings the schema to ``schema.REVISION``, importing Alembic only when there is something to migrate.

SQLite belongs to one process and is migrated when that starts. A PostgreSQL database is shared: replicas of an older
release may still use it, so an operator says when (``sovereign db upgrade``), and an ordinary start with an old schema
is refused. An empty one has nobody to ask, and is made by whoever comes first. A migration is one transaction that
waits for any other. A database from a newer release is refused. Downgrades are not offered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, inspect, select, text

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.storage.schema import REVISION

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x736F76_6D6967  # "sov" "mig": PostgreSQL's advisory locks have numbers


def ensure_schema(engine: Engine) -> None:
    """Migrate what may be migrated at a start.

    Raises ``LogUnavailable`` when this release does not know the database's revision, or is not to migrate it.
    """
    with engine.connect() as connection:
        found = current_revision(connection)
    if found == REVISION:
        return
    if found is not None and engine.dialect.name == "postgresql":
        _require_known(found)
        raise LogUnavailable(
            f"the database's schema is at revision {found}, this release needs {REVISION}: run `sovereign db upgrade`"
        )
    upgrade(engine)


def upgrade(engine: Engine) -> str | None:
    """Migrate to ``REVISION``; gives the revision before, ``None`` for an empty database.

    May be run by several processes at once: the first migrates, the others wait for it. Raises ``LogUnavailable``
    when this release does not know the database's revision, and the database's errors; nothing is changed then.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "postgresql":
            # The driver begins no transaction for CREATE TABLE: half a migration could be left.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return _upgrade(connection)
        # The driver is there: a connection of it has just been made.
        from sovereign_ext.storage.postgres import without_limits  # noqa: PLC0415

        with without_limits(connection):
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            return _upgrade(connection)


def current_revision(connection: Connection) -> str | None:
    """The revision the database says it is at; ``None`` for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection) -> str | None:
    before = current_revision(connection)
    if before == REVISION:
        return before
    if before is not None:
        _require_known(before)
    # Alembic costs a third of a second to import, which every start would pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
    return before


def _require_known(revision: str) -> None:
    known = {script.name.partition("_")[0] for script in (_SCRIPTS / "versions").glob("*_*.py")}
    if revision not in known:
        raise LogUnavailable(
            f"the database's schema is not known to this release: it is at revision {revision}"
        )

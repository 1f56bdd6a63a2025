"""``INSERT … ON CONFLICT``, which SQLite and PostgreSQL have alike and SQLAlchemy only under each one's own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: Final[dict[str, Callable[..., Any]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_into(engine: Engine, table: Table) -> Any:
    """An insert that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    return insert_for(engine.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Any:
    """The same where there is no engine at hand."""
    return _INSERT[dialect](table)

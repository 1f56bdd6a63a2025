"""Opening the database: SQLite in one file by default, or PostgreSQL, with the settings that durability rests on.

SQLite: WAL lets readers run beside the writer; ``synchronous=FULL`` makes a commit survive a power cut (``NORMAL``
does not, in WAL mode). PostgreSQL's settings are in ``postgres``. The schema is brought up to date by ``migrate``,
not here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event

from sovereign_ext.secret import Secret

BUSY_TIMEOUT_MS: Final = 5_000
PATIENCE_S: Final = 8.0
"""How long PostgreSQL may take for an answer, in seconds: beyond a slow disk's, short of a caller's patience."""

POOL_SIZE: Final = 5


def open_database(url: Secret | None, path: Path, *, patience_s: float = PATIENCE_S) -> Engine:
    """PostgreSQL where there is a URL, otherwise the SQLite file at ``path``. Raises ``ConfigError`` for the URL."""
    return open_sqlite(path) if url is None else open_postgres(url, patience_s=patience_s)


def open_postgres(url: Secret, *, patience_s: float = PATIENCE_S, pool_size: int = POOL_SIZE) -> Engine:
    """An engine on a PostgreSQL database; nothing is connected yet.

    No answer is waited for longer than ``patience_s`` seconds, a lock half as long; then ``OperationalError`` is
    raised, and the next use makes a new connection. ``pool_size`` connections are kept, twice as many opened.
    Raises ``ConfigError`` for a URL that cannot be read, without showing it.
    """
    # The driver costs a start of SQLite 40 ms that it does not need.
    from sovereign_ext.storage.postgres import postgres_engine  # noqa: PLC0415

    return postgres_engine(url, patience_s, pool_size)


def open_sqlite(path: Path, *, read_only: bool = False, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """An engine on the SQLite file at ``path``, created with mode 0600 unless ``read_only``.

    Nothing is connected yet. ``busy_timeout_ms`` is how long a writer waits for another one's lock.
    """
    if not read_only:
        # Prompts are not in it, but nonces are: whoever can read the file can test guesses.
        # Only ever made, never opened again: closing any descriptor of a file drops this process's POSIX locks on it.
        # SQLite's would be among them, and another process, taking itself for the last user, would delete the WAL.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    mode = "ro" if read_only else "rw"
    # Not as one string: SQLAlchemy would undo the quoting of the path.
    url = URL.create("sqlite", database=f"file:{_uri_path(path)}", query={"mode": mode, "uri": "true"})
    engine = create_engine(url, hide_parameters=True)  # openings and documents are among them

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    return engine


def driver_text(engine: Engine, statement: Any) -> tuple[str, Callable[[dict[str, Any]], Any]]:
    """SQL in the driver's parameter style, and the function that puts parameters in the driver's shape."""
    compiled = statement.compile(dialect=engine.dialect)
    if not compiled.positional:
        return str(compiled), lambda values: values
    order = tuple(compiled.positiontup)
    return str(compiled), lambda values: tuple([values[name] for name in order])


def text_in_order(engine: Engine, statement: Any, names: tuple[str, ...]) -> str:
    """SQL that takes its parameters as a sequence, in the order of ``names``: on this path no dictionaries are made."""
    style: Any = engine.dialect.paramstyle if engine.dialect.positional else "format"
    kind: Any = type(engine.dialect)
    compiled = statement.compile(dialect=kind(paramstyle=style))
    if tuple(compiled.positiontup) != names:
        raise AssertionError(f"parameters are in the order {compiled.positiontup}, not {names}")
    return str(compiled)


def _uri_path(path: Path) -> str:
    # pathname2url without importing urllib.request: SQLite decodes %XX, and ? and # would end the path.
    return "".join(c if c not in "%?#" else f"%{ord(c):02x}" for c in str(path.absolute()))

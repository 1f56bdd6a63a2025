"""Opening the database: SQLite in one file by default, with the settings that durability rests on.

WAL lets readers run beside the writer; ``synchronous=FULL`` makes a commit survive a power cut (``NORMAL``
does not, in WAL mode). The schema is brought up to date by ``migrate``, not here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

BUSY_TIMEOUT_MS = 5_000


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
    engine = create_engine(url)

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


def _uri_path(path: Path) -> str:
    # pathname2url without importing urllib.request: SQLite decodes %XX, and ? and # would end the path.
    return "".join(c if c not in "%?#" else f"%{ord(c):02x}" for c in str(path.absolute()))

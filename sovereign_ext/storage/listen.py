"""Hears what other processes say on a channel of PostgreSQL (LISTEN), on a thread of its own.

Hearing is a hurry, never a promise: a word may be lost with its connection, so whoever listens also looks now and then.
A connection that is lost is made again; ``heard("")`` is called whenever words may have been missed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine

PAUSE_S: Final = 0.5
"""Between two attempts to connect."""

LOOK_S: Final = 0.5
"""How soon ``close`` is noticed."""

_log = logging.getLogger(__name__)


class Listener:
    """Calls ``heard(word)`` on its thread for every word on ``channel``, until it is closed."""

    def __init__(self, engine: Engine, channel: str, heard: Callable[[str], None]) -> None:
        self._engine = engine
        self._channel = channel
        self._heard = heard
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen-{channel}", daemon=True)

    def start(self) -> None:
        """Begin. A database without LISTEN has nothing to say."""
        if self._engine.dialect.name == "postgresql":
            self._thread.start()

    def close(self) -> None:
        """Hear nothing more. Blocks for half a second at most, or until ``heard`` returns."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        quiet = False
        while not self._ended.is_set():
            try:
                self._listen()
            except Exception as error:  # whatever it was: connect again
                if not quiet and not self._ended.is_set():
                    _log.warning("the database is not heard any more: %s", type(error).__name__)
                quiet = True
                self._ended.wait(PAUSE_S)
            else:
                quiet = False

    def _listen(self) -> None:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection  # gone from ``pooled`` once it is detached
        pooled.detach()  # it would count against the pool for ever
        try:
            connection.rollback()
            connection.autocommit = True
            connection.execute(f"LISTEN {self._channel}")
            self._heard("")
            while not self._ended.is_set():
                for notice in connection.notifies(timeout=LOOK_S):
                    self._heard(notice.payload)
        finally:
            with contextlib.suppress(Exception):
                connection.close()

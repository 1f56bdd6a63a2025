"""Keeps the directory in step with the database: all of it at the start, then what has changed.

The feed says that something changed, never what: rows are read by their revision, so a word that is lost or comes
twice does no harm. What cannot be read now is read later; until then the last that was known holds. Rows are read on
another thread and applied on the event loop, a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.config.model import Config
from sovereign_ext.errors import ConfigError
from sovereign_ext.storage.resources import Resource
from sovereign_ext.tenants.directory import Directory, Kind

KINDS: Final = tuple(kind.value for kind in Kind)
AT_ONCE: Final = 100
"""Rows that are applied before calls get a turn."""

RETRY_S: Final = 0.5
WAIT_S: Final = 1.0
"""How long the answer to a change waits for this process to go by it."""

_log = logging.getLogger(__name__)


class Resources(Protocol):
    """Reads of the database (``storage.resources.ResourceStore``); any thread may call it."""

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterable[Resource]: ...


class Enrolment:
    """Belongs to one event loop, ``load`` apart."""

    def __init__(self, directory: Directory, store: Resources) -> None:
        self.directory = directory
        self._store = store
        self._revision = -1
        self._pending = asyncio.Event()
        self._moved = asyncio.Condition()

    @property
    def revision(self) -> int:
        """The newest revision that calls here go by; -1 before the first."""
        return self._revision

    def load(self) -> None:
        """Read everything; nobody may use the directory yet. Blocks. Raises the database's errors."""
        gc.disable()  # hundreds of thousands of values are made, and none of them is garbage
        try:
            for row in self._store.since(-1, KINDS):
                self._apply(row)
                self._revision = row.revision
        finally:
            gc.enable()
        for secret, count in self.directory.unopened.items():
            _log.error("%d keys open nothing: the key hash secret %s is not there", count, secret)

    def changed(self) -> None:
        """Something is new, perhaps."""
        self._pending.set()

    async def run(self) -> None:
        """Apply what is new, whenever something is, until cancelled."""
        quiet = False
        while True:
            await self._pending.wait()
            self._pending.clear()
            try:
                await self._catch_up()
                quiet = False
            except SQLAlchemyError as error:
                if not quiet:
                    _log.error("keys and tenants stay as they were: %s", type(error).__name__)
                quiet = True
                self._pending.set()
                await asyncio.sleep(RETRY_S)

    async def applied(self, revision: int, timeout_s: float = WAIT_S) -> bool:
        """Wait until calls here go by ``revision``; ``False`` if that is not so in time."""
        self.changed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self._revision >= revision)
        return self._revision >= revision

    async def _catch_up(self) -> None:
        rows = await asyncio.to_thread(lambda: list(self._store.since(self._revision, KINDS)))
        for start in range(0, len(rows), AT_ONCE):
            for row in rows[start : start + AT_ONCE]:
                self._apply(row)
            await asyncio.sleep(0)
        if rows:
            self._revision = rows[-1].revision  # not before: several rows may be of one
            async with self._moved:
                self._moved.notify_all()

    def _apply(self, row: Resource) -> None:
        try:
            self.directory.apply(row)
        except ConfigError as error:
            _log.error("%s", error)


def refuse_clashes(directory: Directory, config: Config) -> None:
    """Raise ``ConfigError`` if ``config`` names somebody whom the management API made."""
    clashes = directory.clashes(config)
    if clashes:
        named = ", ".join(clashes[:5]) + (", ..." if len(clashes) > 5 else "")
        raise ConfigError(f"{named}: the management API made it; a name belongs to the file or to the API")

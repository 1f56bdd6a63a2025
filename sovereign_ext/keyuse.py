"""When each key was last used: noted in memory by calls, written to the database every few seconds.

Not audited and not exact: what was noted since the last write is lost in a crash. A call costs one dictionary entry.
While the database cannot be written, the notes wait; there is one for each key at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

FLUSH_S: Final = 5.0

Use = tuple[str, str, str]
"""``tenants`` or ``operators``, the owner's id, the key's id."""

_log = logging.getLogger(__name__)


class Uses(Protocol):
    """Writes to the database (``storage.resources.ResourceStore``); any thread may call it."""

    def used(self, last_used_ms: Mapping[str, int]) -> None: ...


class KeyUse:
    """Belongs to one event loop."""

    def __init__(self, store: Uses) -> None:
        self._store = store
        self._noted: dict[Use, int] = {}

    def tenant(self, tenant_id: str, key_id: str, wall_ms: int) -> None:
        """A tenant's key was used. Workloads, whose id is a SPIFFE id, have no key that could be listed."""
        self._noted["tenants", tenant_id, key_id] = wall_ms

    def operator(self, operator_id: str, key_id: str, wall_ms: int) -> None:
        """An operator's key was used."""
        self._noted["operators", operator_id, key_id] = wall_ms

    async def run(self, every_s: float = FLUSH_S) -> None:
        """Write now and then, until cancelled."""
        quiet = False
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.flush()
                quiet = False
            except SQLAlchemyError as error:
                if not quiet:
                    _log.warning("last uses of keys are not written: %s", type(error).__name__)
                quiet = True

    async def flush(self) -> None:
        """Write what was noted. Raises the database's errors; the notes are kept then."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        names = {
            f"{owners}/{owner}/keys/{key}": wall_ms
            for (owners, owner, key), wall_ms in noted.items()
            if "/" not in key
        }
        try:
            await asyncio.to_thread(self._store.used, names)
        except BaseException:
            self._noted = {**noted, **self._noted}
            raise

"""Loads into the shared store what was billed in a window, from the database, when the store does not know it.

Exact while calls go on: the store is first asked to begin, and names the calls that hold something against the window.
The database is asked for the sum without those, because they add what they cost themselves when they are settled,
before or after the sum is stored. A call that is neither was settled before, and its outcome is in the database: it is
written down before it is settled. One router loads a window at a time; the others wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from sovereign_ext.shared import layout
from sovereign_ext.shared.client import Client, unavailable
from sovereign_ext.shared.members import Members
from sovereign_ext.shared.scripts import BEGIN, LOAD
from sovereign_ext.tenants.ledger import SPEND_KEPT_MS, Demand, Reserve, SpendSource

_log = logging.getLogger(__name__)

LOADING_MS: Final = 2_000
"""A loader that needs longer has lost its turn."""

PATIENCE_S: Final = 3.0
"""How long a call waits for a window to be known."""

_LOOK_S: Final = 0.02


class CallSource(Protocol):
    """What single calls cost; ``storage.usage.UsageStore`` is one. Called on a thread, as ``SpendSource`` is."""

    def billed(self, calls: Collection[str]) -> Mapping[str, int]:
        """Billionths of a dollar of those calls whose outcome is in the log. Raises as databases do."""
        ...


class Windows:
    """Makes windows known. One load of a window at a time in this process, whoever asks."""

    def __init__(self, client: Client, members: Members, source: SpendSource, calls: CallSource) -> None:
        self._client = client
        self._members = members
        self._source = source
        self._calls = calls
        self._loads: dict[str, asyncio.Task[None]] = {}

    async def know(self, demand: Demand, reserves: Collection[Reserve]) -> None:
        """Return when the store has been told of all ``reserves``' windows.

        Raises ``ServiceError`` 503 ``limits_unavailable`` when that cannot be: the store or the database cannot be
        reached, or data were lost a moment ago.
        """
        await self._members.beat()  # an unknown window may be the first sign of a loss
        tasks = [self._load(demand, reserve) for reserve in reserves]
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        except TimeoutError:
            raise unavailable() from None

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._loads.values():
            task.cancel()
        await asyncio.gather(*self._loads.values(), return_exceptions=True)

    def _load(self, demand: Demand, reserve: Reserve) -> asyncio.Task[None]:
        key = layout.window_key(reserve)
        task = self._loads.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._loaded(key, demand.tenant, reserve))
            self._loads[key] = task
            task.add_done_callback(lambda done: self._over(key, done))
        return task

    def _over(self, key: str, task: asyncio.Task[None]) -> None:
        self._loads.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who wait have it, if anybody still does

    async def _loaded(self, key: str, tenant: str, reserve: Reserve) -> None:
        keys, name = [layout.reservations(tenant), key], layout.window_name(reserve)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            epoch, token = self._members.epoch, os.urandom(8).hex()
            begun: list[Any] = await self._client.run(
                BEGIN, keys, [epoch.name, token, LOADING_MS, name, epoch.rebuilt_ms], slow=True
            )
            if begun[0] == b"known":
                return
            if begun[0] == b"wait":
                raise unavailable(max(int(begun[1]), 1) / 1000)
            if begun[0] == b"busy":
                await asyncio.sleep(_LOOK_S)
                continue
            spent = await self._ask(reserve, [call.decode() for call in begun[1:]])
            if await self._client.run(LOAD, keys, [epoch.name, token, spent, SPEND_KEPT_MS, name], slow=True):
                return
        raise unavailable()

    async def _ask(self, reserve: Reserve, without: list[str]) -> int:
        try:
            async with asyncio.timeout(LOADING_MS / 1000):
                return await asyncio.to_thread(self._read, reserve, without)
        except Exception as error:
            # Whatever it was, the spend is not known: a cap cannot be held.
            _log.error("what was billed cannot be read from the database: %s", type(error).__name__)
            raise unavailable() from None

    def _read(self, reserve: Reserve, without: list[str]) -> int:
        """The sum, and what of it are calls that add themselves: as of one moment, without a transaction over both."""
        scope = reserve.scope
        known = self._calls.billed(without) if without else {}
        while True:
            total = self._source.spent(
                scope.tenant, scope.key or None, reserve.start_ms, reserve.end_ms or None
            )
            before, known = known, self._calls.billed(without) if without else {}
            if known == before:
                return total - sum(known.values())

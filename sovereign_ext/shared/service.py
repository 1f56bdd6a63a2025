"""All that a router does with the shared store, tied together: started, stopped and looked at as one."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sovereign_ext.errors import ServiceError
from sovereign_ext.routing.health import Health
from sovereign_ext.shared.address import Address
from sovereign_ext.shared.client import TIMEOUT_S, Client
from sovereign_ext.shared.exchange import HealthExchange
from sovereign_ext.shared.ledger import SharedLedger
from sovereign_ext.shared.members import BEAT_S, GONE_S, REBUILD_MS, Members
from sovereign_ext.shared.spend import CallSource, Windows
from sovereign_ext.shared.sweep import EXPIRED_GRACE_MS, SWEEP_S, Sweep, Sweeper
from sovereign_ext.tenants.ledger import SpendSource
from sovereign_ext.tenants.memory import MemoryLedger

_log = logging.getLogger(__name__)

START_WAIT_S: Final = 2.0
STOP_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast things are noticed. The defaults are for operation; tests are in a hurry."""

    timeout_s: float = TIMEOUT_S
    beat_s: float = BEAT_S
    gone_s: float = GONE_S
    rebuild_ms: int = REBUILD_MS
    sweep_s: float = SWEEP_S
    grace_ms: int = EXPIRED_GRACE_MS


OPERATION: Final = Pace()


@dataclass(frozen=True, slots=True)
class SharedStatus:
    """For readiness and ``sovereign status``.

    ``reachable``: it answers and takes what it is told; otherwise ``why`` not, in an operator's words.
    ``rebuilding_s`` is how long calls under spend caps are still refused after data were lost, ``routers`` how many
    share the store, ``held`` the calls of this one that hold something, ``queued`` those whose end the store has not
    heard of, ``given_up`` those that it will not hear of from here, ``swept`` what this router settled for others.
    """

    reachable: bool
    why: str = ""
    server: str = ""
    rebuilding_s: float = 0.0
    routers: int = 0
    held: int = 0
    queued: int = 0
    given_up: int = 0
    swept: int = 0
    warnings: tuple[str, ...] = field(default=())


class Shared:
    """``clock`` gives Unix milliseconds. ``source`` and ``calls`` are the database's truth about spend."""

    def __init__(
        self,
        address: Address,
        *,
        source: SpendSource,
        calls: CallSource,
        sweep: Sweep,
        health: Health,
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace = OPERATION,
        server_time: bool = True,
    ) -> None:
        router = os.urandom(6).hex()  # of this life: what an earlier one held is swept
        self._clock = clock
        self._renewals: set[asyncio.Task[None]] = set()
        self._client = Client(address, self._greet, timeout_s=pace.timeout_s, monotonic=monotonic)
        self._members = Members(
            self._client, router, self._renewed, beat_s=pace.beat_s, gone_s=pace.gone_s,
            rebuild_ms=pace.rebuild_ms, monotonic=monotonic,
        )  # fmt: skip
        self._windows = Windows(self._client, self._members, source, calls)
        self.ledger = SharedLedger(
            self._client, self._members, self._windows, MemoryLedger(), server_time=server_time
        )
        self.sweeper = Sweeper(
            self._client,
            self._members,
            self.ledger,
            sweep,
            clock,
            every_s=pace.sweep_s,
            grace_ms=pace.grace_ms,
        )
        self._exchange = HealthExchange(self._client, router, health, monotonic)

    async def start(self) -> bool:
        """Begin, also when the store cannot be reached yet; whether it can be."""
        self._members.start()
        self.ledger.settling.start()
        self.sweeper.start()
        self._exchange.start()
        found = await self._client.start(START_WAIT_S)
        if not found:
            _log.warning("the shared store does not answer: %s", self._client.why)
        return found

    async def stop(self) -> None:
        """After the last call: settle what can be settled, say goodbye. What is left, others sweep."""
        await self._exchange.stop()
        await self.sweeper.stop()
        await self.ledger.settling.stop(STOP_WAIT_S)
        await self._windows.stop()
        await self._members.stop()
        for task in self._renewals:
            task.cancel()
        await self._client.stop()

    def status(self) -> SharedStatus:
        """How it stands now. Reads memory only."""
        client, settling = self._client, self.ledger.settling
        return SharedStatus(
            reachable=client.up and not client.why,
            why=client.why,
            server=client.server,
            rebuilding_s=self._members.rebuilding_s if client.up else 0.0,
            routers=len(self._members.there()),
            held=self.ledger.held,
            queued=settling.queued,
            given_up=settling.given_up,
            swept=self.sweeper.swept,
            warnings=client.warnings,
        )

    async def _greet(self) -> None:
        await self._members.beat()

    def _renewed(self) -> None:
        task = asyncio.get_running_loop().create_task(self._hold_again())
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _hold_again(self) -> None:
        epoch = self._members.epoch
        while self._members.epoch.name == epoch.name:
            try:
                await self.ledger.hold_again(self._clock())
            except ServiceError:
                await asyncio.sleep(0.05)
            else:
                return

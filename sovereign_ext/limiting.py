"""The ledger that a router keeps, from its start to its stop: which one, what a crash left behind, the sweep.

A router by itself keeps counts in memory and a journal in its state directory (``extproc.embedded``). Several count in
one Valkey or Redis (``shared``), and tell each other there how their providers do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sovereign_ext.errors import StartError
from sovereign_ext.extproc.embedded import EmbeddedLedger
from sovereign_ext.extproc.entries import record_lost
from sovereign_ext.extproc.journal import Journal
from sovereign_ext.routing.health import Health
from sovereign_ext.shared.address import Address
from sovereign_ext.shared.service import OPERATION, Pace, Shared, SharedStatus
from sovereign_ext.tenants.ledger import NOTHING_USED, Demand, Ledger, Used
from sovereign_ext.tlog.service import TransparencyLog

_log = logging.getLogger(__name__)

JOURNAL: Final = "reservations.jsonl"
"""Its name in the state directory."""

SWEEP_S: Final = 5.0


class Limiting:
    """A ledger and its upkeep. ``clock`` gives Unix milliseconds."""

    def __init__(self, ledger: EmbeddedLedger, log: TransparencyLog, clock: Callable[[], int]) -> None:
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._sweeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, state_dir: Path, log: TransparencyLog, clock: Callable[[], int]) -> Limiting:
        """See to what a process before left behind, then be ready for calls. Raises ``StartError``, ``LogError``."""
        try:
            journal = Journal(state_dir / JOURNAL)
        except OSError as error:
            raise StartError(f"{JOURNAL} cannot be used: {error.strerror or error}") from None
        opened = cls(EmbeddedLedger(log.usage, journal), log, clock)
        try:
            await opened._ledger.recover(opened._lose)
        except BaseException:
            journal.close()
            raise
        return opened

    @property
    def ledger(self) -> Ledger:
        """What calls are admitted by."""
        return self._ledger

    def start(self, alive: Callable[[str], bool], every_s: float = SWEEP_S) -> None:
        """Sweep from now on. ``alive`` says whether a call, by its decision id, is under way here."""
        self._sweeping = asyncio.create_task(self._sweep(alive, every_s), name="limits: sweep")

    async def stop(self) -> None:
        """After the last call."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        self._ledger.close()

    def status(self) -> SharedStatus | None:
        """Nothing is shared."""
        return None

    async def _sweep(self, alive: Callable[[str], bool], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._ledger.sweep(self._clock(), alive, self._lose)
            except Exception:
                _log.exception("calls that were never settled stay so until the next look")

    async def _lose(self, lost: bytes) -> Used:
        return await record_lost(self._log, lost, self._clock())


class SharedLimiting:
    """As ``Limiting``, for one of several routers."""

    def __init__(
        self,
        address: Address,
        log: TransparencyLog,
        health: Health,
        clock: Callable[[], int],
        pace: Pace = OPERATION,
    ) -> None:
        self._log = log
        self._clock = clock
        self._shared = Shared(
            address,
            source=log.usage,
            calls=log.usage,
            sweep=self._lose,
            health=health,
            clock=clock,
            pace=pace,
        )

    async def open(self) -> SharedLimiting:
        """Connect. A store that cannot be reached does not keep the router from starting."""
        await self._shared.start()
        return self

    @property
    def ledger(self) -> Ledger:
        """What calls are admitted by."""
        return self._shared.ledger

    def start(self, alive: Callable[[str], bool]) -> None:
        """``alive`` says whether a call, by its decision id, is under way here."""
        self._shared.sweeper.alive = alive

    async def stop(self) -> None:
        """After the last call."""
        await self._shared.stop()

    def status(self) -> SharedStatus:
        """How it stands with what is shared."""
        return self._shared.status()

    async def _lose(self, call: str, demand: Demand) -> Used:
        """Without money reserved nothing is kept of a call that it could be written down from."""
        if not demand.lost:
            return NOTHING_USED
        return await record_lost(self._log, demand.lost, self._clock())

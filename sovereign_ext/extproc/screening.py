"""Scans that take too long for the event loop, on threads of their own: so many at once, and only some of one tenant.

A scan holds the interpreter's lock for most of its time: more threads would not scan faster, and the event loop would
wait longer for its turn. Scans whose client has left end at their next step, those that have not begun never begin.
What is looked for, and what is done about it, is decided elsewhere (``exchange.leaks``).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakValueDictionary

from sovereign_ext.config.model import Policy
from sovereign_ext.exchange.leaks import scan
from sovereign_ext.scanner.effort import Effort
from sovereign_ext.scanner.scan import Scan

SCANNED_AT_ONCE: Final = 64 * 1024
"""Bytes of a body up to which it is scanned on the event loop."""

THREADS: Final = 4
"""Scans at once; no other work of the gateway waits for these threads."""

OF_ONE_TENANT: Final = 2
"""Of these, how many may be one tenant's. Its others wait for them, those of other tenants do not."""


class Screening:
    """Runs scans. Belongs to one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="scan")
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def scan(self, tenant: str, policy: Policy, body: bytes, effort: Effort) -> Scan:
        """As ``leaks.scan``. Raises ``CalledOff`` where ``effort`` was called off, also before the scan's turn."""
        turns = self._turns.get(tenant)
        if turns is None:
            turns = self._turns[tenant] = asyncio.Semaphore(OF_ONE_TENANT)
        async with turns:
            effort.go_on()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, scan, policy, body, effort)

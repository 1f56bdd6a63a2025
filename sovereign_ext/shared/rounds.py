"""Does something again and again while the shared store can be reached: signs of life, health, sweeps.

What goes wrong in a round never ends the rounds. That the store is out of reach is the client's to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sovereign_ext.errors import ServiceError
from sovereign_ext.shared.client import Client

_log = logging.getLogger(__name__)


class Rounds:
    """Awaits ``work`` every ``every_s`` seconds, the first time after that long. ``name`` is what operators read."""

    def __init__(
        self, client: Client, every_s: float, name: str, work: Callable[[], Awaitable[object]]
    ) -> None:
        self._client = client
        self._every_s = every_s
        self._name = name
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"shared store: {self._name}")

    async def stop(self) -> None:
        """End, also in the middle of a round."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            if not self._client.up:
                continue
            try:
                await self._work()
            except ServiceError:
                continue  # the client says why, and connects again
            except Exception:
                _log.exception("%s failed; the next round tries again", self._name)

"""Tells the shared store that calls are over: at once, and again in the background until it has heard it.

On the connection on which it is asked, so that what a call gives back is there for this router's next one.

Bounded: beyond ``QUEUE`` the oldest are given up. The store still has their reservations then, and they are swept
when they expire. Telling it twice does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from sovereign_ext.shared.client import SLOW_TIMEOUT_S, Client
from sovereign_ext.shared.scripts import SETTLE
from sovereign_ext.shared.wire import Part

_log = logging.getLogger(__name__)

QUEUE: Final = 100_000
"""About 100 MB at most, of calls that ended while the store was out of reach."""

_AT_ONCE: Final = 1_000
_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Settlement:
    """One call that is over, ready for ``settle.lua``."""

    call: str
    keys: list[str]
    arguments: list[Part]


class Settling:
    """``done`` is called with each call that the store has heard of, or that was given up."""

    def __init__(self, client: Client, done: Callable[[str], None], bound: int = QUEUE) -> None:
        self._client = client
        self._done = done
        self._bound = bound
        self._queue: deque[Settlement] = deque()
        self._told = 0  # on their way
        self._refused = ""  # what it said to the last one
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.given_up = 0

    @property
    def queued(self) -> int:
        """Calls that the store has not heard of yet."""
        return len(self._queue) + self._told

    def start(self) -> None:
        """Begin to repeat what was not heard."""
        self._task = asyncio.get_running_loop().create_task(self._repeat())

    async def stop(self, wait_s: float) -> None:
        """Tell what can be told within ``wait_s``."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(wait_s):
                # Polled: once, at the end of a process.
                while self.queued and self._client.up:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass
        if self.queued:
            _log.warning("%d calls are left to be swept", self.queued)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def add(self, settlement: Settlement) -> None:
        """Never waits and never raises."""
        if self._queue or not self._client.up:
            self._later(settlement)
        else:
            self._tell(settlement)

    def _tell(self, settlement: Settlement) -> None:
        keys = settlement.keys
        future = self._client.ask(
            "EVALSHA", SETTLE.sha, len(keys), *keys, *settlement.arguments, timeout_s=SLOW_TIMEOUT_S
        )
        if future is None:
            self._later(settlement)
            return
        self._told += 1
        future.add_done_callback(lambda reply: self._heard(settlement, reply))

    def _heard(self, settlement: Settlement, reply: asyncio.Future[Any]) -> None:
        self._told -= 1
        if reply.cancelled() or reply.exception():
            self._later(settlement)
            return
        word = str(reply.result()).split(" ", 1)[0] if isinstance(reply.result(), hiredis.ReplyError) else ""
        if word:
            self._later(settlement)
        else:
            self._done(settlement.call)
        if word not in ("", "NOSCRIPT", self._refused):
            _log.error("the shared store will not settle calls: %s", word)
        self._refused = word

    def _later(self, settlement: Settlement) -> None:
        self._queue.append(settlement)
        self._some.set()
        if len(self._queue) > self._bound:
            self.given_up += 1
            self._done(self._queue.popleft().call)

    async def _repeat(self) -> None:
        while True:
            await self._some.wait()
            if not await self._client.wait_up(60.0):
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _AT_ONCE))]
            if not self._queue:
                self._some.clear()
            if batch and not await self._client.loaded(SETTLE):
                self._queue.extendleft(reversed(batch))
                self._some.set()
            else:
                for each in batch:
                    self._tell(each)
            await asyncio.sleep(_AGAIN_S)

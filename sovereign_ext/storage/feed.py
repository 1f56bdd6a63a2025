"""The feed of changes: tells who follows it that there are newer resources, whoever changed them.

Three ways lead here. A change of this process is known at once (``wake``). One of another replica is announced by
PostgreSQL with its commit (``listen``); and because an announcement is lost with the connection, the newest revision
is looked at twice a second as well. What was announced is only a reason to look, never believed: any role of the
database could announce anything.

A follower is told the newest revision there is, at least once after it became known; several in quick succession may
be one call. It is never called twice at a time, and is called again after a pause if it failed, so it misses nothing
and nobody spins. What changed is for the follower to read (``ResourceStore.since``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from sovereign_ext.storage.listen import Listener
from sovereign_ext.storage.resources import CHANNEL, ResourceStore

LOOK_S: Final = 0.5
"""Between two looks at a shared database."""

FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 5.0
"""Before a follower that failed is called again: twice as long each time."""

Callback = Callable[[int], Awaitable[None] | None]
"""Given the newest revision, on the event loop. Raises to be called again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """What is known of the database.

    ``revision`` is the newest one (-1 before the first change), ``looked_s`` the monotonic time of the last look that
    succeeded, ``error`` why the last one did not.
    """

    revision: int
    looked_s: float
    error: str | None


class Feed:
    """Belongs to one event loop. ``start``, and ``stop`` before the engine is disposed of."""

    def __init__(self, engine: Engine, *, look_s: float = LOOK_S) -> None:
        self._store = ResourceStore(engine)
        self._shared = engine.dialect.name == "postgresql"
        self._look_s = look_s
        self._listener = Listener(engine, CHANNEL, self._heard)
        # Of its own: threads that wait for a database that hangs must not keep this one from noticing its return.
        self._thread = ThreadPoolExecutor(1, "feed")
        self._due = asyncio.Event()
        self._followers: list[_Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._status = FeedStatus(-1, 0.0, None)

    async def start(self) -> None:
        """Begin with the newest revision there is. Raises the database's errors."""
        self._loop = asyncio.get_running_loop()
        self._looked(await self._newest())
        self._listener.start()
        self._tasks.append(asyncio.create_task(self._run()))

    async def stop(self) -> None:
        """Tell nobody any more; a call that is going on is cancelled."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._listener.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def follow(self, callback: Callback, *, since: int = -1) -> None:
        """Tell ``callback`` of revisions beyond ``since``, from now on. After ``start``, on the event loop."""
        follower = _Follower(callback, since, lambda: self._status.revision)
        self._followers.append(follower)
        self._tasks.append(asyncio.create_task(follower.run()))
        follower.due.set()

    def wake(self, revision: int) -> None:
        """This process has committed ``revision``. Any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and everybody with it
            self._loop.call_soon_threadsafe(self._advance, revision)

    @property
    def status(self) -> FeedStatus:
        """What is known of the database now."""
        return self._status

    async def _run(self) -> None:
        while True:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s if self._shared else None):
                    await self._due.wait()
            self._due.clear()
            try:
                self._looked(await self._newest())
            except Exception as error:  # whatever it was: nobody else looks
                if self._status.error is None:
                    _log.warning("changes cannot be looked for: %s", type(error).__name__)
                self._status = FeedStatus(self._status.revision, self._status.looked_s, type(error).__name__)
                await asyncio.sleep(self._look_s)

    async def _newest(self) -> int:
        return await self._loop.run_in_executor(self._thread, self._store.revision)

    def _looked(self, revision: int) -> None:
        if self._status.error is not None:
            _log.info("changes can be looked for again")
        self._status = FeedStatus(self._status.revision, time.monotonic(), None)
        self._advance(revision)

    def _advance(self, revision: int) -> None:
        if revision > self._status.revision:
            self._status = FeedStatus(revision, self._status.looked_s, self._status.error)
            for follower in self._followers:
                follower.due.set()

    def _heard(self, _word: str) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._due.set)


class _Follower:
    def __init__(self, callback: Callback, seen: int, newest: Callable[[], int]) -> None:
        self._callback = callback
        self._seen = seen
        self._newest = newest
        self.due = asyncio.Event()

    async def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self.due.wait()
            self.due.clear()
            revision = self._newest()
            if revision <= self._seen:
                continue
            try:
                answer = self._callback(revision)
                if answer is not None:
                    await answer
            except Exception as error:
                _log.warning("a change (%d) is not in use yet: %s", revision, type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
                self.due.set()
            else:
                self._seen, pause_s = revision, FIRST_PAUSE_S

"""The receivers of a configuration: begins and ends their followers, and says how they are.

Beside everything else and never in a call's way: what is to be told is in the log already, each receiver has a task of
its own, and one that is slow or away holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.storage.webhooks import WebhookRow, WebhookStore
from sovereign_ext.tlog.service import TransparencyLog
from sovereign_ext.webhook.client import WebhookClient
from sovereign_ext.webhook.follower import Edges, Follower, target_of
from sovereign_ext.webhook.hook import Hook, ReadSecret

GRACE_S: Final = 2.0
"""How long the answer to what is being sent is waited for at the end: without it, it would be sent again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """Where one stands. ``waiting`` counts findings that it has not been told of, ``storage.webhooks.MOST_COUNTED`` at
    most, those among them that it did not ask for."""

    row: WebhookRow
    waiting: int


class Webhooks:
    """Belongs to one event loop. ``size`` gives how many entries the log has. Closing it does not close ``store``."""

    def __init__(self, store: WebhookStore, size: Callable[[], int], edges: Edges) -> None:
        self._store = store
        self._size = size
        self._edges = edges
        self._running: dict[Hook, tuple[Follower, asyncio.Task[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def of(cls, log: TransparencyLog, read_secret: ReadSecret) -> Webhooks:
        """Those of an open log, over HTTP."""
        edges = Edges(
            origin=log.origin,
            published=lambda: log.published().checkpoint.size,
            leads=lambda: log.leads,
            read_secret=read_secret,
            clock=lambda: time.time_ns() // 1_000_000,
            random=random.random,
            connect=lambda hook: WebhookClient(hook.webhook.url, hook.roots, time.time),
        )
        found = cls(log.webhooks, log.audit.size, edges)
        log.observe(lambda _: found.notice())
        return found

    async def follow(self, hooks: Sequence[Hook]) -> None:
        """Deliver to ``hooks`` from now on. Those that are new or changed begin, those that are gone end; their places
        stay. One that never was is told of what is found from now on, unless it says itself where it begins.

        Raises ``LogUnavailable``; nothing has changed then.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._begin, hooks)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot begin webhooks: {type(error).__name__}") from None
        await self._end([hook for hook in self._running if hook not in hooks])
        for hook in hooks:
            if hook not in self._running:
                follower = Follower(hook, self._store, self._edges)
                task = asyncio.create_task(follower.run(), name=f"webhook {follower.id}")
                self._running[hook] = follower, task

    def notice(self) -> None:
        """The log has grown. Cheap, and may be called from any thread: ``TransparencyLog.observe``."""
        if self._loop is not None and self._running:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody delivers any more
                self._loop.call_soon_threadsafe(self._wake)

    async def statuses(self) -> tuple[WebhookStatus, ...]:
        """How it goes with each receiver of the configuration. Raises ``LogUnavailable``."""
        ids = [hook.webhook.id for hook in self._running]
        try:
            return await asyncio.to_thread(self._statuses, ids)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read webhooks: {type(error).__name__}") from None

    async def stop(self) -> None:
        """End all deliveries; what was not taken is sent after the next start."""
        await self._end(list(self._running))

    def _begin(self, hooks: Sequence[Hook]) -> None:
        for hook in hooks:
            webhook = hook.webhook
            start = self._size() if webhook.from_index is None else webhook.from_index
            self._store.begin(webhook.id, target_of(webhook.url), start)

    def _statuses(self, ids: Sequence[str]) -> tuple[WebhookStatus, ...]:
        rows = (row for row in map(self._store.get, ids) if row is not None)
        return tuple(WebhookStatus(row, self._store.waiting(row.next)) for row in rows)

    def _wake(self) -> None:
        for follower, _ in self._running.values():
            follower.notice()

    async def _end(self, hooks: Sequence[Hook]) -> None:
        ended = [self._running.pop(hook) for hook in hooks]
        if not ended:
            return
        for follower, _ in ended:
            follower.end()
        tasks = [task for _, task in ended]
        _, left = await asyncio.wait(tasks, timeout=GRACE_S)
        for task in left:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a webhook's task had ended: %s", type(result).__name__)

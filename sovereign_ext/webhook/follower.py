"""Follows the log for one receiver and sends it the events of findings, one by one, in the order of the log.

An event is sent once a published checkpoint covers its entry, so that whoever is told can have the receipt. Steps,
until it is told to end:

1. The next finding from the stored place on is looked for; what the receiver did not ask for is passed over.
2. Its event is sent, signed with the keys that the secrets hold now.
3. Taken: the place moves behind it, durably. A crash in between means that it is sent once more, under the same id.
4. Failed: the pause doubles (``pauses``), or is what the receiver asked for if that is longer. Later events wait: the
   receiver gets them in order, and nothing is lost while it is away.
5. It has failed for ``give_up_hours``: from now on events older than that are counted, logged and passed over.
6. It wants nothing more (410): nothing is sent until its URL changes or an operator says so (``WebhookStore.resume``).

Of several processes that share a log the one that integrates delivers. If two do for a moment, the receiver has an
event twice and the place is moved by one of them only (``storage.webhooks``). Not here: HTTP, signatures, what events
say.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final, Protocol, TypeVar, TypeVarTuple

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import ConfigError, VerificationError
from sovereign_ext.pauses import USUAL, Pauses
from sovereign_ext.storage.webhooks import FindingEntry, WebhookRow, WebhookStore
from sovereign_ext.webhook.client import LONGEST_RETRY_AFTER_S, Answer, Result
from sovereign_ext.webhook.event import Event, finding_event
from sovereign_ext.webhook.hook import Hook, ReadSecret
from sovereign_ext.webhook.signing import signed_headers

LOOK_S: Final = 5.0
"""The longest between two looks at the stored state, which an operator may change."""

FAULT_PAUSE_S: Final = 3.0
"""After a database that failed, or a fault of ours: it is logged each time."""

BETWEEN_S: Final = 0.02
"""Between two events, so that thousands that waited do not take the processor away from calls."""

AT_ONCE: Final = 50
"""Entries that are read at a time where most may be of no interest."""

_HOUR_MS: Final = 3_600_000
_Given = TypeVarTuple("_Given")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Poster(Protocol):
    """What ``WebhookClient`` promises."""

    async def post(self, headers: dict[str, str], body: bytes) -> Answer: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Edges:
    """The world as a follower meets it.

    ``published`` gives how many entries the newest checkpoint covers, ``leads`` whether this process delivers,
    ``clock`` Unix milliseconds, ``random`` a number in [0, 1).
    """

    origin: str
    published: Callable[[], int]
    leads: Callable[[], bool]
    read_secret: ReadSecret
    clock: Callable[[], int]
    random: Callable[[], float]
    connect: Callable[[Hook], Poster]
    pauses: Pauses = USUAL


def target_of(url: str) -> str:
    """What is stored of a receiver's URL, to see that it changed."""
    return hashlib.sha256(url.encode()).hexdigest()


class Follower:
    """One receiver. ``run`` is a task of one event loop; ``notice`` says that the log has grown."""

    def __init__(self, hook: Hook, store: WebhookStore, edges: Edges) -> None:
        self.hook = hook
        self._store = store
        self._edges = edges
        self._at_once = AT_ONCE if hook.webhook.tenants or hook.kinds else 1
        self._grown = asyncio.Event()
        self._ended = asyncio.Event()
        # Of its own: a database or a secret's file that hangs holds up this receiver, and nobody else's threads.
        self._thread = ThreadPoolExecutor(1, f"webhook-{self.id}")

    @property
    def id(self) -> str:
        """As the configuration names it."""
        return self.hook.webhook.id

    def notice(self) -> None:
        """There may be something to do."""
        self._grown.set()

    def end(self) -> None:
        """Begin nothing new; what is being sent may still be answered."""
        self._ended.set()

    async def run(self) -> None:
        """Deliver until it is told to end."""
        # In a thread: reading the system's roots takes tens of milliseconds, in which no call would go on.
        poster = await self._blocking(self._edges.connect, self.hook)
        try:
            while not self._ended.is_set():
                await self._wait(await self._careful_step(poster))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
            await poster.close()

    async def _blocking(self, work: Callable[[*_Given], _Result], *given: *_Given) -> _Result:
        """The result of ``work``, which may take a while."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    async def _careful_step(self, poster: Poster) -> float:
        """``step``; whatever goes wrong in it never ends the deliveries."""
        try:
            return await self.step(poster)
        except SQLAlchemyError as error:
            _log.warning("webhook %s: %s", self.id, type(error).__name__)
        except Exception:
            _log.exception("webhook %s: an internal error; it is tried again", self.id)
        return FAULT_PAUSE_S

    async def _wait(self, pause_s: float) -> None:
        """Until the pause is over; growth of the log ends only a pause that waits for it."""
        if not pause_s:
            return
        events = [self._ended, self._grown] if pause_s >= LOOK_S else [self._ended]
        tasks = [asyncio.ensure_future(each.wait()) for each in events]
        try:
            await asyncio.wait(tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def step(self, poster: Poster) -> float:
        """Deliver one event if there is one; gives the seconds until there may be something to do again."""
        self._grown.clear()  # before looking: growth from here on is not missed
        if not self._edges.leads():
            return LOOK_S
        row = await self._blocking(self._store.get, self.id)
        if row is None or row.gone_ms is not None:
            return LOOK_S
        if (left_s := self._pause_left(row)) > 0:
            return min(left_s, LOOK_S)
        found = await self._blocking(self._next, row)
        if isinstance(found, float):
            return found
        entry, event = found
        answer = await self._send(poster, event)
        await self._blocking(self._settle, row, entry, answer)
        return BETWEEN_S

    def _pause_left(self, row: WebhookRow) -> float:
        """Seconds until it may be tried; a clock that was set back does not make that longer than a pause."""
        longest_s = max(self._edges.pauses.longest_s, LONGEST_RETRY_AFTER_S)
        return min((row.retry_ms - self._edges.clock()) / 1000, longest_s)

    def _next(self, row: WebhookRow) -> tuple[FindingEntry, Event] | float:
        """The next event to send, or the seconds until the next look; what is of no interest is passed over."""
        found = self._store.findings(row.next, self._edges.published(), self._at_once)
        for entry in found:
            event = self._event(entry)
            if event is not None:
                return entry, event
        if not found:
            return LOOK_S
        self._store.moved(row, found[-1].index + 1)
        return 0.0

    def _event(self, entry: FindingEntry) -> Event | None:
        """``None`` where the receiver did not ask for it, or it can never be told."""
        if self.hook.webhook.tenants and entry.tenant not in self.hook.webhook.tenants:
            return None
        try:
            return finding_event(entry, self._edges.origin, self.id, self.hook.kinds)
        except VerificationError as error:
            _log.error("webhook %s: entry %d is passed over: %s", self.id, entry.index, error)
            return None

    async def _send(self, poster: Poster, event: Event) -> Answer:
        try:
            keys = await self._blocking(self.hook.keys, self._edges.read_secret)
        except ConfigError as error:
            return Answer(Result.FAILED, f"not sent: {error}")
        return await poster.post(
            signed_headers(keys, event.id, self._edges.clock() // 1000, event.body), event.body
        )

    def _settle(self, row: WebhookRow, entry: FindingEntry, answer: Answer) -> None:
        now_ms = self._edges.clock()
        if answer.result is Result.TAKEN:
            if row.attempts:
                _log.info("webhook %s: takes events again", self.id)
            self._store.delivered(row, entry.index, now_ms)
        elif answer.result is Result.GONE:
            if self._store.gone(row, answer.error, now_ms):
                _log.error("webhook %s: %s; nothing is sent to it any more", self.id, answer.error)
        else:
            self._failed(row, entry, answer, now_ms)

    def _failed(self, row: WebhookRow, entry: FindingEntry, answer: Answer, now_ms: int) -> None:
        pause_s = self._edges.pauses.after(row.attempts + 1, self._edges.random())
        pause_s = max(pause_s, answer.retry_after_s or 0)
        if not self._store.failed(row, answer.error, now_ms, now_ms + int(pause_s * 1000)):
            return
        # Once for each kind of trouble: a receiver may be away for days.
        level = logging.DEBUG if row.last_error == answer.error else logging.WARNING
        _log.log(level, "webhook %s: entry %d: %s", self.id, entry.index, answer.error)
        longest_ms = self.hook.webhook.give_up_hours * _HOUR_MS
        if row.failing_ms is not None and now_ms - row.failing_ms >= longest_ms:
            self._give_up(row, now_ms - longest_ms)

    def _give_up(self, row: WebhookRow, before_ms: int) -> None:
        """Pass over what is older than ``before_ms``."""
        first, count, old = row.next, 0, True
        while old and (found := self._store.findings(row.next, self._edges.published(), AT_ONCE)):
            past = list(takewhile(lambda entry: entry.time_ms < before_ms, found))
            old = len(past) == len(found)
            if not past:
                break
            events = sum(self._event(entry) is not None for entry in past)
            if not self._store.given_up(row, past[-1].index + 1, events):
                return
            row, count = replace(row, next=past[-1].index + 1), count + events
        if count:
            _log.error(
                "webhook %s: %d events are given up after %d h of failures, of entries %d to %d",
                self.id, count, self.hook.webhook.give_up_hours, first, row.next - 1,
            )  # fmt: skip

"""Writes published checkpoints to external logs, beside everything else and never in a call's way.

One task an anchor. Its steps, until it is told to end:

1. When ``every_s`` have passed since the last checkpoint was queued, and the log has grown, the newest published
   checkpoint is signed with the envelope key and queued, durably (``storage.anchors``; bounded).
2. The oldest pending row is submitted, when its pause is over. Its signature is kept, so that a submission whose
   answer was lost, also by a restart, meets a duplicate and not a second entry.
3. A verified answer is stored with the row. Anything else is a failed attempt: the pause doubles (``pauses``), or is
   what the log asked for.

One anchor covers all earlier entries. ``covering`` gives receipts the oldest anchor over an entry, of each external
log: whoever saw it first. Deliberately not here: HTTP (``client``) and what an answer proves (``attest.rekor``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.anchor.client import RekorClient
from sovereign_ext.anchor.target import Target
from sovereign_ext.attest import rekor_json
from sovereign_ext.attest.anchors import AnchorRecord
from sovereign_ext.attest.rekor import Artefact, RekorEntry
from sovereign_ext.errors import AnchorFailed, VerificationError
from sovereign_ext.pauses import USUAL, Pauses
from sovereign_ext.storage.anchors import AnchorRow, AnchorStore
from sovereign_ext.tlog.integrator import Published

_log = logging.getLogger(__name__)


class Submitter(Protocol):
    """What ``RekorClient`` promises: a verified entry, or ``AnchorFailed``."""

    async def submit(self, artefact: Artefact) -> RekorEntry: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """How it goes with one anchor: checkpoint sizes (0 when none), how many are ``queued``, attempts and last error
    of the oldest of those. ``anchored_ms`` is when the newest was anchored, Unix milliseconds."""

    id: str
    kind: str
    anchored_size: int
    anchored_ms: int | None
    queued: int
    pending_size: int
    attempts: int
    last_error: str | None


class Anchors:
    """The anchors of one log. Belongs to one event loop; ``covering`` and ``statuses`` may be called from any thread.

    ``published`` gives the newest published checkpoint, ``sign`` makes an artefact of its note, ``clock`` gives Unix
    milliseconds, ``random`` a number in [0, 1). Of several processes that share a log only one anchors, the one where
    ``leads`` is true; should two do it for a moment, the external log has a checkpoint twice and nothing else happens.
    Closing it does not close ``store``.
    """

    def __init__(
        self,
        store: AnchorStore,
        *,
        published: Callable[[], Published],
        sign: Callable[[bytes], Artefact],
        clock: Callable[[], int],
        random: Callable[[], float],
        leads: Callable[[], bool] = lambda: True,
        pauses: Pauses = USUAL,
        connect: Callable[[Target], Submitter] = RekorClient,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._published = published
        self._sign = sign
        self._clock = clock
        self._random = random
        self._leads = leads
        self._pauses = pauses
        self._connect = connect
        self._sleep = sleep
        self._names: tuple[str, ...] = ()
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._grown: dict[Target, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def follow(self, targets: Iterable[Target]) -> None:
        """Anchor in ``targets`` from now on. Those that are new or changed begin, those that are gone end; what is
        stored of them stays and is shown. Raises the database's errors."""
        self._loop = asyncio.get_running_loop()
        wanted = tuple(targets)
        stored = await asyncio.to_thread(self._store.names)
        self._names = tuple(dict.fromkeys([*(target.id for target in wanted), *stored]))
        await self._end([target for target in self._tasks if target not in wanted])
        for target in wanted:
            if target not in self._tasks:
                name = f"anchor-{target.id}"
                self._grown[target] = asyncio.Event()
                self._tasks[target] = asyncio.create_task(self._run(target), name=name)

    def notice(self) -> None:
        """The log has grown. Cheap, and may be called from any thread: ``TransparencyLog.observe``."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody anchors any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._grown.values():
            event.set()

    async def close(self) -> None:
        """End all tasks. What is pending is taken up by the next start."""
        await self._end(list(self._tasks))

    def covering(self, index: int) -> tuple[AnchorRecord, ...]:
        """Of each external log the oldest anchor that covers entry ``index``. Reads the database; raises its errors."""
        found = (self._store.covering(name, index) for name in self._names)
        return tuple(record for row in found if row is not None and (record := _record(row)) is not None)

    def statuses(self) -> tuple[AnchorStatus, ...]:
        """How it goes with each anchor that is followed. Reads the database, from any thread; raises its errors."""
        return tuple(self._status(target) for target in tuple(self._tasks))

    def _status(self, target: Target) -> AnchorStatus:
        pending, anchored = self._store.pending(target.id), self._store.last_anchored(target.id)
        return AnchorStatus(
            target.id,
            target.kind,
            0 if anchored is None else anchored.size,
            None if anchored is None else anchored.anchored_ms,
            self._store.queued(target.id),
            0 if pending is None else pending.size,
            0 if pending is None else pending.attempts,
            None if pending is None else pending.last_error,
        )

    async def _run(self, target: Target) -> None:
        client = self._connect(target)
        try:
            while True:
                try:
                    pause = await self._step(target, client)
                except SQLAlchemyError as error:  # disk full, database locked: it is all still there later
                    _log.warning("anchor %s: %s", target.id, type(error).__name__)
                    pause = self._pauses.first_s
                if pause is None:
                    await self._grown[target].wait()
                else:
                    await self._sleep(pause)
        finally:
            await client.close()

    async def _step(self, target: Target, client: Submitter) -> float | None:
        """Queue, submit; gives the seconds until there may be something to do again, ``None`` when the log must grow
        first."""
        if not self._leads():
            return self._pauses.first_s
        self._grown[target].clear()  # before looking: growth from here on is not missed
        due_s = await asyncio.to_thread(self._queue, target)
        row = await asyncio.to_thread(self._store.pending, target.id)
        if row is None:
            return due_s
        wait_s = self._pause_left(row)
        if wait_s > 0:
            return wait_s if due_s is None else min(wait_s, due_s)
        await self._submit(target, client, row)
        return 0

    def _queue(self, target: Target) -> float | None:
        """Step 1; gives the seconds until it is due again, ``None`` when it is due and the log has not grown."""
        newest = self._store.newest(target.id)
        now_ms = self._clock()
        if newest is not None:
            # A clock that was set back must not stop anchoring until it has caught up.
            passed_s = (now_ms - newest.queued_ms) / 1000
            if 0 <= passed_s < target.every_s:
                return target.every_s - passed_s
        published = self._published()
        size = published.checkpoint.size
        if size <= (0 if newest is None else newest.size):
            return None
        artefact = self._sign(published.note)
        self._store.queue(
            AnchorRow(
                target.id, size, target.kind, artefact.data, artefact.signature, artefact.signer, now_ms
            )
        )
        return target.every_s

    def _pause_left(self, row: AnchorRow) -> float:
        """Seconds until ``row`` may be tried; a clock that was set back does not make that longer than a pause."""
        return min((row.retry_ms - self._clock()) / 1000, self._pauses.longest_s)

    async def _submit(self, target: Target, client: Submitter, row: AnchorRow) -> None:
        try:
            entry = await client.submit(Artefact(row.note, row.signature, row.signer))
        except AnchorFailed as error:
            await asyncio.to_thread(self._failed, row, error)
            _log.warning("anchor %s: checkpoint of size %d: %s", target.id, row.size, error)
            return
        document = msgspec.json.encode(rekor_json.entry_json(entry))
        row = replace(row, kind=target.kind)  # the API may have been changed since it was queued
        await asyncio.to_thread(self._store.anchored, row, document, self._clock())
        _log.info("anchor %s: holds the checkpoint of size %d as entry %d", target.id, row.size, entry.index)

    def _failed(self, row: AnchorRow, error: AnchorFailed) -> None:
        pause_s = self._pauses.after(row.attempts + 1, self._random())
        pause_s = max(pause_s, error.retry_after_s or 0)
        if error.sign_anew:
            artefact = self._sign(row.note)
            row = replace(row, signature=artefact.signature, signer=artefact.signer)
        self._store.failed(row, str(error), self._clock() + int(pause_s * 1000))

    async def _end(self, targets: Sequence[Target]) -> None:
        tasks = [self._tasks.pop(target) for target in targets]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for target in targets:
            self._grown.pop(target, None)
        for result in results:
            if isinstance(result, Exception):
                _log.error("an anchor's task had ended: %s: %s", type(result).__name__, result)


def _record(row: AnchorRow) -> AnchorRecord | None:
    assert row.entry is not None
    assert row.anchored_ms is not None
    artefact = Artefact(row.note, row.signature, row.signer)
    try:
        entry = rekor_json.parse_entry(row.kind, row.entry)
    except VerificationError as error:  # it was verified before it was stored: the database is damaged
        _log.error("anchor %s: the entry stored for size %d is damaged: %s", row.anchor, row.size, error)
        return None
    return AnchorRecord(row.anchor, row.size, artefact, entry, row.anchored_ms)

"""Gives entries their index: one writer thread, group commit, and an answer only after the commit is durable.

Whatever waits is committed together (at most ``MAX_BATCH`` rows, fewer where they bring ``MOST_FOUND`` others along, no
artificial delay), and its futures are resolved by one call into the event loop. The order of rules after a failed
commit:

1. Ask the database which rows of the batch it holds. If it cannot say, every waiter gets ``LogUnavailable``.
2. A row that is there with our leaf was committed although the commit seemed to fail: success.
3. A row that is there with another leaf was sequenced earlier under the same decision id. If it says the
   same, its place is the answer (so a caller may repeat an append whose outcome it does not know), else
   ``LogConflict``.
4. If rule 3 met a row, it was the cause; the rest of the batch is committed again.
5. The rest of the batch is committed again, ``RETRIES`` times at most, when the error was one that goes away by itself
   (two transactions in each other's way, a connection that was lost). Otherwise it gets ``LogUnavailable``.

A row that comes with a ``Write`` (a change of a resource) is a transaction of its own, so that one that is refused
takes nobody else's entry along.

Index and row are one transaction, so no rule can leave a gap or a duplicate. Signing is not done here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from sovereign_ext.errors import LogConflict, LogError, LogUnavailable, ResourceError
from sovereign_ext.storage.entries import Row, StoredRow
from sovereign_ext.storage.resources import Write

MAX_BATCH: Final = 256
"""Rows in one transaction."""

MOST_FOUND: Final = 2_000
"""Places of credentials that are written with them, but for those of the last row: each is a row of its own, and nobody
shall wait long because somebody's requests are full of them."""

PROBE_S: Final = 1.0
"""Seconds between two looks whether a store that failed works again, while nothing is appended."""

RETRIES: Final = 3
"""How often a batch is tried again after a transient error."""

MAX_QUEUED: Final = 8192
"""Rows waiting for the writer; beyond it appends fail at once instead of piling up in memory."""


class Placed(msgspec.Struct, frozen=True):
    """Where an entry is. ``time_ms`` is the Unix time in milliseconds that its row holds."""

    index: int
    leaf_hash: bytes
    time_ms: int


class Store(Protocol):
    """What the sequencer needs of storage; ``EntryStore`` says what the methods promise."""

    def append(self, rows: Sequence[Row]) -> int: ...
    def change(self, row: Row, write: Write) -> int: ...
    def settled(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]: ...
    def transient(self, error: BaseException) -> bool: ...
    def reset(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    row: Row
    future: asyncio.Future[Placed]
    write: Write | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.row.decision_id, self.row.kind)


_Outcome = tuple[_Pending, Placed | LogError | ResourceError]
_Again = Callable[[list[_Pending], int], list[_Outcome]]
"""Commits what is left of a batch; the number is how often it may do so once more."""


class Sequencer:
    """Appends rows to a store. ``on_commit(size)`` is called on the writer thread after each durable batch;
    ``says_same(row, stored)`` decides whether a repeated decision id repeats the same statement."""

    def __init__(
        self,
        store: Store,
        *,
        on_commit: Callable[[int], None],
        says_same: Callable[[Row, StoredRow], bool],
    ) -> None:
        self._store = store
        self._on_commit = on_commit
        self._says_same = says_same
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._carried: list[_Pending] = []
        self._ended = False
        self._refusal: str | None = None
        self._loop = asyncio.get_running_loop()
        self.last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name="log-sequencer", daemon=True)
        self._thread.start()

    async def append(self, row: Row, write: Write | None = None) -> Placed:
        """Make ``row`` durable, and what ``write`` does with it, and say where it is.

        Raises ``LogUnavailable`` when it is not known to be durable, ``LogConflict`` when its decision id
        was used for another statement, ``ResourceError`` as ``write`` does. Cancelling the wait does not take the
        row back.
        """
        if self._refusal is not None:
            raise LogUnavailable(self._refusal)
        if self._queue.qsize() >= MAX_QUEUED:
            raise LogUnavailable(f"{MAX_QUEUED} entries are waiting to be written")
        future: asyncio.Future[Placed] = self._loop.create_future()
        self._queue.put(_Pending(row, future, write))
        return await future

    def refuse(self, reason: str) -> None:
        """Fail every append from now on: the log must not grow any more."""
        self._refusal = reason

    async def close(self) -> None:
        """Commit what is queued, refuse the rest, end the thread."""
        self._refusal = self._refusal or "the log is shutting down"
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while batch := self._next_batch():
            plain = [pending for pending in batch if pending.write is None]
            outcomes = self._commit(plain) if plain else []
            if len(plain) < len(batch):
                outcomes += [self._change(pending, pending.write) for pending in batch if pending.write]
            placed = [result.index for _, result in outcomes if isinstance(result, Placed)]
            if placed:
                self._on_commit(max(placed) + 1)
            self._deliver(outcomes)

    def _next_batch(self) -> list[_Pending]:
        """What waits now, at least one row; empty when closed and drained."""
        candidates, self._carried = self._carried, []
        if not candidates and not self._ended:
            self._take(candidates, self._first())
        found = sum(len(pending.row.findings) for pending in candidates)
        while len(candidates) < MAX_BATCH and found < MOST_FOUND and not self._queue.empty():
            item = self._queue.get()
            self._take(candidates, item)
            found += len(item.row.findings) if item else 0
        batch: dict[tuple[str, str], _Pending] = {}
        for pending in candidates:
            # The same decision id twice in one transaction would fail it; the next batch finds the first row.
            if pending.key in batch:
                self._carried.append(pending)
            else:
                batch[pending.key] = pending
        return list(batch.values())

    def _first(self) -> _Pending | None:
        """Wait for a row. After an error an empty commit is tried now and then, so that ``last_error`` goes
        away when its cause does: whoever sends no calls because of it would otherwise never learn that."""
        while self.last_error is not None:
            try:
                return self._queue.get(timeout=PROBE_S)
            except queue.Empty:
                self._probe()
        return self._queue.get()

    def _probe(self) -> None:
        try:
            self._store.append([])
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            self._store.reset()
        else:
            self.last_error = None

    def _take(self, candidates: list[_Pending], item: _Pending | None) -> None:
        if item is None:
            self._ended = True
        else:
            candidates.append(item)

    def _commit(self, batch: list[_Pending], left: int = RETRIES) -> list[_Outcome]:
        try:
            first = self._store.append([pending.row for pending in batch])
        except Exception as error:  # whatever it is, nobody may wait for ever
            return self._settle(batch, error, self._commit, left)
        self.last_error = None
        return [(pending, _placed(first + at, pending.row)) for at, pending in enumerate(batch)]

    def _change(self, pending: _Pending, write: Write, left: int = RETRIES) -> _Outcome:
        try:
            index = self._store.change(pending.row, write)
        except ResourceError as refused:
            return pending, refused
        except Exception as error:
            return self._settle([pending], error, lambda _, left: [self._change(pending, write, left)], left)[
                0
            ]
        self.last_error = None
        return pending, _placed(index, pending.row)

    def _settle(self, batch: list[_Pending], error: Exception, again: _Again, left: int) -> list[_Outcome]:
        """Find out what a failed commit did; see the rules at the top."""
        reason = f"{type(error).__name__}: {error}"
        try:
            self._store.reset()
            found = self._store.settled([pending.key for pending in batch])
        except Exception as second:
            self.last_error = f"{reason}; then {type(second).__name__}: {second}"
            return [
                (p, LogUnavailable(f"outcome of the commit is not known: {self.last_error}")) for p in batch
            ]
        outcomes: list[_Outcome] = []
        missing, repeats = [], False
        for pending in batch:
            stored = found.get(pending.key)
            if stored is None:
                missing.append(pending)
            elif stored.leaf_hash == pending.row.leaf_hash:
                outcomes.append((pending, _placed(stored.index, stored)))
            else:
                repeats = True
                outcomes.append((pending, self._repeated(pending.row, stored)))
        if missing and repeats:
            return outcomes + again(missing, left)  # shorter each time, so this ends
        if missing and left and self._store.transient(error):
            return outcomes + again(missing, left - 1)
        if missing:
            self.last_error = reason
        return outcomes + [(pending, LogUnavailable(f"commit failed: {reason}")) for pending in missing]

    def _repeated(self, row: Row, stored: StoredRow) -> Placed | LogError:
        if self._says_same(row, stored):
            return _placed(stored.index, stored)
        return LogConflict(f"{row.kind} of decision {row.decision_id} is already entry {stored.index}")

    def _deliver(self, outcomes: list[_Outcome]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, outcomes)
        except RuntimeError:
            self._refusal = "the event loop is gone"  # nobody is left to be told


def _placed(index: int, row: Row) -> Placed:
    return Placed(index, row.leaf_hash, row.time_ms)


def _resolve(outcomes: list[_Outcome]) -> None:
    for pending, result in outcomes:
        if pending.future.done():
            continue  # its caller was cancelled
        if isinstance(result, Placed):
            pending.future.set_result(result)
        else:
            pending.future.set_exception(result)

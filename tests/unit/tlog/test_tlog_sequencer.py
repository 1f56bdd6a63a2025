"""What a waiting caller is told when commits succeed, fail, or fail and are durable all the same."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest

from sovereign_ext.errors import LogConflict, LogUnavailable
from sovereign_ext.storage.entries import Row, StoredRow
from sovereign_ext.storage.findings import FindingRow
from sovereign_ext.tlog import sequencer as module
from sovereign_ext.tlog.sequencer import MAX_BATCH, MOST_FOUND, RETRIES, Placed, Sequencer


def row(number: int, say: bytes = b"") -> Row:
    """A row as a new signature makes it: the same statement has another leaf every time."""
    body = b"%d %d" % (number, next(_serial))
    return Row("outcome", "t", f"d{number}", 1000, body, sha256(body).digest(), say, b"{}")


_serial = iter(range(10**9))


@dataclass
class Store:
    """A store in memory whose commits go wrong on demand. ``faults`` is used up one per append."""

    rows: list[StoredRow] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    readable: bool = True
    resets: int = 0

    def append(self, rows: Sequence[Row]) -> int:
        self.entered.set()
        assert self.gate.wait(10)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "transient":
            raise sqlite3.OperationalError("try again")
        if fault == "before":
            raise sqlite3.OperationalError("database or disk is full")
        keys = {(r.decision_id, r.kind) for r in self.rows}
        if any((r.decision_id, r.kind) in keys for r in rows):
            raise sqlite3.IntegrityError("UNIQUE constraint failed")
        first = len(self.rows)
        values = [{name: getattr(r, name) for name in Row.__slots__} for r in rows]
        self.rows += [StoredRow(**v, index=first + i) for i, v in enumerate(values)]
        if rows:
            self.batches.append(len(rows))
        if fault == "after":
            raise sqlite3.OperationalError("disk I/O error")
        return first

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]:
        if not self.readable:
            raise sqlite3.OperationalError("unable to open database file")
        return {(r.decision_id, r.kind): r for r in self.rows if (r.decision_id, r.kind) in keys}

    settled = find

    def transient(self, error: BaseException) -> bool:
        return "try again" in str(error)

    def reset(self) -> None:
        self.resets += 1


def build(store: Store, *, blocked: bool = False) -> tuple[Sequencer, list[int]]:
    if not blocked:
        store.gate.set()
    sizes: list[int] = []
    made = Sequencer(
        store, on_commit=sizes.append, says_same=lambda mine, stored: mine.envelope == stored.envelope
    )
    return made, sizes


async def append_all(sequencer: Sequencer, rows: Sequence[Row]) -> list[Placed | BaseException]:
    return await asyncio.gather(*(sequencer.append(r) for r in rows), return_exceptions=True)


def placed(results: Sequence[Placed | BaseException]) -> list[int]:
    assert all(isinstance(r, Placed) for r in results), results
    return [r.index for r in results if isinstance(r, Placed)]


async def queued(sequencer: Sequencer, store: Store, rows: Sequence[Row]) -> list[Placed | BaseException]:
    """Append one row that blocks the writer, queue ``rows`` behind it, let go: ``rows`` are one batch."""
    head = asyncio.create_task(sequencer.append(row(10**6)))
    await asyncio.to_thread(store.entered.wait, 10)
    rest = asyncio.create_task(append_all(sequencer, rows))
    while sequencer._queue.qsize() < len(rows):
        await asyncio.sleep(0)
    store.gate.set()
    await head
    return await rest


def test_order_and_group_commit() -> None:
    """Rows get indices in the order they were appended; what waits is committed together, at most 256
    rows."""

    async def scenario() -> None:
        store = Store()
        sequencer, sizes = build(store, blocked=True)
        results = await queued(sequencer, store, [row(i) for i in range(MAX_BATCH + 10)])
        assert placed(results) == list(range(1, MAX_BATCH + 11))
        assert store.batches == [1, MAX_BATCH, 10]
        assert sizes == [1, MAX_BATCH + 1, MAX_BATCH + 11]
        await sequencer.close()

    asyncio.run(scenario())


def test_places_of_credentials_are_bounded_in_a_batch() -> None:
    """Each is a row, too: entries full of them are committed in smaller batches, none is left out."""

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        place = FindingRow(1, 0, "t", "k", "p", "redacted", 1, 1, "jwt", 1, 40, 1, "f", "/user")
        full = [replace(row(at), findings=(place,) * 100) for at in range(50)]
        results = await queued(sequencer, store, [*full, *map(row, range(100, 110))])
        assert placed(results) == [*range(1, 61)]
        assert store.batches == [1, MOST_FOUND // 100, MOST_FOUND // 100, 20]
        await sequencer.close()

    asyncio.run(scenario())


def test_failed_and_not_persisted() -> None:
    """Nobody gets an index, everybody is told, and the next append takes the index that would have been."""

    async def scenario() -> None:
        store = Store(faults=["", "before"])
        sequencer, _ = build(store, blocked=True)
        results = await queued(sequencer, store, [row(1), row(2)])
        assert all(isinstance(r, LogUnavailable) and "disk is full" in str(r) for r in results)
        assert sequencer.last_error is not None
        assert store.resets == 1
        assert (await sequencer.append(row(3))).index == 1
        assert sequencer.last_error is None
        await sequencer.close()

    asyncio.run(scenario())


def test_failed_but_persisted() -> None:
    """The commit reports an error and is durable: the callers get their indices, and nothing is stored
    twice."""

    async def scenario() -> None:
        store = Store(faults=["", "after"])
        sequencer, sizes = build(store, blocked=True)
        rows = [row(1), row(2)]
        results = await queued(sequencer, store, rows)
        assert placed(results) == [1, 2]
        assert [r.leaf_hash for r in results if isinstance(r, Placed)] == [r.leaf_hash for r in rows]
        assert sizes[-1] == 3
        assert (await sequencer.append(row(3))).index == 3
        assert [r.index for r in store.rows] == [0, 1, 2, 3]
        await sequencer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["before", "after"])
def test_unknown_outcome_fails_closed_and_may_be_repeated(fault: str) -> None:
    """When the database cannot say what became of a commit, the caller is refused. Repeating the same
    statement gives its one index, whether the first commit was durable or not."""

    async def scenario() -> None:
        store = Store(faults=[fault], readable=False)
        sequencer, _ = build(store)
        with pytest.raises(LogUnavailable, match="outcome of the commit is not known"):
            await sequencer.append(row(1, b"same"))
        store.readable = True
        assert (await sequencer.append(row(1, b"same"))).index == 0
        assert (await sequencer.append(row(2))).index == 1
        assert len(store.rows) == 2
        await sequencer.close()

    asyncio.run(scenario())


def test_a_used_decision_id_spoils_only_itself() -> None:
    """In a batch with a repeated and a conflicting decision id, the others are committed without a gap."""

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        store.gate.set()
        first = await sequencer.append(row(1, b"same"))
        await sequencer.append(row(2, b"this"))
        store.gate.clear()
        store.entered.clear()
        batch = [row(3), row(1, b"same"), row(2, b"that"), row(4)]
        results = await queued(sequencer, store, batch)
        assert isinstance(results[2], LogConflict)
        assert results[1] == first
        assert placed([results[0], results[3]]) == [3, 4]
        assert [r.index for r in store.rows] == [0, 1, 2, 3, 4]
        assert sequencer.last_error is None
        await sequencer.close()

    asyncio.run(scenario())


def test_the_same_decision_twice_in_the_queue() -> None:
    """Two appends of one statement at once give one entry."""

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        results = await queued(sequencer, store, [row(1, b"same"), row(1, b"same"), row(2)])
        assert placed(results) == [1, 1, 2]
        assert len(store.rows) == 3
        await sequencer.close()

    asyncio.run(scenario())


def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    """Cancelling one wait leaves its row in the log and the batch's other callers with their indices."""

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        gone = asyncio.create_task(sequencer.append(row(1)))
        await asyncio.to_thread(store.entered.wait, 10)
        gone.cancel()
        other = asyncio.create_task(sequencer.append(row(2)))
        await asyncio.sleep(0)
        store.gate.set()
        assert (await other).index == 1
        assert gone.cancelled()
        assert len(store.rows) == 2
        await sequencer.close()

    asyncio.run(scenario())


def test_close_commits_what_is_queued_and_refuses_the_rest() -> None:
    """Closing loses no entry that was handed over, and takes none any more."""

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        tasks = [asyncio.create_task(sequencer.append(row(i))) for i in range(5)]
        await asyncio.to_thread(store.entered.wait, 10)
        closing = asyncio.create_task(sequencer.close())
        await asyncio.sleep(0)
        store.gate.set()
        assert placed(await asyncio.gather(*tasks)) == [0, 1, 2, 3, 4]
        await closing
        with pytest.raises(LogUnavailable, match="shutting down"):
            await sequencer.append(row(9))

    asyncio.run(scenario())


def test_a_long_queue_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk stalls, appends are refused instead of piling up."""
    monkeypatch.setattr(module, "MAX_QUEUED", 3)

    async def scenario() -> None:
        store = Store()
        sequencer, _ = build(store, blocked=True)
        tasks = [asyncio.create_task(sequencer.append(row(0)))]
        await asyncio.to_thread(store.entered.wait, 10)
        tasks += [asyncio.create_task(sequencer.append(row(i))) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(LogUnavailable, match="waiting to be written"):
            await sequencer.append(row(4))
        store.gate.set()
        assert placed(await asyncio.gather(*tasks)) == [0, 1, 2, 3]
        await sequencer.close()

    asyncio.run(scenario())


def test_health_comes_back_without_an_append(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the store is probed, so a gateway that gets no calls because of it becomes ready
    again."""
    monkeypatch.setattr(module, "PROBE_S", 0.001)

    async def scenario() -> None:
        store = Store(faults=["before", "before"])
        sequencer, _ = build(store)
        with pytest.raises(LogUnavailable):
            await sequencer.append(row(1))
        assert sequencer.last_error is not None
        async with asyncio.timeout(10):
            while sequencer.last_error is not None:
                await asyncio.sleep(0.001)
        assert store.rows == []
        await sequencer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("faults", "placed_at"), [(1, 0), (RETRIES, 0), (RETRIES + 1, None)])
def test_what_goes_away_by_itself_is_tried_again(faults: int, placed_at: int | None) -> None:
    """A bounded number of times; whoever waits longer is told, and the store is as it was."""

    async def scenario() -> None:
        store = Store(faults=["transient"] * faults)
        sequencer, sizes = build(store)
        (result,) = await append_all(sequencer, [row(1)])
        if placed_at is None:
            assert isinstance(result, LogUnavailable)
            assert "try again" in str(result)
            assert (store.rows, sizes) == ([], [])
        else:
            assert isinstance(result, Placed)
            assert (result.index, sequencer.last_error) == (placed_at, None)
            assert sizes == [1]
        assert store.resets == min(faults, RETRIES + 1)
        await sequencer.close()

    asyncio.run(scenario())

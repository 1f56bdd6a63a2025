"""The sequencer on real databases, of both kinds: what its callers are told is what the database holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from itertools import count

import pytest
from services import Backend

from sovereign_ext.errors import LogConflict, LogUnavailable, ResourceExists
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.resources import create
from sovereign_ext.tlog import sequencer as module
from sovereign_ext.tlog.sequencer import Placed, Sequencer

_serial = count()


def row(name: str, say: bytes = b"") -> Row:
    """A row as a new signature makes it: another leaf every time, over the same ``say``."""
    body = b"%d" % next(_serial)
    return Row("outcome", "t", name, 1000, body, sha256(body).digest(), say, b"{}")


def run(
    database: Backend, scene: Callable[[Sequencer, EntryStore], Awaitable[None]], wait_s: float = 5.0
) -> None:
    store = EntryStore(database.engine(wait_s=wait_s))
    store.create_head("origin")

    async def play() -> None:
        sequencer = Sequencer(
            store, on_commit=lambda _: None, says_same=lambda a, b: a.envelope == b.envelope
        )
        try:
            await scene(sequencer, store)
        finally:
            await sequencer.close()

    try:
        asyncio.run(play())
    finally:
        store.close()


def check(store: EntryStore, placed: dict[str, Placed]) -> None:
    """No gap, and every place that was given out holds the row that it was given for."""
    size, last = store.extent()
    assert last is None or size == last + 1
    rows = {found.index: found for found in store.rows(0, size)}
    assert sorted(rows) == list(range(size))
    for name, place in placed.items():
        assert (rows[place.index].decision_id, rows[place.index].leaf_hash) == (name, place.leaf_hash)


def test_everybody_is_told_their_own_place(database: Backend) -> None:
    """Many at once, repeated and contradicting ones among them."""

    async def scene(sequencer: Sequencer, store: EntryStore) -> None:
        names = [f"d{number}" for number in range(300)]
        found = await asyncio.gather(*(sequencer.append(row(name)) for name in names))
        placed = dict(zip(names, found, strict=True))
        again = await asyncio.gather(*(sequencer.append(row(name)) for name in names[:20]))
        assert again == found[:20]
        others = (sequencer.append(row(name, b"other")) for name in names[:5])
        assert {type(each) for each in await asyncio.gather(*others, return_exceptions=True)} == {LogConflict}
        check(store, placed)
        assert store.size() == 300

    run(database, scene)


def test_changes_among_calls(database: Backend) -> None:
    """A change that is refused takes nobody else's entry along."""

    async def scene(sequencer: Sequencer, store: EntryStore) -> None:
        write = create("tenants/acme", "tenant", "acme", "{}", 1)
        results = await asyncio.gather(
            *(sequencer.append(row(f"c{n}"), write if n % 10 == 0 else None) for n in range(100)),
            return_exceptions=True,
        )
        refused = [n for n, result in enumerate(results) if isinstance(result, ResourceExists)]
        assert len(refused) == 9
        assert set(refused) < set(range(0, 100, 10))
        check(store, {f"c{n}": found for n, found in enumerate(results) if isinstance(found, Placed)})
        assert store.size() == 91

    run(database, scene)


def test_a_database_that_cannot_be_written(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers are told in time; the error goes away by itself when its cause does."""
    monkeypatch.setattr(module, "PROBE_S", 0.05)

    async def scene(sequencer: Sequencer, store: EntryStore) -> None:
        first = await sequencer.append(row("d0"))
        with database.locked("log_head"):
            with pytest.raises(LogUnavailable):
                async with asyncio.timeout(20):
                    await sequencer.append(row("d1"))
            assert sequencer.last_error
        async with asyncio.timeout(20):
            while sequencer.last_error:
                await asyncio.sleep(0.01)
        second = await sequencer.append(row("d1"))
        check(store, {"d0": first, "d1": second})

    run(database, scene, wait_s=0.5)


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.services)], indirect=True)
def test_sessions_that_are_cut(database: Backend) -> None:
    """Whatever instant they are cut at: a place that was given out is there, an append that failed may be repeated."""
    server = database.server
    assert server is not None

    async def scene(sequencer: Sequencer, store: EntryStore) -> None:
        placed: dict[str, Placed] = {}
        cuts = 0

        async def caller(number: int) -> None:
            for turn in range(12):
                name = f"d{number}-{turn}"
                while name not in placed:
                    try:
                        placed[name] = await sequencer.append(row(name))
                    except LogUnavailable:
                        await asyncio.sleep(0.02)

        cutting = True

        async def cutter() -> None:
            nonlocal cuts
            while cutting:
                cuts += await asyncio.to_thread(server.disconnect)
                await asyncio.sleep(0.03)

        cut = asyncio.create_task(cutter())
        async with asyncio.timeout(60):
            await asyncio.gather(*(caller(number) for number in range(10)))
        cutting = False
        await cut
        assert cuts > 0
        check(store, placed)
        assert store.size() == 120, "no append was made twice"

    run(database, scene)

"""The directory follows the database, whatever becomes of the database; last uses are written when they can be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy.exc import OperationalError
from test_tenants_directory import HASHES, LOST, gone, key_row, tenant_row
from test_tenants_directory import Row as Shown

from sovereign_ext.enrolment import AT_ONCE, Enrolment
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.storage.resources import Resource
from sovereign_ext.tenants.directory import Directory


@dataclass
class Database:
    """Rows in the order of their changes; ``down`` makes every question fail."""

    rows: list[Resource]
    down: bool = False
    asked: int = 0

    def put(self, row: Shown) -> int:
        revision = len(self.rows)
        self.rows.append(Resource(row.name, row.kind, "", row.document, revision, 1, 1, row.deleted))
        return revision

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterable[Resource]:
        self.asked += 1
        if self.down:
            raise OperationalError("", None, Exception())
        yield from [row for row in self.rows if row.revision > revision and row.kind in kinds]


def run(scenario: Callable[[Database, Enrolment], Awaitable[None]], *rows: Shown) -> None:
    """Runs it on an enrolment that has loaded ``rows`` and follows."""

    async def all_of_it() -> None:
        database = Database([])
        for row in rows:
            database.put(row)
        enrolment = Enrolment(Directory(HASHES), database)
        enrolment.load()
        following = asyncio.create_task(enrolment.run())
        try:
            await asyncio.wait_for(scenario(database, enrolment), 20)
            assert not following.done()
        finally:
            following.cancel()

    asyncio.run(all_of_it())


def test_everything_is_there_after_loading_and_changes_follow() -> None:
    async def scenario(database: Database, enrolment: Enrolment) -> None:
        assert (enrolment.revision, enrolment.directory.grant("k1") is None) == (1, False)
        revision = database.put(key_row("tenants/a", "two", "k2"))
        assert await enrolment.applied(revision)
        assert enrolment.directory.grant("k2") is not None
        assert await enrolment.applied(database.put(gone(key_row("tenants/a", "one", "k1"))))
        assert enrolment.directory.grant("k1") is None

    run(scenario, tenant_row("a"), key_row("tenants/a", "one", "k1"))


def test_a_revision_is_reached_with_all_of_its_rows() -> None:
    """A tenant takes its keys along under one revision; who waits for it waits for the last of them."""

    async def scenario(database: Database, enrolment: Enrolment) -> None:
        rows = [gone(key_row("tenants/a", f"k{number}", f"key {number}")) for number in range(3 * AT_ONCE)]
        for row in rows:
            database.rows.append(Resource(row.name, row.kind, "", "{}", 10_000, 1, 1, True))
        enrolment.changed()
        while enrolment.directory.grant("key 0") is not None:
            await asyncio.sleep(0)
        assert await enrolment.applied(10_000)
        assert enrolment.directory.issued("tenants/a") == 0

    keys = [key_row("tenants/a", f"k{number}", f"key {number}") for number in range(3 * AT_ONCE)]
    run(scenario, tenant_row("a"), *keys)


def test_many_changes_at_once_are_all_applied() -> None:
    """A few at a time, so that calls get their turn."""

    async def scenario(database: Database, enrolment: Enrolment) -> None:
        for number in range(3 * AT_ONCE + 1):
            last = database.put(key_row("tenants/a", f"k{number}", f"key {number}"))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        busy = asyncio.create_task(others())
        assert await enrolment.applied(last, 10)
        busy.cancel()
        assert turns > 3
        assert enrolment.directory.issued("tenants/a") == 3 * AT_ONCE + 1

    run(scenario, tenant_row("a"))


def test_a_database_that_is_down_changes_nothing_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """What was known holds; it is said once, and nobody has to call again."""

    async def scenario(database: Database, enrolment: Enrolment) -> None:
        database.down = True
        revision = database.put(gone(key_row("tenants/a", "one", "k1")))
        asked = database.asked
        assert not await enrolment.applied(revision, 0.05)
        assert enrolment.directory.grant("k1") is not None
        while database.asked < asked + 2:
            await asyncio.sleep(0.01)
        database.down = False
        while enrolment.revision < revision:
            await asyncio.sleep(0.01)
        assert enrolment.directory.grant("k1") is None
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    run(scenario, tenant_row("a"), key_row("tenants/a", "one", "k1"))


def test_a_row_that_cannot_be_read_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It opens nothing, and is named in our log; keys of a lost secret are counted there."""

    async def scenario(database: Database, enrolment: Enrolment) -> None:
        assert enrolment.directory.grant("k2") is not None
        text = caplog.text
        assert "tenants/a/keys/one: its document cannot be read" in text
        assert f"1 keys open nothing: the key hash secret {LOST.current.id} is not there" in text

    broken = Shown("tenants/a/keys/one", "key", "{")
    run(
        scenario,
        tenant_row("a"),
        broken,
        key_row("tenants/a", "two", "k2"),
        key_row("tenants/a", "three", "k3", LOST),
    )


@dataclass
class Uses:
    """What was written, and whether it can be."""

    written: dict[str, int]
    down: bool = False
    tries: int = 0

    def used(self, last_used_ms: Mapping[str, int]) -> None:
        self.tries += 1
        if self.down:
            raise OperationalError("", None, Exception())
        self.written.update(last_used_ms)


def test_last_uses_wait_while_they_cannot_be_written() -> None:
    """The newest of each key; workloads have no key whose use could be shown."""

    async def scenario() -> None:
        uses = Uses({}, down=True)
        noted = KeyUse(uses)
        noted.tenant("a", "one", 1)
        noted.operator("ops", "two", 2)
        noted.tenant("a", "spiffe://x/y", 3)
        with pytest.raises(OperationalError):
            await noted.flush()
        noted.tenant("a", "one", 4)
        uses.down = False
        await noted.flush()
        assert uses.written == {"tenants/a/keys/one": 4, "operators/ops/keys/two": 2}
        uses.written.clear()
        await noted.flush()
        assert uses.written == {}

    asyncio.run(scenario())


def test_last_uses_are_written_now_and_then_and_a_failure_ends_nothing() -> None:
    async def scenario() -> None:
        uses = Uses({}, down=True)
        noted = KeyUse(uses)
        noted.tenant("a", "one", 1)
        task = asyncio.create_task(noted.run(every_s=0.005))
        async with asyncio.timeout(10):
            while uses.tries < 2:
                await asyncio.sleep(0.005)
            uses.down = False
            while not uses.written:
                await asyncio.sleep(0.005)
        assert not task.done()
        task.cancel()

    asyncio.run(scenario())

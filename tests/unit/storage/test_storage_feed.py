"""The feed: every change reaches every follower, however the database or a follower fails, and nobody spins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from services import Backend, PostgresDatabase
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.secret import Secret
from sovereign_ext.storage import feed as module
from sovereign_ext.storage.engine import open_postgres
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.feed import Feed
from sovereign_ext.storage.listen import Listener
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.storage.resources import CHANNEL, create

PATIENCE_S = 30.0
FAR_S = 1000.0
"""A look that never comes."""


class Writer:
    """Another process that makes changes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._store = EntryStore(engine)
        self._store.create_head("origin")
        self._made = 0

    def change(self) -> int:
        """Make one; its revision."""
        self._made += 1
        row = Row("change", "", f"d{self._made}", 1, b"", bytes(32), b"{}", b"{}")
        return self._store.change(row, create(f"tenants/t{self._made}", "tenant", f"t{self._made}", "{}", 1))


class Seen:
    """A follower that remembers."""

    def __init__(self) -> None:
        self.revisions: list[int] = []
        self._more = asyncio.Event()

    def __call__(self, revision: int) -> None:
        self.revisions.append(revision)
        self._more.set()

    async def reaches(self, revision: int, within_s: float = PATIENCE_S) -> float:
        """Wait for it; how many seconds that took."""
        begun = time.monotonic()
        async with asyncio.timeout(within_s):
            while not self.revisions or self.revisions[-1] < revision:
                await self._more.wait()
                self._more.clear()
        return time.monotonic() - begun


@asynccontextmanager
async def following(engine: Engine, look_s: float = 0.05) -> Any:
    feed = Feed(engine, look_s=look_s)
    await feed.start()
    try:
        yield feed
    finally:
        await feed.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.01)


def ready(postgres: PostgresDatabase, patience_s: float = 5.0) -> Engine:
    engine = open_postgres(Secret(postgres.url), patience_s=patience_s)
    ensure_schema(engine)
    return engine


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_a_look_that_fails_for_whatever_reason_is_not_the_last(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only for the database's; and the feed can be stopped."""
    engine = ready(postgres)

    def broken_look() -> int:
        raise IndexError

    async def scenario() -> None:
        writer, seen = Writer(engine), Seen()
        async with following(engine) as feed:
            feed.follow(seen)
            with monkeypatch.context() as broken:
                broken.setattr(feed._store, "revision", broken_look)
                await until(lambda: feed.status.error == "IndexError")
            await seen.reaches(writer.change())
            await until(lambda: feed.status.error is None)

    try:
        run(scenario)
    finally:
        engine.dispose()


def test_a_follower_is_told_what_there_is_and_what_comes(database: Backend) -> None:
    """From where it says it is; a change of this process is known at once, without a look."""
    engine = database.engine()

    async def scenario() -> None:
        writer = Writer(engine)
        first = writer.change()
        async with following(engine, FAR_S) as feed:
            early, late = Seen(), Seen()
            feed.follow(early)
            feed.follow(late, since=first)
            await early.reaches(first)
            second = writer.change()
            feed.wake(second)
            await early.reaches(second, 5)
            await late.reaches(second, 5)
            assert early.revisions == [first, second]
            assert late.revisions == [second]
            assert (feed.status.revision, feed.status.error) == (second, None)

    run(scenario)


def test_changes_in_quick_succession_may_be_one_call(database: Backend) -> None:
    """A slow follower is not called twice at a time, and then told the newest only."""
    engine = database.engine()

    async def scenario() -> None:
        async with following(engine, FAR_S) as feed:
            calls: list[int] = []
            inside, go = asyncio.Event(), asyncio.Event()

            async def slow(revision: int) -> None:
                calls.append(revision)
                inside.set()
                await go.wait()

            feed.follow(slow)
            feed.wake(1)
            await inside.wait()
            for revision in (2, 3, 4):
                feed.wake(revision)
            await until(lambda: feed.status.revision == 4)
            assert calls == [1]
            go.set()
            await until(lambda: calls == [1, 4])

    run(scenario)


def test_a_follower_that_fails_is_called_again(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause that grows; the others do not wait for it."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.02)
    engine = database.engine()

    async def scenario() -> None:
        async with following(engine, FAR_S) as feed:
            times: list[float] = []

            async def fails(revision: int) -> None:
                times.append(time.monotonic())
                if len(times) < 4:
                    raise ValueError(revision)

            seen = Seen()
            feed.follow(fails)
            feed.follow(seen)
            feed.wake(7)
            assert await seen.reaches(7) < 1
            await until(lambda: len(times) == 4)
            pauses = [later - earlier for earlier, later in pairwise(times)]
            assert [pause >= wanted for pause, wanted in zip(pauses, (0.02, 0.04, 0.08), strict=True)] == [
                True
            ] * 3
            await asyncio.sleep(0.2)
            assert len(times) == 4, "once it succeeded it is left alone"

    run(scenario)


def test_a_feed_that_cannot_be_read_at_the_start_is_an_error(database: Backend) -> None:
    """Nobody may take silence for "nothing new"."""
    engine = database.engine(migrated=False)

    async def scenario() -> None:
        with pytest.raises(SQLAlchemyError):
            await Feed(engine).start()

    run(scenario)


@pytest.mark.services
def test_a_change_elsewhere_is_heard_without_a_look(postgres: PostgresDatabase) -> None:
    """LISTEN/NOTIFY by itself, well within the second in which a revocation has to be everywhere."""
    engine = ready(postgres)

    async def scenario() -> None:
        async with following(engine, FAR_S) as feed:
            seen = Seen()
            feed.follow(seen)
            await until(lambda: listening(postgres))
            writer = Writer(ready(postgres))
            for _ in range(5):
                assert await seen.reaches(writer.change()) < 0.5
            writer.engine.dispose()

    run(scenario)
    engine.dispose()


@pytest.mark.services
def test_a_change_elsewhere_is_seen_by_looking(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any announcement, as behind a pooler that swallows them."""
    monkeypatch.setattr(Listener, "start", lambda _: None)
    engine = ready(postgres)

    async def scenario() -> None:
        async with following(engine) as feed:
            seen = Seen()
            feed.follow(seen)
            writer = Writer(ready(postgres))
            assert await seen.reaches(writer.change()) < 0.5
            writer.engine.dispose()

    run(scenario)
    engine.dispose()


@pytest.mark.services
def test_an_announcement_is_not_believed(postgres: PostgresDatabase) -> None:
    """Any role may NOTIFY; a number that is too high would hide every later change."""
    engine = ready(postgres)

    async def scenario() -> None:
        async with following(engine, FAR_S) as feed:
            seen = Seen()
            feed.follow(seen)
            await until(lambda: listening(postgres))
            for word in ("999999", "nonsense", ""):
                postgres.execute(f"NOTIFY {CHANNEL}, '{word}'")
            writer = Writer(ready(postgres))
            revision = writer.change()
            await seen.reaches(revision)
            assert seen.revisions == [revision]
            writer.engine.dispose()

    run(scenario)
    engine.dispose()


@pytest.mark.services
def test_nothing_is_missed_while_sessions_are_cut(postgres: PostgresDatabase) -> None:
    """An administrator ends every session again and again; the last change arrives all the same."""
    engine = ready(postgres)

    async def scenario() -> None:
        async with following(engine) as feed:
            seen = Seen()
            feed.follow(seen)
            writer = Writer(ready(postgres))
            for _ in range(10):
                await until(lambda: listening(postgres))
                revision = writer.change()
                postgres.disconnect()
                await seen.reaches(revision)
                await until(lambda: feed.status.error is None)
            assert seen.revisions == sorted(set(seen.revisions))
            writer.engine.dispose()

    run(scenario)
    engine.dispose()


@pytest.mark.services
@pytest.mark.parametrize("how", ["stop", "kill", "freeze"])
def test_a_database_that_goes_and_comes_back(how: str, postgres: PostgresDatabase) -> None:
    """The outage shows, own changes still count, attempts are few, and what others changed is seen afterwards."""
    engine = ready(postgres, patience_s=1.0)
    attempts = 0

    @event.listens_for(engine, "do_connect")
    def count(*_arguments: object) -> None:
        nonlocal attempts
        attempts += 1

    async def scenario() -> None:
        nonlocal attempts
        async with following(engine, 0.2) as feed:
            seen = Seen()
            feed.follow(seen)
            writer = Writer(ready(postgres))
            revision = writer.change()
            await seen.reaches(revision)
            await asyncio.to_thread(getattr(postgres, how))
            attempts = 0
            await until(lambda: feed.status.error is not None)
            before = feed.status.looked_s
            await asyncio.sleep(1.0)
            assert feed.status.looked_s == before
            assert attempts <= 12, "looks every 0.2 s and the listener every 0.5 s"
            feed.wake(revision + 1)
            await seen.reaches(revision + 1, 5)
            await asyncio.to_thread(postgres.thaw if how == "freeze" else postgres.start)
            again = Writer(ready(postgres))
            again._made = 100
            again.change()  # the revision that was told already
            await seen.reaches(again.change())
            assert feed.status.error is None
            for each in (writer, again):
                each.engine.dispose()

    run(scenario)
    engine.dispose()


def listening(postgres: PostgresDatabase) -> bool:
    """Whether a session in the test's database has said LISTEN and waits."""
    found = postgres.server.execute(
        f"SELECT query FROM pg_stat_activity WHERE datname = '{postgres.name}' AND query LIKE 'LISTEN%'"
    )
    return len(found) > 0

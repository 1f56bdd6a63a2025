"""Usage: written with its entry or not at all, summed by hour, read by time, put right from what it should be."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from msgspec.structs import asdict, replace
from services import Backend
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.storage.schema import usage_hours
from sovereign_ext.storage.usage import COUNTS, HOUR_MS, StoredUsage, Totals, UsageRow, UsageStore, leaves
from sovereign_ext.storage.usage_mend import differing_hours, everybody, hours_of, mend_hours, mend_rows
from sovereign_ext.storage.usage_sums import Question, sums

T0 = 490_000 * HOUR_MS
CALL = UsageRow(
    T0,
    "acme",
    "ci",
    "m",
    "p",
    "answered",
    10,
    5,
    4,
    3,
    2,
    100,
    110,
    price_source="configured",
    margin_percent="10",
)


def row(number: int, used: UsageRow | None) -> Row:
    return Row(
        "outcome", "acme", f"d{number}", number, b"", bytes([number % 256]) * 32, b"{}", b"{}", usage=used
    )


@pytest.fixture
def engine(database: Backend) -> Iterator[Engine]:
    engine = database.engine()
    ensure_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[EntryStore]:
    store = EntryStore(engine)
    store.create_head("origin")
    yield store
    store.reset()


def hours(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(each._mapping) for each in connection.execute(select(usage_hours))]


def test_usage_comes_back_as_it_was_written(engine: Engine, store: EntryStore) -> None:
    """No column is swapped, with any of them or the defaults."""
    plain = UsageRow(T0 + 1, "acme", "", "", "", "denied")
    store.append([row(0, CALL), row(1, None), row(2, replace(CALL, estimated=True)), row(3, plain)])
    found = UsageStore(engine).rows("acme", T0, T0 + 2)
    assert found == [
        StoredUsage(0, CALL),
        StoredUsage(2, replace(CALL, estimated=True)),
        StoredUsage(3, plain),
    ]
    assert UsageStore(engine).by_index("acme", 1, 3) == found[1:2]
    assert UsageStore(engine).rows("acme", T0, T0 + 2, after=0, limit=1) == found[1:2]
    assert UsageStore(engine).rows("other", T0, T0 + 2) == []


def test_hours_are_sums_of_their_rows(engine: Engine, store: EntryStore) -> None:
    """Rows of one batch and of several come together in one row for each hour and place."""
    store.append([row(0, CALL), row(1, CALL), row(2, replace(CALL, key="other"))])
    store.append([row(3, CALL), row(4, replace(CALL, time_ms=T0 + HOUR_MS))])
    found = {(each["hour"], each["key"]): each for each in hours(engine)}
    assert {place: each["calls"] for place, each in found.items()} == {
        (490_000, "ci"): 3,
        (490_000, "other"): 1,
        (490_001, "ci"): 1,
    }
    assert [found[490_000, "ci"][name] for name in COUNTS] == [30, 15, 12, 9, 6, 300, 330]


def test_a_batch_that_fails_leaves_no_usage(engine: Engine, store: EntryStore) -> None:
    """A repeated decision id takes entries, rows and sums back together; the rest is counted once."""
    store.append([row(0, CALL)])
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.append([row(1, CALL), row(0, CALL)])
    store.reset()
    assert [each["calls"] for each in hours(engine)] == [1]
    store.append([row(1, CALL)])
    assert [each["calls"] for each in hours(engine)] == [2]
    assert [each.index for each in UsageStore(engine).rows("acme", 0, T0 * 2)] == [0, 1]


def test_spent_is_exact_at_any_times(engine: Engine, store: EntryStore) -> None:
    """Whole hours from sums, the rest from rows: the same as adding up by hand, for the tenant and for a key."""
    rng = random.Random(5)
    rows = [
        replace(
            CALL,
            time_ms=T0 + rng.randrange(5 * HOUR_MS),
            key=rng.choice("ab"),
            tenant=rng.choice(["acme", "globex"]),
            billed_nano=rng.randrange(1 << 40),
        )
        for _ in range(300)
    ]
    store.append([row(at, each) for at, each in enumerate(rows)])
    usage = UsageStore(engine)
    marks = [
        T0,
        T0 + 1,
        T0 + HOUR_MS - 1,
        T0 + HOUR_MS,
        T0 + 2 * HOUR_MS + 12_345,
        T0 + 5 * HOUR_MS,
        T0 - HOUR_MS,
    ]
    for since in marks:
        for until in (*marks, None):
            for tenant in ("acme", "globex", "nobody"):
                for key in (None, "a", "b", "c"):
                    expected = sum(
                        each.billed_nano
                        for each in rows
                        if each.tenant == tenant and key in (None, each.key)
                        if since <= each.time_ms and (until is None or each.time_ms < until)
                    )
                    assert usage.spent(tenant, key, since, until) == expected


def test_sums_by_bucket_and_dimension_in_pages(engine: Engine, store: EntryStore) -> None:
    """Every grouping adds up to all, and pages of any size are the whole, in order."""
    rng = random.Random(7)
    rows = [
        replace(
            CALL,
            time_ms=T0 + rng.randrange(100 * HOUR_MS),
            key=rng.choice("ab"),
            model=rng.choice(["", "m", "ü"]),
            price_source=rng.choice(["", "configured", "genai-prices 0.2.3"]),
        )
        for _ in range(200)
    ]
    store.append([row(at, each) for at, each in enumerate(rows)])
    first = T0 // HOUR_MS
    with engine.connect() as connection:
        for buckets in (1, 24, (first,), (first - 5, first + 20, first + 60)):
            for group_by in ((), ("key",), ("model", "key"), ("tenant", "model", "provider", "key")):
                asked = Question(first, first + 100, buckets, group_by, (("tenant", "acme"),))
                whole = sums(connection, asked)
                assert sum((each.totals for each in whole), Totals()).calls == 200
                assert sum(each.totals.billed_nano for each in whole) == 200 * 110
                places = [(each.hour, each.group) for each in whole]
                assert len(set(places)) == len(places)
                paged: list[Any] = []
                while page := sums(
                    connection, asked, (paged and (paged[-1].hour, paged[-1].group)) or None, 3
                ):
                    paged += page
                assert paged == whole
        everything = sums(connection, Question(first, first + 100, (first,)))
        assert everything[0].price_sources == ("configured", "genai-prices 0.2.3")
        part = sums(
            connection, Question(first, first + 100, (first,), ("key",), (("key", "a"), ("model", "ü")))
        )
        assert [each.totals.calls for each in part] == [sum(r.key == "a" and r.model == "ü" for r in rows)]


def test_leaves_are_those_of_the_rows(engine: Engine, store: EntryStore) -> None:
    """In order, without entries that are not the tenant's or not of the time."""
    store.append([row(0, CALL), row(1, None), row(2, replace(CALL, tenant="other")), row(3, CALL)])
    store.append([row(4, replace(CALL, time_ms=T0 + HOUR_MS))])
    with UsageStore(engine).moment() as connection:
        found = list(leaves(connection, "acme", T0, T0 + HOUR_MS))
    assert found == [(0, bytes(32)), (3, bytes([3]) * 32)]


def test_a_moment_sees_nothing_that_comes_later(engine: Engine, store: EntryStore) -> None:
    """What is appended between two reads of one moment is in neither."""
    store.append([row(0, CALL)])
    asked = Question(0, 1_000_000, (0,))
    with UsageStore(engine).moment() as connection:
        before = sums(connection, asked)
        store.append([row(1, CALL)])
        assert sums(connection, asked) == before
        assert len(list(leaves(connection, "acme", 0, T0 * 2))) == 1


def test_mending_gives_what_the_entries_say(engine: Engine, store: EntryStore) -> None:
    """Rows that are missing, wrong or too many, and sums that are off, are put right; a second run finds nothing."""
    right = [replace(CALL, time_ms=T0 + at * HOUR_MS // 3, key="ab"[at % 2]) for at in range(20)]
    store.append([row(at, each) for at, each in enumerate(right)])
    wanted = [StoredUsage(at, each) for at, each in enumerate(right)]
    before = sorted(hours(engine), key=str)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM usage WHERE idx IN (1, 2)"))
        connection.execute(text("UPDATE usage SET billed_nano = 7, tenant = 'globex' WHERE idx = 5"))
        connection.execute(text("UPDATE usage SET idx = 99 WHERE idx = 6"))
        connection.execute(text("UPDATE usage_hours SET calls = 0, cost_nano = 3 WHERE hour = 490001"))
        connection.execute(text("DELETE FROM usage_hours WHERE hour = 490002"))
    assert mend_rows(engine, 0, 100, wanted) == 5
    assert mend_rows(engine, 0, 100, wanted) == 0
    for tenant in everybody(engine):
        mend_hours(engine, tenant, *hours_of(engine, tenant))
        assert differing_hours(engine, tenant, *hours_of(engine, tenant)) == []
    assert UsageStore(engine).rows("acme", 0, T0 * 2) == wanted
    assert sorted(hours(engine), key=str) == before
    assert everybody(engine) == ["acme"]


def test_sums_are_those_of_entries_whatever_fails(engine: Engine, store: EntryStore) -> None:
    """Random batches, of which some fail before the commit and some are repeated: usage counts each entry once."""
    rng = random.Random(11)
    said: dict[int, UsageRow] = {}
    placed: list[int] = []
    for _ in range(60):
        numbers = rng.sample(range(400), rng.randrange(1, 12))
        batch = [
            row(
                number,
                said.setdefault(number, replace(CALL, time_ms=T0 + number * 60_000, billed_nano=number)),
            )
            for number in numbers
        ]
        if rng.random() < 0.2:  # the process dies before the commit
            store._writer_connection().commit = _die
            with pytest.raises((ConnectionError, DBAPIError, sqlite3.Error, psycopg.Error)):
                store.append(batch)
            store.reset()
            continue
        try:
            store.append(batch)
        except (DBAPIError, sqlite3.Error, psycopg.Error):
            store.reset()
            new = [each for each in batch if int(each.decision_id[1:]) not in placed]
            if new:
                store.append(new)
            numbers = [int(each.decision_id[1:]) for each in new]
        placed += numbers
    assert Counter(placed).most_common(1)[0][1] == 1
    assert UsageStore(engine).spent("acme", None, 0) == sum(placed)
    assert differing_hours(engine, "acme", *hours_of(engine, "acme")) == []
    found = UsageStore(engine).rows("acme", 0, T0 * 2)
    assert sorted(each.row.billed_nano for each in found) == sorted(placed)
    assert [asdict(each.row) for each in found] == [asdict(said[number]) for number in placed]


def test_calls_are_known_by_their_decision_ids(engine: Engine, store: EntryStore) -> None:
    """Those whose outcome is in the log, however many are asked for at once."""
    store.append([row(number, replace(CALL, billed_nano=number)) for number in range(1, 4)])
    store.append([Row("decision", "acme", "d9", 9, b"", bytes(32), b"{}", b"{}")])
    asked = ["d1", "d3", "d9", *(f"x{number}" for number in range(1_200))]
    assert UsageStore(engine).billed(asked) == {"d1": 1, "d3": 3}
    assert UsageStore(engine).billed([]) == {}


def _die() -> None:
    raise ConnectionError("gone")

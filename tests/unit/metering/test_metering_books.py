"""Invoices, reconciling them with the log, and making usage anew: on both databases."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from metering_world import NOVEMBER_MS, PRICE, envelope_key, fill, inclusion, predicate, row
from sqlalchemy import event, text

from sovereign_ext.attest import dsse
from sovereign_ext.metering.books import rebuild, reconcile, tenants_in
from sovereign_ext.metering.invoice import as_json, invoice
from sovereign_ext.metering.periods import HOUR_MS, Month
from sovereign_ext.metering.reconcile import Report
from sovereign_ext.storage.entries import EntryStore, Row, _values, insert_entries
from sovereign_ext.storage.usage import StoredUsage, UsageStore
from sovereign_ext.storage.usage_mend import differing_hours, everybody, hours_of, mend_rows
from sovereign_ext.tlog.edge import Edge

NOVEMBER = Month(2026, 11)
END_MS = NOVEMBER.end_hour * HOUR_MS


def some_month(rng: random.Random, number: int = 120) -> list[Row]:
    """Calls of two tenants, of all results, some before and after November, decisions in between."""
    rows: list[Row] = []
    for _ in range(number):
        started = NOVEMBER_MS + rng.randrange(-HOUR_MS, END_MS - NOVEMBER_MS + HOUR_MS)
        tokens, written = rng.randrange(5_000), rng.randrange(100)
        cost = -(
            -((tokens - written) * PRICE["input"] + written * PRICE["cache_write"] + 70 * PRICE["output"])
            // 10**6
        )
        billed = -(-cost * 112_5000 // 100_0000)
        changes = rng.choice(
            [
                {},
                {"prompt_tokens": tokens, "completion_tokens": 70, "cache_write_tokens": written or None,
                 "cost_nano_usd": cost, "billed_nano_usd": billed, "margin_percent": "12.5"},
                {"result": "denied", **NOTHING},
                {"result": "failed", "provider": None, **NOTHING},
                {"result": "truncated", "estimated": 1, "completion_tokens": None, "billed_nano_usd": 17},
                {"result": "lost", "estimated": 1, "cost_nano_usd": None, "prompt_tokens": None},
            ]
        )  # fmt: skip
        said = predicate(
            started_ms=started,
            finished_ms=started + 900,
            tenant=rng.choice(["acme", "globex"]),
            key=rng.choice(["ci", "laptop"]),
            **changes,
        )
        if rng.random() < 0.2:
            rows.append(row({**said, "finished_ms": started}, kind="decision", metered=False))
        rows.append(row(said))
    return rows


NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "prompt_tokens",
        "completion_tokens",
        "cost_nano_usd",
        "billed_nano_usd",
        "price",
        "price_source",
        "margin_percent",
    )
)


def check(store: EntryStore, directory: Path | None = None, tenant: str = "acme") -> Report:
    under = None if directory is None else inclusion(store, directory)
    return reconcile(store.engine, tenant, NOVEMBER, envelope_key(), under)


def damage(store: EntryStore, *statements: str) -> None:
    with store.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_invoice_usage_and_log_agree_to_the_nano_dollar(store: EntryStore, tmp_path: Path) -> None:
    """Nothing differs; the sums are those made by hand of what was signed."""
    rows = some_month(random.Random(3))
    fill(store, sorted(rows, key=lambda each: each.time_ms), at_once=7)
    for tenant in ("acme", "globex"):
        found = check(store, tmp_path, tenant)
        assert found.differences == []
        mine = [each.usage for each in rows if each.usage is not None and each.tenant == tenant]
        mine = [used for used in mine if NOVEMBER_MS <= used.time_ms < END_MS]
        made = invoice(UsageStore(store.engine), tenant, NOVEMBER)
        assert (
            made.total.calls
            == len(mine)
            == found.entries
            == found.included
            == found.verified
            == made.rows.count
        )
        assert made.total.billed_nano == sum(used.billed_nano for used in mine) == found.totals.billed_nano
        assert made.total.cost_nano == sum(used.cost_nano for used in mine) == found.totals.cost_nano
        assert 0 < found.taken < found.entries
        assert found.pending == 0
    assert tenants_in(store.engine, NOVEMBER) == ["acme", "globex"]


def test_the_root_is_the_tree_hash_of_the_leaves(store: EntryStore) -> None:
    """So whoever holds the rows knows whether they are all."""
    fill(store, [row(predicate()), row(predicate(tenant="globex")), row(predicate())])
    edge = Edge()
    for index in (0, 2):
        found = store.get(index)
        assert found is not None
        edge.append(found.leaf_hash)
    made = invoice(UsageStore(store.engine), "acme", NOVEMBER).rows
    assert (made.count, made.first, made.last, made.root) == (2, 0, 2, edge.root())
    none = invoice(UsageStore(store.engine), "nobody", NOVEMBER)
    assert (none.rows.count, none.rows.first, none.lines) == (0, -1, ())
    assert "first_index" not in as_json(none)["rows"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE usage SET billed_nano = billed_nano + 1 WHERE idx = 1",
            "entry 1: usage has billed_nano 1980001",
        ),
        ("UPDATE usage SET model = 'dear' WHERE idx = 1", "entry 1: usage has model 'dear'"),
        ("UPDATE usage SET tenant = 'globex' WHERE idx = 1", "entry 1: there is no usage row"),
        ("UPDATE usage SET time_ms = 5 WHERE idx = 1", "entry 1: usage has time_ms 5"),
        ("DELETE FROM usage WHERE idx = 2", "entry 2: there is no usage row"),
        ("UPDATE usage SET idx = 77 WHERE idx = 2", "entry 2: there is no usage row"),
        ("UPDATE usage_hours SET billed_nano = 1", "invoice line key ci, model org/small"),
        ("UPDATE usage_hours SET calls = calls + 1", "invoice total: calls is 4"),
        ("DELETE FROM usage_hours", "invoice total: billed_nano_usd is 0, the entries make 5940000"),
        ("UPDATE log_entries SET leaf_hash = envelope WHERE idx = 1", "entry 1: the leaf does not have"),
        ("UPDATE log_entries SET body = envelope WHERE idx = 1", "entry 1: the leaf does not have"),
        (
            "UPDATE log_entries SET tenant = 'globex' WHERE idx = 1",
            "usage row 1: the log has no outcome entry",
        ),
        ("UPDATE log_entries SET kind = 'note' WHERE idx = 1", "usage row 1: the log has no outcome entry"),
        ("DELETE FROM log_entries WHERE idx = 1", "usage row 1: the log has no outcome entry"),
    ],
)
def test_every_damage_is_told(store: EntryStore, statement: str, said: str, tmp_path: Path) -> None:
    """Whatever table it is in, with the entry or the line that it is about."""
    fill(store, [row(predicate()) for _ in range(3)])
    assert check(store, tmp_path).differences == []
    damage(store, statement)
    assert any(each.startswith(said) for each in check(store).differences), check(store).differences


def test_an_entry_that_the_tree_does_not_have(store: EntryStore, tmp_path: Path) -> None:
    """A row that was exchanged together with its hash is signed and whole, but not in the log."""
    fill(store, [row(predicate()) for _ in range(3)])
    under = inclusion(store, tmp_path)
    forged = row(predicate(billed_nano_usd=3_960_000, margin_percent="120"))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM log_entries WHERE idx = 1")
        connection.exec_driver_sql("DELETE FROM usage WHERE idx = 1")
    engine = store.engine
    with engine.begin() as connection:
        connection.execute(insert_entries(), _values(1, forged))
    assert forged.usage is not None
    mend_rows(engine, 1, 2, [StoredUsage(1, forged.usage)])
    rebuild(engine)
    found = reconcile(engine, "acme", NOVEMBER, envelope_key(), under)
    assert found.differences == ["entry 1: the tree of size 3 has another leaf there"]
    assert (found.included, found.verified) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cost_nano_usd": 1_800_001}, "cost_nano_usd is 1800001, its tokens and price make 1800000"),
        ({"prompt_tokens": 101}, "cost_nano_usd is 1800000, its tokens and price make 1803000"),
        ({"margin_percent": "11"}, "billed_nano_usd is 1980000, its cost and margin make 1998000"),
        ({"billed_nano_usd": None}, "billed_nano_usd is None, its cost and margin make 1980000"),
        ({"margin_percent": "much"}, "its price or margin cannot be read"),
        ({"price": {"input": 1}}, "its price or margin cannot be read"),
    ],
)
def test_a_bill_that_does_not_follow_from_the_entry(
    store: EntryStore, changes: dict[str, Any], said: str
) -> None:
    """Signed or not: tokens times price, and the margin on top, must be what is billed."""
    fill(store, [row(predicate(**changes))])
    assert check(store).differences[0] == f"entry 0: {said}"


def test_what_cannot_be_recomputed_is_counted(store: EntryStore) -> None:
    """Our own counts, and entries from before prices were written down."""
    fill(
        store, [row(predicate(estimated=1, billed_nano_usd=5)), row(predicate(price=None)), row(predicate())]
    )
    found = check(store)
    assert (found.differences, found.taken, found.entries) == ([], 2, 3)


def test_entries_behind_the_checkpoint_are_pending(store: EntryStore, tmp_path: Path) -> None:
    """They are compared in all but their inclusion."""
    fill(store, [row(predicate()) for _ in range(3)])
    under = inclusion(store, tmp_path)
    fill(store, [row(predicate()) for _ in range(2)])
    found = reconcile(store.engine, "acme", NOVEMBER, envelope_key(), under)
    assert (found.differences, found.included, found.pending) == ([], 3, 2)


def test_another_key_is_a_difference(store: EntryStore) -> None:
    """The signature must be the log's, not just anybody's."""
    fill(store, [row(predicate())])
    found = reconcile(store.engine, "acme", NOVEMBER, b"another", None)
    assert found.differences == ["entry 0: signed by another key than the log's envelope key"]


def test_many_tiles(store: EntryStore, tmp_path: Path) -> None:
    """Inclusion over several full tiles and a partial one."""
    one = row(predicate())
    rows = []
    for at in range(700):
        each = (
            row(predicate())
            if at in (3, 300, 699)
            else replace(one, decision_id=f"x{at}", tenant="globex", usage=None)
        )
        rows.append(each)
    fill(store, rows)
    found = check(store, tmp_path)
    assert (found.differences, found.included) == ([], 3)


@pytest.mark.parametrize(
    "before",
    [
        lambda store: damage(store, "DELETE FROM usage", "DELETE FROM usage_hours"),
        lambda store: damage(
            store, "DELETE FROM usage WHERE idx > 40", "UPDATE usage SET key = 'x' WHERE idx < 9"
        ),
        lambda store: damage(
            store, "UPDATE usage_hours SET calls = 9", "UPDATE usage SET time_ms = 9 WHERE idx = 4"
        ),
        lambda store: damage(store, "DELETE FROM usage_hours WHERE key = 'ci'"),
    ],
)
def test_rebuilding_gives_the_usage_of_the_entries(
    store: EntryStore, before: Callable[[EntryStore], None]
) -> None:
    """Whatever was lost or changed; again it finds nothing to do."""
    rows = some_month(random.Random(9), 80)
    fill(store, rows)
    right = {
        tenant: (
            UsageStore(store.engine).rows(tenant, 0, END_MS * 2),
            invoice(UsageStore(store.engine), tenant, NOVEMBER),
        )
        for tenant in ("acme", "globex")
    }
    before(store)
    found = rebuild(store.engine)
    assert found.rows + found.hours > 0
    assert found.entries == sum(each.kind == "outcome" for each in rows)
    again = rebuild(store.engine)
    assert (again.rows, again.hours, again.faults) == (0, 0, [])
    for tenant, (usage, made) in right.items():
        assert UsageStore(store.engine).rows(tenant, 0, END_MS * 2) == usage
        assert invoice(UsageStore(store.engine), tenant, NOVEMBER) == made
        assert check(store, tenant=tenant).differences == []
    for tenant in everybody(store.engine):
        assert differing_hours(store.engine, tenant, *hours_of(store.engine, tenant)) == []


def test_rebuilding_says_what_it_cannot_read(store: EntryStore) -> None:
    """An envelope that is damaged costs its own row only."""
    fill(store, [row(predicate()) for _ in range(3)])
    damage(store, "UPDATE log_entries SET envelope = body WHERE idx = 1")
    found = rebuild(store.engine)
    assert len(found.faults) == 1
    assert found.faults[0].startswith("entry 1: ")
    assert [each.index for each in UsageStore(store.engine).rows("acme", 0, END_MS)] == [0, 2]


def test_a_call_that_ends_while_hours_are_compared_is_no_difference(store: EntryStore) -> None:
    """Sums and rows are those of one moment, beside a live gateway too."""
    fill(store, [row(predicate())])

    def ends(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM usage_hours" in statement and store.size() == 1:
            fill(store, [row(predicate())])

    hours = hours_of(store.engine, "acme")
    event.listen(store.engine, "after_cursor_execute", ends)
    try:
        assert differing_hours(store.engine, "acme", *hours) == []
    finally:
        event.remove(store.engine, "after_cursor_execute", ends)
    assert store.size() == 2


def test_rebuilding_can_be_broken_off(store: EntryStore) -> None:
    """What was done stays, and the next run does the rest."""
    one = row(predicate())
    fill(store, (replace(one, decision_id=f"x{at}", usage=None) for at in range(1_200)))

    def enough(done: int, size: int) -> None:
        if done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(store.engine, enough)
    assert UsageStore(store.engine).spent("acme", None, 0) == 500 * 1_980_000
    assert rebuild(store.engine).rows == 700
    assert UsageStore(store.engine).spent("acme", None, 0) == 1_200 * 1_980_000
    assert dsse.parse(one.envelope).payload  # the world's entries are real ones

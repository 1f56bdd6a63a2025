"""Findings: written with their entry or not at all, filtered, in pages, summed, over both databases, and never another
tenant's."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from findings_world import facts, finding, found, some_facts
from metering_world import NOVEMBER_MS, fill, predicate, row
from sqlalchemy import event

from sovereign_ext.attest.facts import FindingFacts, FoundFact
from sovereign_ext.errors import CallerError
from sovereign_ext.exchange.leaks import MOST_TOLD
from sovereign_ext.metering.filters import parse_filter
from sovereign_ext.metering.findings import FIELDS, Findings, families, finding_rows
from sovereign_ext.storage import findings
from sovereign_ext.storage.audit import AuditStore
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.storage.finding_sums import DIMENSIONS, Sum
from sovereign_ext.storage.findings import FindingStore, Place, StoredFinding

Told = dict[Place, tuple[FindingFacts, FoundFact]]
"""Every place that is in the log."""


def read(store: EntryStore) -> Findings:
    return Findings(FindingStore(store.engine), AuditStore(store.engine))


@pytest.fixture
def told(store: EntryStore) -> Told:
    """Some 70 finding entries among others, and what they tell of."""
    rng = random.Random(3)
    said: Told = {}
    rows = []
    for at in range(120):
        if rng.random() < 0.4:
            rows.append(row(predicate(finished_ms=NOVEMBER_MS + at * 1_000)))
            continue
        made = some_facts(rng, at)
        rows.append(finding(made))
        said |= {(at, place): (made, each) for place, each in enumerate(made.found, 1)}
    fill(store, rows, at_once=17)
    return said


FILTERS: dict[str, Callable[[int, FindingFacts, FoundFact], bool]] = {
    "": lambda at, call, each: True,
    "tenant = acme": lambda at, call, each: call.tenant == "acme",
    "tenant != acme AND key = ci": lambda at, call, each: (call.tenant, call.key) == ("globex", "ci"),
    "policy = strict AND action != blocked": lambda at, call, each: (
        call.policy == "strict" and call.action != "blocked"
    ),
    "kind = jwt": lambda at, call, each: each.kind == "jwt",
    "kind != jwt AND detector_version >= 2": lambda at, call, each: each.kind != "jwt" and each.version >= 2,
    "family = aws": lambda at, call, each: each.kind.startswith("aws-"),
    "family != aws": lambda at, call, each: not each.kind.startswith("aws-"),
    'family = ""': lambda at, call, each: each.kind == "of-the-future",
    'family != ""': lambda at, call, each: each.kind != "of-the-future",
    "family = jwt AND family = aws": lambda at, call, each: False,
    "family = nothing": lambda at, call, each: False,
    "pointer = /user": lambda at, call, each: each.pointer == "/user",
    "place_count > 7": lambda at, call, each: call.count > 7,
    f"fingerprint = {found(secret='acme 3').fingerprint}": lambda at, call, each: (
        each.fingerprint == found(secret="acme 3").fingerprint
    ),
    f"fingerprint = {found(secret='acme 3').fingerprint} AND tenant = globex": lambda at, call, each: False,
    f"fingerprint != {found(secret='acme 3').fingerprint} AND tenant = acme": lambda at, call, each: (
        call.tenant == "acme" and each.fingerprint != found(secret="acme 3").fingerprint
    ),
    "index > 50 AND index <= 90 AND index != 60": lambda at, call, each: 50 < at <= 90 and at != 60,
    'time >= "2026-11-01T00:01:00Z" AND time < "2026-11-01T00:02:00Z"': lambda at, call, each: 60 <= at < 120,
    "time != 2026-11-01T00:01:00Z": lambda at, call, each: at != 60,
    "time < 2026-10-01T00:00:00Z": lambda at, call, each: False,
    'decision_id = "nothing"': lambda at, call, each: False,
    'decision_id != "nothing"': lambda at, call, each: True,
}


@pytest.mark.parametrize("scope", [None, "acme", "nobody"])
def test_pages_are_what_the_filter_says(
    store: EntryStore, told: Told, scope: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, without repetitions or gaps, whatever is looked at for a page; never a place outside the scope."""
    monkeypatch.setattr(findings, "MOST_LOOKED_AT", 60)
    reader = read(store)
    for (text, lets_through), newest_first in product(FILTERS.items(), (True, False)):
        wanted = [
            place
            for place, (call, each) in sorted(told.items(), reverse=newest_first)
            if scope in (None, call.tenant) and lets_through(place[0], call, each)
        ]
        asked = parse_filter(text, FIELDS)
        paged: list[Place] = []
        after: Place | None = None
        for _ in range(100):
            page = reader.page(asked, scope, after=after, limit=23, newest_first=newest_first)
            assert len(page.found) <= 23
            paged += [(each.index, each.row.place) for each in page.found]
            after = page.after
            if after is None:
                break
        assert after is None, text
        assert paged == wanted, text


def test_a_finding_is_what_its_entry_says(store: EntryStore, told: Told) -> None:
    """Every member, one by one and in lists, also a pointer that PostgreSQL's text would not take."""
    reader = read(store)
    listed = reader.page(parse_filter("", FIELDS), None, after=None, limit=1_000, newest_first=False).found
    assert any("\0" in each.row.pointer for each in listed)
    for each, (place, (call, _)) in zip(listed, sorted(told.items()), strict=True):
        assert each == StoredFinding(place[0], call.decision_id, finding_rows(call)[place[1] - 1])
    for each, (place, (call, _)) in [*zip(listed, sorted(told.items()), strict=True)][::20]:
        assert reader.get(place, None) == reader.get(place, call.tenant) == each
        assert reader.get(place, "nobody") is None
    assert reader.get((listed[0].index, 99), None) is None
    assert reader.get((10**17, 1), None) is None


def test_one_call_is_found_by_its_decision(store: EntryStore, told: Told) -> None:
    (index, _), (call, _) = next(iter(told.items()))
    asked = parse_filter(f"decision_id = {call.decision_id}", FIELDS)
    page = read(store).page(asked, None, after=None, limit=100, newest_first=False)
    assert [(each.index, each.row.place) for each in page.found] == [
        place for place in sorted(told) if place[0] == index
    ]
    others = parse_filter(f"decision_id != {call.decision_id}", FIELDS)
    rest = read(store).page(others, None, after=None, limit=1_000, newest_first=False)
    assert len(rest.found) == len(told) - len(page.found)


@pytest.mark.parametrize(
    "group_by", [(), ("kind",), ("key", "action"), ("tenant", "kind", "fingerprint"), DIMENSIONS]
)
def test_sums_are_those_of_the_places(store: EntryStore, told: Told, group_by: tuple[str, ...]) -> None:
    """Under every filter and scope, in pages that are of the moment of the first."""
    reader = read(store)
    for (text, lets_through), scope in product([*FILTERS.items()][::4], (None, "acme")):
        asked, wanted = parse_filter(text, FIELDS), _summed(told, group_by, lets_through, scope)
        first = reader.summary(asked, scope, group_by, None, None, 31)
        summed, page = list(first.sums), first
        while page.after is not None:
            page = reader.summary(asked, scope, group_by, first.size, page.after, 31)
            summed += page.sums
        assert summed == wanted, text
    assert reader.summary(parse_filter("", FIELDS), None, (), None, (10**17, 5), 3).sums == ()
    assert reader.summary(parse_filter("", FIELDS), None, ("kind",), None, (10**17, 5), 9).sums != ()


def _summed(told: Told, group_by: tuple[str, ...], lets_through: Any, scope: str | None) -> list[Sum]:
    groups: dict[tuple[str, ...], list[Place]] = {}
    for place, (call, each) in sorted(told.items()):
        if scope in (None, call.tenant) and lets_through(place[0], call, each):
            group = tuple(str(getattr(each if hasattr(each, name) else call, name)) for name in group_by)
            groups.setdefault(group, []).append(place)
    found = []
    for group, places in groups.items():
        calls = {index: told[index, place][0] for index, place in places}
        times = [call.found_ms for call in calls.values()]
        found.append(Sum(group, len(places), len(calls), min(times), max(times), places[0], places[-1]))
    return sorted(found, key=lambda each: each.last, reverse=True)


def test_what_comes_meanwhile_is_on_no_further_page(store: EntryStore, told: Told) -> None:
    """Neither in sums, which would count it for some groups only, nor twice."""
    reader, asked = read(store), parse_filter("", FIELDS)
    whole = reader.summary(asked, None, ("tenant", "kind"), None, None, 100)
    first = reader.summary(asked, None, ("tenant", "kind"), None, None, 4)
    fill(store, [finding(some_facts(random.Random(at), 300 + at)) for at in range(20)])
    rest = reader.summary(asked, None, ("tenant", "kind"), first.size, first.after, 100)
    assert first.sums + rest.sums == whole.sums
    assert rest.after is None
    assert reader.summary(asked, None, ("tenant", "kind"), None, None, 100).sums != whole.sums


def test_more_places_than_an_entry_tells_of(store: EntryStore) -> None:
    """They are counted where the rest is told."""
    places = tuple(found("jwt", str(at)) for at in range(MOST_TOLD))
    fill(store, [finding(facts(*places, count=140)), finding(facts(found("jwt")))])
    reader = read(store)
    last = reader.get((0, MOST_TOLD), "acme")
    assert last is not None
    assert (last.row.count, last.row.told) == (140, MOST_TOLD)
    for text, count, calls, untold in (
        ("", 101, 2, 40),
        (f"fingerprint = {found(secret='5').fingerprint}", 1, 1, 40),
        ("index = 1", 1, 1, 0),
        ("kind = nothing", 0, 0, 0),
    ):
        summary = reader.summary(parse_filter(text, FIELDS), None, ("kind",), None, None, 9)
        assert (sum(each.count for each in summary.sums), summary.untold) == (count, untold)
        assert sum(each.calls for each in summary.sums) == calls


def test_a_batch_that_fails_leaves_no_findings(store: EntryStore) -> None:
    """A repeated decision id takes entries and places back together; the rest is stored once."""
    first, second = finding(facts(found(), found("jwt"))), finding(facts(found()))
    store.append([first])
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.append([second, replace(first, leaf_hash=bytes(32))])
    store.reset()
    assert _places(store) == [(0, 1), (0, 2)]
    store.append([row(predicate()), second])
    assert _places(store) == [(0, 1), (0, 2), (2, 1)]


def _places(store: EntryStore) -> list[Place]:
    page = read(store).page(parse_filter("", FIELDS), None, after=None, limit=99, newest_first=False)
    return [(each.index, each.row.place) for each in page.found]


@pytest.mark.parametrize("scope", ["acme", "globex", None])
def test_one_fingerprint_among_many_is_looked_up(store: EntryStore, scope: str | None) -> None:
    """By an index, whoever asks, and in the order of places, so that nothing is sorted."""
    tenants = ("acme", "globex")
    fill(
        store, (finding(facts(found(secret=str(at % 99)), tenant=tenants[at % 99 % 2])) for at in range(400))
    )
    if store.engine.dialect.name == "postgresql":
        with store.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE findings")
    asked = parse_filter(f"fingerprint = {found(secret='5').fingerprint}", FIELDS)
    plans: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if store.engine.dialect.name == "sqlite" else "EXPLAIN "

    def explained(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            plan = connection.exec_driver_sql(explain + statement, parameters).all()
            plans.append("\n".join(str(each) for each in plan))

    event.listen(store.engine, "before_cursor_execute", explained)
    page = read(store).page(asked, scope, after=None, limit=3, newest_first=True)
    event.remove(store.engine, "before_cursor_execute", explained)
    wanted = [at for at in range(399, -1, -1) if at % 99 == 5]
    assert [each.index for each in page.found] == ([] if scope == "acme" else wanted[:3])
    assert plans
    for plan in plans:
        assert "findings_fingerprint" in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        assert "Seq Scan" not in plan, plan


def test_a_fingerprint_of_two_tenants(store: EntryStore) -> None:
    """Keyed hashes of two are never the same; should they be, nobody loses one."""
    fill(store, [finding(facts(found(), tenant=tenant)) for tenant in ("acme", "globex", "acme")])
    asked = parse_filter(f"fingerprint = {found().fingerprint}", FIELDS)
    for scope, wanted in ((None, [2, 1, 0]), ("acme", [2, 0]), ("globex", [1])):
        page = read(store).page(asked, scope, after=None, limit=9, newest_first=True)
        assert [each.index for each in page.found] == wanted
        (whole,) = read(store).summary(asked, scope, (), None, None, 9).sums
        assert whole.calls == len(wanted)


@pytest.mark.parametrize("text", ["model = m", "status = 200", "count = 1", "fingerprint > a", "kind >= b"])
def test_fields_are_those_of_findings(text: str) -> None:
    with pytest.raises(CallerError, match="the filter cannot be read"):
        parse_filter(text, FIELDS)


def test_every_kind_has_its_family() -> None:
    """As the detectors have it."""
    assert families()["aws-secret-key"] == "aws"
    assert families()["url-password"] == "connection-string"

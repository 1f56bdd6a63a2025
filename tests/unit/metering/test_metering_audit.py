"""Audit rows: filters, scopes, pages and streams over both databases, and nothing that opens a commitment."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from metering_world import NOVEMBER_MS, fill, predicate, row

from sovereign_ext.attest import dsse
from sovereign_ext.metering import audit
from sovereign_ext.metering.audit import AuditRows
from sovereign_ext.metering.filters import parse_filter
from sovereign_ext.storage.audit import AuditStore
from sovereign_ext.storage.entries import EntryStore, Row


@pytest.fixture
def rows(store: EntryStore) -> list[Row]:
    """300 entries of two tenants and of nobody, of several kinds."""
    rng = random.Random(1)
    made = []
    for at in range(300):
        said = predicate(
            tenant=rng.choice(["acme", "globex", "globex", ""]),
            model=rng.choice(["org/small", "org/large"]),
            status=rng.choice([200, 200, 403, 502]),
            error_code=rng.choice([None, "policy_denied"]),
            finished_ms=NOVEMBER_MS + at * 1_000 + rng.randrange(5_000),
        )
        made.append(row(said, kind=rng.choice(["outcome", "outcome", "decision", "change"]), metered=False))
    fill(store, made)
    return made


def read(store: EntryStore) -> AuditRows:
    return AuditRows(AuditStore(store.engine))


FILTERS = {
    "": lambda row, said: True,
    "tenant = acme": lambda row, said: row.tenant == "acme",
    'tenant = ""': lambda row, said: row.tenant == "",
    "tenant != acme AND kind = outcome": lambda row, said: row.tenant != "acme" and row.kind == "outcome",
    "status >= 500": lambda row, said: said["status"] >= 500,
    'error_code = "" AND status < 300': lambda row, said: "error_code" not in said and said["status"] < 300,
    "error_code != policy_denied": lambda row, said: said.get("error_code") != "policy_denied",
    "model = org/large AND kind != decision": lambda row, said: (
        said["model"] == "org/large" and row.kind != "decision"
    ),
    'time >= "2026-11-01T00:01:00Z" AND time < "2026-11-01T00:02:00.5Z"': lambda row, said: (
        NOVEMBER_MS + 60_000 <= row.time_ms < NOVEMBER_MS + 120_500
    ),
    "time <= 2026-10-01T00:00:00Z": lambda row, said: False,
    "time > 2027-10-01T00:00:00Z": lambda row, said: False,
    "kind = nothing": lambda row, said: False,
}


@pytest.mark.parametrize("scope", [None, "acme", "nobody"])
def test_pages_and_streams_are_what_the_filter_says(
    store: EntryStore, rows: list[Row], scope: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, without repetitions or gaps, whatever the sizes of slices; never a row outside the scope."""
    monkeypatch.setattr(audit, "AT_ONCE", 7)
    monkeypatch.setattr(audit, "SPAN", 50)
    monkeypatch.setattr(audit, "MOST_LOOKED_AT", 40)
    reader, said = read(store), [_said(each) for each in rows]
    for (text, lets_through), newest_first in product(FILTERS.items(), (True, False)):
        asked = parse_filter(text)
        wanted = [
            at
            for at, each in enumerate(rows)
            if scope in (None, each.tenant) and lets_through(each, said[at])
        ]
        if newest_first:
            wanted.reverse()
        streamed = [
            each.entry.index
            for part in reader.stream(asked, scope, newest_first=newest_first)
            for each in part
        ]
        assert streamed == wanted, text
        paged: list[int] = []
        after, page = None, None
        for _ in range(200):
            page = reader.page(asked, scope, after=after, limit=11, newest_first=newest_first)
            assert len(page.rows) <= 11
            paged += [each.entry.index for each in page.rows]
            after = page.after
            if after is None:
                break
        assert page is not None
        assert page.after is None
        assert paged == wanted, text


def _said(each: Row) -> Any:
    return json.loads(dsse.parse(each.envelope).payload)["predicate"]


def test_index_terms(store: EntryStore, rows: list[Row]) -> None:
    """Every comparison with an index, also at the ends of what there is."""
    reader = read(store)
    for op, expected in {
        "=": [5],
        "<": [0, 1, 2, 3, 4],
        "<=": [0, 1, 2, 3, 4, 5],
        ">": list(range(6, 300)),
        ">=": list(range(5, 300)),
        "!=": [*range(5), *range(6, 300)],
    }.items():
        found = [
            each.entry.index for part in reader.stream(parse_filter(f"index {op} 5"), None) for each in part
        ]
        assert found == expected
    for text in ("index > 4611686018427387903", "index < 0", "index = 300"):
        assert [*reader.stream(parse_filter(text), None)] in ([], [[]])


def test_one_row(store: EntryStore, rows: list[Row]) -> None:
    """Only within the scope; otherwise as if it were not there."""
    reader, owner = read(store), rows[17].tenant
    found = reader.get(17, None)
    assert found is not None
    assert json.loads(found.predicate) == _said(rows[17])
    assert reader.get(17, owner) == found
    assert reader.get(17, "nobody") is None
    assert reader.get(300, None) is None


def test_a_line_has_no_opening(store: EntryStore, rows: list[Row]) -> None:
    """Not by itself, and not with everything that verifies it."""
    found = read(store).get(3, None)
    assert found is not None
    for full in (False, True):
        line = found.line(full=full)
        assert line.count(b"\n") == 1
        assert b"secret" not in line
        shown = json.loads(line)
        assert shown["predicate"] == _said(rows[3])
        assert (shown["name"], shown["index"], shown["receipt"]) == ("auditRows/3", "3", "receipts/3")
        assert shown["time"].startswith("2026-11-01T00:00:0")
        assert ("envelope" in shown) == ("body" in shown) == full


def test_an_envelope_that_cannot_be_read_is_still_a_row(store: EntryStore) -> None:
    """Nobody hides an entry by damaging it."""
    fill(store, [replace(row(predicate()), envelope=b"nonsense", usage=None)])
    found = read(store).get(0, None)
    assert found is not None
    assert (found.predicate_type, found.predicate) == ("", b"{}")
    streamed = [each for part in read(store).stream(parse_filter("status = 0"), None) for each in part]
    assert streamed == [found]


def test_a_page_of_rare_rows_ends_soon(store: EntryStore) -> None:
    """What a filter drops is bounded, too: the page is short and has a next one."""
    one = replace(row(predicate()), usage=None)
    fill(store, (replace(one, decision_id=f"x{at}") for at in range(30_000)), at_once=5_000)
    reader = read(store)
    page = reader.page(parse_filter("kind = change"), None, after=None, limit=5, newest_first=True)
    assert page.rows == ()
    said = reader.page(parse_filter("status = 500"), None, after=None, limit=5, newest_first=True)
    assert said.rows == ()
    assert said.after is not None
    assert 19_000 <= said.after <= 21_000

"""Resources are written with the entry that tells of it, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from services import Backend
from sqlalchemy import Connection, Engine

from sovereign_ext.errors import ResourceChanged, ResourceExists, ResourceMissing
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.resources import ResourceStore, create, delete, replace, together

ACME = "tenants/acme"


def row(number: int) -> Row:
    return Row("change", "", f"c{number}", number, b"body %d" % number, bytes(32), b"{}", b"{}")


@pytest.fixture
def engine(database: Backend) -> Engine:
    return database.engine()


@pytest.fixture
def entries(engine: Engine) -> Iterator[EntryStore]:
    store = EntryStore(engine)
    store.create_head("origin")
    yield store
    store.close()


@pytest.fixture
def store(engine: Engine) -> ResourceStore:
    return ResourceStore(engine)


def test_a_change_has_the_revision_of_its_entry(entries: EntryStore, store: ResourceStore) -> None:
    """Also between entries of calls; the feed tells the newest."""
    assert store.revision() == -1
    entries.append([row(0), row(1)])
    assert entries.change(row(2), create(ACME, "tenant", "acme", '{"a":1}', 7)) == 2
    assert store.revision() == 2
    found = store.get(ACME)
    assert found is not None
    assert (found.document, found.revision, found.created_ms, found.updated_ms) == ('{"a":1}', 2, 7, 7)
    entries.append([row(3)])
    entries.change(row(4), replace(ACME, "{}", 9, expected=2))
    found = store.get(ACME)
    assert found is not None
    assert (found.document, found.revision, found.created_ms, found.updated_ms) == ("{}", 4, 7, 9)


def test_a_refused_change_leaves_no_entry(entries: EntryStore, store: ResourceStore) -> None:
    """Neither a row of the log nor a gap in it."""
    entries.change(row(0), create(ACME, "tenant", "acme", "{}", 1))
    with pytest.raises(ResourceExists, match=ACME):
        entries.change(row(1), create(ACME, "tenant", "acme", "{}", 1))
    with pytest.raises(ResourceChanged):
        entries.change(row(1), replace(ACME, "{}", 1, expected=5))
    with pytest.raises(ResourceMissing):
        entries.change(row(1), replace("tenants/none", "{}", 1))
    assert entries.extent() == (1, 0)
    assert entries.append([row(2)]) == 1
    assert store.revision() == 0


def test_several_writes_are_one(entries: EntryStore, store: ResourceStore) -> None:
    """If the last is refused, the first did not happen."""
    entries.change(row(0), create(ACME, "tenant", "acme", "{}", 1))
    both = together(create("tenants/b", "tenant", "b", "{}", 1), create(ACME, "tenant", "acme", "{}", 1))
    with pytest.raises(ResourceExists):
        entries.change(row(1), both)
    assert store.get("tenants/b") is None


def test_deleting_takes_what_is_below_along(entries: EntryStore, store: ResourceStore) -> None:
    """Not what has a similar name; others learn of it by the feed; the name may be used again."""
    names = (ACME, "tenants/acme/keys/a", "tenants/acme2", "tenants/acme_/keys/a")
    for number, name in enumerate(names):
        entries.change(row(number), create(name, "any", "", "{}", 1))
    entries.change(row(4), delete(ACME, 2, expected=0))
    assert [store.get(name) is None for name in names] == [True, True, False, False]
    gone = [(found.name, found.deleted, found.revision) for found in store.since(3)]
    assert gone == [(ACME, True, 4), ("tenants/acme/keys/a", True, 4)]
    with pytest.raises(ResourceMissing):
        entries.change(row(5), delete(ACME, 2))
    entries.change(row(5), create(ACME, "any", "", "{}", 3))
    found = store.get(ACME)
    assert found is not None
    assert (found.created_ms, found.revision) == (3, 5)


def test_pages_go_by_name(entries: EntryStore, store: ResourceStore) -> None:
    """Within one parent, one kind."""
    for number, name in enumerate(("t/a/k/2", "t/a/k/1", "t/b/k/0", "t/a/k/3")):
        entries.change(row(number), create(name, "key", "", "{}", 1))
    entries.change(row(4), create("t/a/p/1", "other", "", "{}", 1))
    assert [each.name for each in store.page("key", "t/a", "", 2)] == ["t/a/k/1", "t/a/k/2"]
    assert [each.name for each in store.page("key", "t/a", "t/a/k/2", 2)] == ["t/a/k/3"]
    assert len(store.page("key", "", "", 9)) == 4
    assert [each.name for each in store.since(-1, ("other",))] == ["t/a/p/1"]


def test_history_is_kept_where_asked(entries: EntryStore, store: ResourceStore) -> None:
    """Newest first; deleting takes nothing of it away."""
    entries.change(row(0), create("policies/p", "policy", "", "1", 1, history=True))
    entries.change(row(1), replace("policies/p", "2", 2, history=True))
    entries.change(row(2), delete("policies/p", 3))
    assert [(v.revision, v.document, v.time_ms) for v in store.versions("policies/p", None, 9)] == [
        (1, "2", 2),
        (0, "1", 1),
    ]
    assert [v.revision for v in store.versions("policies/p", 1, 9)] == [0]


def test_a_write_that_fails_takes_the_entry_back(entries: EntryStore, store: ResourceStore) -> None:
    """Whatever it raises."""

    def write(connection: Connection, index: int) -> None:
        create(ACME, "tenant", "acme", "{}", 1)(connection, index)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        entries.change(row(0), write)
    assert entries.extent() == (0, None)
    assert store.get(ACME) is None


def test_many_changes_are_read_in_slices(
    entries: EntryStore, store: ResourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one change wrote more than a slice; what changes meanwhile comes again, and nothing is missed."""
    monkeypatch.setattr("sovereign_ext.storage.resources._AT_ONCE", 3)
    names = [f"t/{number}" for number in range(8)]
    entries.change(row(0), together(*(create(name, "any", "", "{}", 1) for name in names)))
    entries.change(row(1), create("t/8", "any", "", "{}", 1))
    entries.change(row(2), create("u/1", "other", "", "{}", 1))
    assert [found.name for found in store.since(-1)] == [*names, "t/8", "u/1"]
    assert [found.name for found in store.since(-1, ("any",))] == [*names, "t/8"]
    assert [found.name for found in store.since(0)] == ["t/8", "u/1"]
    reading = store.since(-1)
    seen = [next(reading).name]
    entries.change(row(3), replace("t/7", '{"new":1}', 2))
    entries.change(row(4), replace("t/0", '{"new":1}', 2))
    rest = list(reading)
    assert [*seen, *(found.name for found in rest)] == [*names[:7], "t/8", "u/1", "t/7", "t/0"]
    assert [found.document for found in rest[-2:]] == ['{"new":1}'] * 2

"""The rows of the log: atomic appends, contiguous indices."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services import Backend

from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.migrate import ensure_schema


def row(number: int, kind: str = "outcome") -> Row:
    return Row(kind, "t1", f"d{number}", number, b"body %d" % number, bytes(32), b"{}", b"{}")


@pytest.fixture
def store(database: Backend) -> Iterator[EntryStore]:
    store = EntryStore(database.engine(wait_s=0.5))
    assert store.create_head("origin") == "origin"
    yield store
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b?#%41.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[EntryStore]:
    """For what only SQLite has."""
    engine = open_sqlite(path, busy_timeout_ms=50)
    ensure_schema(engine)
    store = EntryStore(engine)
    store.create_head("origin")
    yield store
    store.close()


def test_indices_are_contiguous_over_batches(store: EntryStore) -> None:
    """Each batch starts where the last ended."""
    assert store.append([row(0)]) == 0
    assert store.append([row(1), row(2), row(3)]) == 1
    assert store.append([row(4)]) == 4
    assert [r.index for r in store.rows(0, 10)] == [0, 1, 2, 3, 4]
    assert (store.size(), store.extent()) == (5, (5, 4))


def test_rows_come_back_as_they_were(store: EntryStore) -> None:
    """No column is swapped or lost."""
    wanted = Row("kind", "tenant", "id", 1234567890123, b"body", b"h" * 32, b"envelope", b"opening")
    store.append([wanted])
    found = store.get(0)
    assert found is not None
    assert {name: getattr(found, name) for name in Row.__slots__} == {
        name: getattr(wanted, name) for name in Row.__slots__
    }
    assert store.leaves(0, 5) == [(0, b"body", b"h" * 32)]
    assert store.find([("id", "kind"), ("id", "other"), ("x", "kind")]) == {("id", "kind"): found}
    assert store.get(1) is None


def test_a_failed_batch_leaves_nothing(store: EntryStore, database: Backend) -> None:
    """A duplicate anywhere in a batch takes the whole batch and the head back."""
    store.append([row(0)])
    with pytest.raises(database.driver.IntegrityError):
        store.append([row(1), row(2), row(0)])
    store.reset()
    assert store.extent() == (1, 0)
    assert store.append([row(1), row(2)]) == 1


def test_a_failed_batch_keeps_no_lock_while_its_error_is_looked_at(
    store: EntryStore, database: Backend
) -> None:
    """The error's traceback holds the cursor; the next append must not wait for it."""
    store.append([row(0)])
    try:
        store.append([row(1), row(0)])
    except database.driver.IntegrityError:
        store.reset()
        assert store.append([row(1)]) == 1


def test_the_same_decision_may_have_one_entry_of_each_kind(store: EntryStore, database: Backend) -> None:
    """A decision id is unique per kind."""
    assert store.append([row(0, "decision"), row(0, "outcome")]) == 0
    with pytest.raises(database.driver.IntegrityError):
        store.append([row(0, "decision")])


def test_two_writers_never_get_the_same_index(store: EntryStore, database: Backend) -> None:
    """A second process on the same database waits for the lock and goes on behind the first."""
    other = EntryStore(database.engine(wait_s=0.5))
    assert [store.append([row(0)]), other.append([row(1)]), store.append([row(2)])] == [0, 1, 2]
    with database.locked("log_head"):
        with pytest.raises(database.driver.OperationalError, match="lock"):
            other.append([row(3)])
        other.reset()
    assert other.append([row(3)]) == 3
    other.close()


def test_many_writers_leave_no_gap(database: Backend) -> None:
    """Each batch is contiguous and all of them together are, with failing ones among them."""
    stores = [EntryStore(database.engine(wait_s=20)) for _ in range(4)]
    stores[0].create_head("origin")
    stores[0].append([row(0)])

    def write(number: int) -> list[int]:
        places = []
        for turn in range(15):
            first = 1000 * (number + 1) + 10 * turn
            place = stores[number].append([row(first + i) for i in range(3)])
            places += [place, place + 1, place + 2]
            with pytest.raises(database.driver.IntegrityError):
                stores[number].append([row(first + 5), row(0)])
            stores[number].reset()
        return places

    with ThreadPoolExecutor(4) as threads:
        places = [place for each in threads.map(write, range(4)) for place in each]
    assert sorted(places) == list(range(1, 181))
    assert [(found.index, found.body != b"") for found in stores[0].rows(0, 999)] == [
        (index, True) for index in range(181)
    ]
    for each in stores:
        each.close()


def test_a_log_has_one_head(database: Backend) -> None:
    """Whoever makes it first; all are told the origin it has."""
    stores = [EntryStore(database.engine()) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        said = list(threads.map(lambda at: stores[at].create_head(f"origin{at}"), range(4)))
    assert len(set(said)) == 1
    for each in stores:
        each.close()


def test_full_disk(sqlite: EntryStore, path: Path) -> None:
    """SQLite refuses to grow: nothing of the batch is stored, and the next append works once there is
    room."""
    sqlite.append([row(0)])
    limit = sqlite._writer_connection()
    pages = limit.cursor().execute("PRAGMA page_count").fetchone()[0]
    limit.cursor().execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        sqlite.append([Row("k", "t", f"big{i}", 1, b"x" * 9000, bytes(32), b"", b"") for i in range(20)])
    sqlite.reset()
    assert sqlite.extent() == (1, 0)
    assert sqlite.append([row(1)]) == 1


def test_settings_that_durability_rests_on(sqlite: EntryStore, path: Path) -> None:
    """WAL and synchronous=FULL (2), also on the connection that writes; the file is private."""
    cursor = sqlite._writer_connection().cursor()
    assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_read_only_engine_does_not_write(sqlite: EntryStore, path: Path) -> None:
    """What fsck opens cannot change the log."""
    reading = EntryStore(open_sqlite(path, read_only=True))
    assert reading.size() == 0
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.append([row(0)])
    reading.close()


def test_a_second_engine_does_not_give_the_firsts_locks_away(sqlite: EntryStore, path: Path) -> None:
    """Another process that comes and goes must not take itself for the last user and delete the WAL in use."""
    sqlite.append([row(1)])
    open_sqlite(path).dispose()
    visitor = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); c.close()"
    subprocess.run([sys.executable, "-c", visitor, str(path)], check=True, timeout=30)
    sqlite.append([row(2)])
    seen = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    count = [sys.executable, "-c", seen, str(path), "SELECT count(*) FROM log_entries"]
    done = subprocess.run(count, check=True, timeout=30, capture_output=True, text=True)
    assert done.stdout == "2\n"

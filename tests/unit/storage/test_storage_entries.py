"""The rows of the log: atomic appends, contiguous indices, the schema and its migration."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from sovereign_ext import storage
from sovereign_ext.errors import LogUnavailable
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.entries import EntryStore, Row, advance_head, insert_entries
from sovereign_ext.storage.migrate import current_revision, ensure_schema
from sovereign_ext.storage.schema import REVISION, metadata


def row(number: int, kind: str = "outcome") -> Row:
    return Row(kind, "t1", f"d{number}", number, b"body %d" % number, bytes(32), b"{}", b"{}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b?#%41.db"


@pytest.fixture
def store(path: Path) -> Iterator[EntryStore]:
    engine = open_sqlite(path, busy_timeout_ms=50)
    ensure_schema(engine)
    store = EntryStore(engine)
    assert store.create_head("origin") == "origin"
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


def test_a_failed_batch_leaves_nothing(store: EntryStore) -> None:
    """A duplicate anywhere in a batch takes the whole batch and the head back."""
    store.append([row(0)])
    with pytest.raises(sqlite3.IntegrityError):
        store.append([row(1), row(2), row(0)])
    store.reset()
    assert store.extent() == (1, 0)
    assert store.append([row(1), row(2)]) == 1


def test_a_failed_batch_keeps_no_lock_while_its_error_is_looked_at(store: EntryStore) -> None:
    """The error's traceback holds the cursor; the next append must not wait for it."""
    store.append([row(0)])
    try:
        store.append([row(1), row(0)])
    except sqlite3.IntegrityError:
        store.reset()
        assert store.append([row(1)]) == 1


def test_the_same_decision_may_have_one_entry_of_each_kind(store: EntryStore) -> None:
    """A decision id is unique per kind."""
    assert store.append([row(0, "decision"), row(0, "outcome")]) == 0
    with pytest.raises(sqlite3.IntegrityError):
        store.append([row(0, "decision")])


def test_two_writers_never_get_the_same_index(store: EntryStore, path: Path) -> None:
    """A second process on the same file waits for the lock and goes on behind the first."""
    other = EntryStore(open_sqlite(path, busy_timeout_ms=50))
    assert [store.append([row(0)]), other.append([row(1)]), store.append([row(2)])] == [0, 1, 2]
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.append([row(3)])
    other.reset()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert other.append([row(3)]) == 3
    other.close()


def test_full_disk(store: EntryStore, path: Path) -> None:
    """SQLite refuses to grow: nothing of the batch is stored, and the next append works once there is
    room."""
    store.append([row(0)])
    limit = store._writer_connection()
    pages = limit.cursor().execute("PRAGMA page_count").fetchone()[0]
    limit.cursor().execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.append([Row("k", "t", f"big{i}", 1, b"x" * 9000, bytes(32), b"", b"") for i in range(20)])
    store.reset()
    assert store.extent() == (1, 0)
    assert store.append([row(1)]) == 1


def test_settings_that_durability_rests_on(store: EntryStore, path: Path) -> None:
    """WAL and synchronous=FULL (2), also on the connection that writes; the file is private."""
    cursor = store._writer_connection().cursor()
    assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_mode & 0o777 == 0o600


def test_migrations_make_the_tables_that_the_code_uses(store: EntryStore, path: Path) -> None:
    """The schema after all migrations is the schema in ``schema.py``, and its revision is the newest
    script."""
    engine = open_sqlite(path)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert current_revision(connection) == REVISION
    engine.dispose()
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_database_from_a_newer_release_is_refused(store: EntryStore, path: Path) -> None:
    """An unknown revision is an error that says so."""
    engine = open_sqlite(path)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LogUnavailable, match="not known to this release"):
        ensure_schema(engine)
    engine.dispose()


def test_alembic_is_not_imported_when_nothing_is_to_migrate(store: EntryStore, path: Path) -> None:
    """Opening a database that is up to date does not pay for Alembic."""
    code = (
        "import sys; from pathlib import Path; from sovereign_ext.storage.engine import open_sqlite;"
        "from sovereign_ext.storage.migrate import ensure_schema;"
        "ensure_schema(open_sqlite(Path(sys.argv[1]))); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_statements_compile_for_postgresql() -> None:
    """The hot path says nothing that PostgreSQL does not understand."""
    dialect = postgresql.dialect()
    assert "RETURNING log_head.next" in str(advance_head().compile(dialect=dialect))
    assert "INSERT INTO log_entries" in str(insert_entries().compile(dialect=dialect))


def test_a_read_only_engine_does_not_write(store: EntryStore, path: Path) -> None:
    """What fsck opens cannot change the log."""
    reading = EntryStore(open_sqlite(path, read_only=True))
    assert reading.size() == 0
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.append([row(0)])
    reading.close()


def test_a_second_engine_does_not_give_the_firsts_locks_away(store: EntryStore, path: Path) -> None:
    """Another process that comes and goes must not take itself for the last user and delete the WAL in use."""
    store.append([row(1)])
    open_sqlite(path).dispose()
    visitor = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); c.close()"
    subprocess.run([sys.executable, "-c", visitor, str(path)], check=True, timeout=30)
    store.append([row(2)])
    seen = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    count = [sys.executable, "-c", seen, str(path), "SELECT count(*) FROM log_entries"]
    done = subprocess.run(count, check=True, timeout=30, capture_output=True, text=True)
    assert done.stdout == "2\n"

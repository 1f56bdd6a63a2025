"""Documents are kept under their digest, once, and survive a migration from the first schema."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from sovereign_ext import storage
from sovereign_ext.storage.documents import Document, DocumentStore
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.migrate import current_revision, ensure_schema
from sovereign_ext.storage.schema import REVISION

POLICY = Document("policy", b'{"id":"phi"}')
TOKEN = Document("evidence", b"\x00\xff token")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[DocumentStore]:
    engine = open_sqlite(path, busy_timeout_ms=50)
    ensure_schema(engine)
    yield DocumentStore(engine)
    engine.dispose()


def test_documents_come_back_by_digest(store: DocumentStore) -> None:
    """Bytes as they were, in the order asked for; what is not there is left out."""
    store.put_all([POLICY, TOKEN])
    assert POLICY.digest == f"sha256:{sha256(POLICY.body).hexdigest()}"
    found = store.get_many([TOKEN.digest, "sha256:none", POLICY.digest, TOKEN.digest])
    assert list(found.items()) == [(TOKEN.digest, TOKEN), (POLICY.digest, POLICY)]
    assert store.get_many([]) == {}


def test_storing_again_changes_nothing(store: DocumentStore) -> None:
    """Also when one of several is known, or comes twice; the first kind stays."""
    store.put_all([POLICY])
    store.put_all([POLICY, TOKEN, TOKEN, Document("other", POLICY.body)])
    store.put_all([])
    assert store.get_many([POLICY.digest, TOKEN.digest]) == {POLICY.digest: POLICY, TOKEN.digest: TOKEN}


def test_more_than_one_query_holds(store: DocumentStore) -> None:
    """A registry may name thousands of statements."""
    many = [Document("witness-statement", b"%d" % number) for number in range(1203)]
    store.put_all(many)
    assert list(store.get_many([each.digest for each in many]).values()) == many


def test_a_failed_put_leaves_nothing(store: DocumentStore, path: Path) -> None:
    """While another process holds the lock nothing is stored; repeating it works."""
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"):
        store.put_all([POLICY, TOKEN])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.get_many([POLICY.digest]) == {}
    store.put_all([POLICY, TOKEN])
    assert len(store.get_many([POLICY.digest, TOKEN.digest])) == 2


def test_stored_documents_survive_a_kill(store: DocumentStore, path: Path) -> None:
    """When ``put_all`` has returned, the process may die at once."""
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from sovereign_ext.storage.engine import open_sqlite;"
        "from sovereign_ext.storage.documents import Document, DocumentStore;"
        "DocumentStore(open_sqlite(Path(sys.argv[1]))).put_all([Document('policy', b'killed')]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert ended.returncode == -9
    wanted = Document("policy", b"killed")
    assert store.get_many([wanted.digest]) == {wanted.digest: wanted}


def test_a_log_of_the_first_schema_is_migrated(path: Path) -> None:
    """Its entries stay, and documents can be kept beside them."""
    engine = open_sqlite(path)
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    entries = EntryStore(engine)
    entries.create_head("origin")
    entries.append([Row("outcome", "t", "d", 1, b"body", bytes(32), b"{}", b"{}")])
    ensure_schema(engine)
    with engine.connect() as connection:
        assert current_revision(connection) == REVISION
    documents = DocumentStore(engine)
    documents.put_all([POLICY])
    assert documents.get_many([POLICY.digest]) == {POLICY.digest: POLICY}
    assert [row.body for row in entries.rows(0, 9)] == [b"body"]
    entries.close()

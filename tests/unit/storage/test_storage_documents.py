"""Documents are kept under their digest, once, durably."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from services import Backend
from sqlalchemy.exc import OperationalError

from sovereign_ext.storage.documents import Document, DocumentStore

POLICY = Document("policy", b'{"id":"phi"}')
TOKEN = Document("evidence", b"\x00\xff token")


@pytest.fixture
def store(database: Backend) -> DocumentStore:
    return DocumentStore(database.engine(wait_s=0.5))


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


def test_a_failed_put_leaves_nothing(store: DocumentStore, database: Backend) -> None:
    """While another process holds the lock nothing is stored; repeating it works."""
    with database.locked("documents"), pytest.raises(OperationalError, match="lock"):
        store.put_all([POLICY, TOKEN])
    assert store.get_many([POLICY.digest]) == {}
    store.put_all([POLICY, TOKEN])
    assert len(store.get_many([POLICY.digest, TOKEN.digest])) == 2


def test_two_processes_may_store_the_same(store: DocumentStore, database: Backend) -> None:
    """At the same time, in whatever order: replicas read the same configuration."""
    many = [Document("policy", b"%d" % number) for number in range(200)]
    others = [DocumentStore(database.engine()) for _ in range(3)]
    with ThreadPoolExecutor(4) as threads:
        stored = [
            threads.submit(each.put_all, many[::step])
            for each, step in zip((store, *others), (1, -1, 1, -1), strict=True)
        ]
        for one in stored:
            one.result(60)
    assert list(store.get_many([each.digest for each in many]).values()) == many


def test_stored_documents_survive_a_kill(store: DocumentStore, database: Backend) -> None:
    """When ``put_all`` has returned, the process may die at once."""
    code = (
        "import os, signal; from pathlib import Path;"
        "from sovereign_ext import secret; from sovereign_ext.storage import engine;"
        "from sovereign_ext.storage.documents import Document, DocumentStore;"
        f"DocumentStore({database.opening}).put_all([Document('policy', b'killed')]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-"], input=code, text=True, check=False, timeout=60)
    assert ended.returncode == -9
    wanted = Document("policy", b"killed")
    assert store.get_many([wanted.digest]) == {wanted.digest: wanted}

"""The queue of anchors: bounded, durable, and never an entry for a row that was not there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from services import Backend
from sqlalchemy.exc import IntegrityError

from sovereign_ext.storage.anchors import MAX_PENDING, AnchorRow, AnchorStore


def row(size: int, anchor: str = "a") -> AnchorRow:
    return AnchorRow(anchor, size, "rekor-v2", b"note %d" % size, b"sig", b"key", size * 10)


@pytest.fixture
def store(database: Backend) -> AnchorStore:
    return AnchorStore(database.engine())


def anchor(store: AnchorStore, size: int, name: str = "a") -> None:
    store.queue(row(size, name))
    store.anchored(row(size, name), b"{%d}" % size, size * 100)


def test_a_row_comes_back_as_it_was(store: AnchorStore, database: Backend) -> None:
    """Every column, also by another connection."""
    store.queue(row(5))
    other = AnchorStore(database.engine())
    assert other.pending("a") == other.newest("a") == row(5)
    assert other.names() == ["a"]
    assert other.recent("a", 10) == [row(5)]
    assert (other.pending("b"), other.newest("b"), other.covering("a", 0)) == (None, None, None)


def test_failures_are_counted_and_the_signature_may_change(store: AnchorStore) -> None:
    """The last error is kept, cut to a length that does not fill the disk."""
    store.queue(row(5))
    store.failed(row(5), "down " * 1000, 77)
    failed = store.pending("a")
    assert failed is not None
    assert (failed.attempts, failed.retry_ms, len(failed.last_error or "")) == (1, 77, 500)
    store.failed(replace(failed, signature=b"sig2"), "again", 99)
    assert store.pending("a") == replace(
        row(5), attempts=2, retry_ms=99, last_error="again", signature=b"sig2"
    )


def test_success_ends_pending_once(store: AnchorStore) -> None:
    """What is anchored is not changed by a late second answer or failure."""
    store.queue(row(5))
    store.anchored(row(5), b"{}", 1)
    store.anchored(row(5), b"{other}", 2)
    store.failed(replace(row(5), signature=b"sig3"), "late", 3)
    assert store.pending("a") is None
    assert store.newest("a") == replace(row(5), attempts=1, entry=b"{}", anchored_ms=1)


def test_the_queue_is_bounded(store: AnchorStore) -> None:
    """The one that is tried and the newest stay; what is anchored stays too; other anchors are left alone."""
    anchor(store, 1)
    for size in range(2, 9):
        store.queue(row(size))
        store.queue(row(size, "b"))
    assert [r.size for r in store.recent("a", 100)] == [8, 2, 1]
    assert [r.size for r in store.recent("b", 100)] == [8, 2]
    assert len(store.recent("b", 100)) == MAX_PENDING
    assert (store.queued("b"), store.queued("nobody")) == (MAX_PENDING, 0)


def test_the_oldest_anchor_that_covers_an_entry_is_found(store: AnchorStore) -> None:
    """Size n covers indices below n; pending rows cover nothing."""
    for size in (3, 7, 20):
        anchor(store, size)
    anchor(store, 5, "b")
    store.queue(row(30))
    found = [store.covering("a", index) for index in (0, 2, 3, 6, 7, 19, 20)]
    assert [None if f is None else f.size for f in found] == [3, 3, 7, 7, 20, 20, None]
    assert store.names() == ["a", "b"]


def test_a_checkpoint_is_queued_once(store: AnchorStore) -> None:
    """Queueing the same size again is a mistake of the caller, not a second row."""
    store.queue(row(5))
    with pytest.raises(IntegrityError):
        store.queue(row(5))
    assert store.recent("a", 10) == [row(5)]

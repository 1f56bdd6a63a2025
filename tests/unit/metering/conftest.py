"""A log's rows on either database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from services import Backend

from sovereign_ext.storage.entries import EntryStore


@pytest.fixture
def store(database: Backend) -> Iterator[EntryStore]:
    """An empty log."""
    store = EntryStore(database.engine())
    store.create_head("log.test")
    yield store
    store.reset()

"""Fixtures of the log's tests: the vectors that Go made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
VECTORS = TESTS / "vectors" / "tlog"


@pytest.fixture(scope="session")
def tree_vectors() -> list[dict[str, Any]]:
    """Trees as Go computed them, smallest first."""
    return json.loads((VECTORS / "trees.json").read_bytes())["trees"]


@pytest.fixture(scope="session")
def note_vectors() -> dict[str, Any]:
    """Signed notes, and what Go thinks of damaged ones."""
    return json.loads((VECTORS / "notes.json").read_bytes())

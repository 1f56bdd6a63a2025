"""Fixtures of the log's tests: the vectors that Go made, and an S3-compatible store."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
sys.path.append(str(TESTS / "unit" / "keystore_kms"))  # moto is started there
VECTORS = TESTS / "vectors" / "tlog"


@pytest.fixture(scope="session")
def tree_vectors() -> list[dict[str, Any]]:
    """Trees as Go computed them, smallest first."""
    return json.loads((VECTORS / "trees.json").read_bytes())["trees"]


@pytest.fixture(scope="session")
def note_vectors() -> dict[str, Any]:
    """Signed notes, and what Go thinks of damaged ones."""
    return json.loads((VECTORS / "notes.json").read_bytes())


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """moto's server: AWS services in memory, on loopback."""
    from kms_world import moto  # noqa: PLC0415 - most tests here need none

    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server

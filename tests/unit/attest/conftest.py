"""Receipts are made once for all tests; nobody changes them in place."""

from __future__ import annotations

import pytest
from attest_world import Issued, issue


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """Two receipts of a real log."""
    return issue(tmp_path_factory.mktemp("issued") / "log")

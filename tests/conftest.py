"""Settings for the whole suite, the Go judge and the servers of ``services``. Other fixtures live next to
the tests that use them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from judging import go_built
from services import _services, database, postgres, valkey

__all__ = ["_services", "database", "postgres", "valkey"]  # fixtures

DATAPLANE = Path(__file__).parent / "dataplane"

# The machine is shared and Envoy may be busy beside us: how long an example takes says nothing.
# The same examples in every run, so that a red run is about the change; SOVEREIGN_FUZZ=1 looks for new ones.
settings.register_profile("repeatable", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile("fuzz" if os.environ.get("SOVEREIGN_FUZZ") else "repeatable")

Judge = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs Envoy comes last: it watches the clocks of several processes, and then only its like run beside it.

    A file stays whole on one of the two workers, because its fixtures cost more than its tests: that is `--dist
    loadfile` in the Makefile. Groups (`loadgroup`) would be the same, but under pytest 9.2 xdist 3.8 does not see
    them and says nothing (pytest-dev/pytest-xdist#1386).
    """
    items.sort(key=lambda item: DATAPLANE in item.path.parents)


@pytest.fixture(scope="session")
def go_judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Runs Go's own tlog implementation on our output."""
    binary = go_built("go", tmp_path_factory.mktemp("judge"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)

    return run

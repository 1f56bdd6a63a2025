"""Settings for the whole suite, the Go judge and the servers of ``services``. Other fixtures live next to
the tests that use them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from services import _services, database, postgres, valkey

__all__ = ["_services", "database", "postgres", "valkey"]  # fixtures

DATAPLANE = Path(__file__).parent / "dataplane"
GO_SOURCES = Path(__file__).parent / "judges" / "go"

# The machine is shared and Envoy may be busy beside us: how long an example takes says nothing.
# The same examples in every run, so that a red run is about the change; SOVEREIGN_FUZZ=1 looks for new ones.
settings.register_profile("repeatable", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile("fuzz" if os.environ.get("SOVEREIGN_FUZZ") else "repeatable")

Judge = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers share the suite file by file; what needs Envoy comes last, on one worker.

    A file stays whole, because its fixtures cost more than its tests. Tests with Envoy watch the clocks of several
    processes, so the other worker has gone home by then.
    """
    items.sort(key=_needs_envoy)
    for item in items:
        group = DATAPLANE.name if _needs_envoy(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def _needs_envoy(item: pytest.Item) -> bool:
    return DATAPLANE in item.path.parents


@pytest.fixture(scope="session")
def go_judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Runs Go's own tlog implementation on our output. A machine without Go fails the test, no skipping."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.fail("these tests need Go >= 1.18 (Debian: apt-get install golang-go)")
    binary = tmp_path_factory.mktemp("judge") / "judge"
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly"}
    build = [go, "build", "-o", str(binary), "."]
    subprocess.run(build, cwd=GO_SOURCES, env=environment, check=True, timeout=300)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)

    return run

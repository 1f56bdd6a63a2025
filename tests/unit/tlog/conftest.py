"""Fixtures of the log's tests: the Go judge, the vectors it made, and a log in a temporary directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
VECTORS = TESTS / "vectors" / "tlog"
GO_SOURCES = TESTS / "judges" / "go"

Judge = Callable[..., "subprocess.CompletedProcess[str]"]


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


@pytest.fixture(scope="session")
def tree_vectors() -> list[dict[str, Any]]:
    """Trees as Go computed them, smallest first."""
    return json.loads((VECTORS / "trees.json").read_bytes())["trees"]


@pytest.fixture(scope="session")
def note_vectors() -> dict[str, Any]:
    """Signed notes, and what Go thinks of damaged ones."""
    return json.loads((VECTORS / "notes.json").read_bytes())

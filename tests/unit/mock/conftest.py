"""Mock servers for the tests of the mock: one per kind and module, cleaned before every use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sovereign_ext.mock.thread import RunningMock


@pytest.fixture(scope="module")
def mock_of() -> Iterator[Callable[[str], RunningMock]]:
    """A running mock of a kind, without faults or memories of earlier tests."""
    running: dict[str, RunningMock] = {}
    with ExitStack() as stack:

        def get(kind: str) -> RunningMock:
            if kind not in running:
                running[kind] = stack.enter_context(RunningMock(kind))
            running[kind].clear()
            return running[kind]

        yield get

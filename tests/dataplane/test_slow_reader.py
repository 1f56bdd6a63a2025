"""A client that does not read holds its provider up, and the provider is not blamed for it.

The stream is larger than everything between the two can hold (Envoy's buffers and the kernel's), so what the
processor sees of the provider is silence.
"""

from __future__ import annotations

from typing import Any

import pytest
from stack import ConfigFile, Stack

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.routing.health import FAILURES_TO_OPEN

pytestmark = pytest.mark.dataplane

IDLE_MS = 800
MIB = 1024 * 1024


def health(stack: Stack, deployment: str) -> dict[str, Any]:
    for provider in stack.management("/sf/v1/providers")["providers"]:
        for each in provider["deployments"]:
            if each["name"].endswith("/" + deployment):
                return each["health"]
    raise AssertionError(f"no deployment {deployment}")


@pytest.mark.parametrize(("limit", "limit_ms"), [("idle_ms", IDLE_MS), ("total_ms", 2 * IDLE_MS)])
def test_slow_reader_is_not_the_providers_fault(limit: str, limit_ms: int) -> None:
    """The stream ends at the limit, so nothing waits for ever; the deployment stays as healthy as it was."""
    config = ConfigFile()
    with RunningMock("openai") as mock:
        config.provider("p", "openai", mock.url, timeouts={limit: limit_ms})
        config.model("m", ["p"])
        mock.fault(Fault(tokens=64, chunk_text=MIB // 2))  # 32 MiB
        with Stack(config) as stack:
            for _ in range(FAILURES_TO_OPEN + 1):
                with stack.open_chat("m") as running:
                    row = stack.row(running.headers["x-sf-decision-id"])
                assert row.outcomes == [limit.replace("_ms", "_timeout")]
                assert row.predicate["result"] == "truncated"
            found = health(stack, "m.p")
            assert (found["state"], found["window"]["failures"]) == ("CLOSED", 0), found


def test_silence_after_little_is_the_providers_fault() -> None:
    """What Envoy could hold for any reader is no excuse: the provider has stalled."""
    config = ConfigFile()
    with RunningMock("openai") as mock:
        config.provider("p", "openai", mock.url, timeouts={"idle_ms": IDLE_MS})
        config.model("m", ["p"])
        mock.fault(Fault(tokens=64, chunk_text=1024, stall=Stall(at=32)))
        with Stack(config) as stack:
            for _ in range(FAILURES_TO_OPEN):
                with stack.open_chat("m") as running:
                    assert stack.row(running.headers["x-sf-decision-id"]).outcomes == ["idle_timeout"]
            found = health(stack, "m.p")
            assert found["window"]["failures"] == FAILURES_TO_OPEN
            assert found["state"] != "CLOSED"  # cooling, or half open if this took a second

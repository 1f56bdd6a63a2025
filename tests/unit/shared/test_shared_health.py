"""What routers tell each other of their providers, over a real server and from process to process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from services import Valkey
from shared_health_worker import A
from shared_world import Books, in_loop, router, settled

from sovereign_ext.routing.health import Health, Verdict
from sovereign_ext.shared import exchange, layout

pytestmark = pytest.mark.services

_WORKER = Path(__file__).with_name("shared_health_worker.py")


class Other:
    def __init__(self, valkey: Valkey) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(valkey.url)
        assert self._hear() == "ready"

    def __call__(self, command: str) -> dict[str, Any]:
        self._say(command)
        return dict(json.loads(self._hear()))

    def end(self) -> None:
        self.process.communicate(timeout=30)

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def processes(valkey: Valkey, count: int) -> Iterator[list[Other]]:
    found = [Other(valkey) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.end()


def wait_until(router: Other, so: Any, within_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while True:
        found = router("state")
        if so(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_a_provider_that_fails_on_one_router_is_soon_avoided_by_the_other(valkey: Valkey) -> None:
    """Within two rounds of half a second; and is asked again when its probe there succeeds."""
    with processes(valkey, 2) as (one, two):
        assert one("fail 3")["blocked"]["state"] == "cooling"
        found = wait_until(two, lambda state: state["blocked"] is not None, 5.0)
        assert (found["blocked"]["state"], found["blocked"]["why"]) == ("cooling", "reset")
        wait_until(one, lambda state: state["blocked"] is None, 5.0)
        one("succeed 1")
        assert wait_until(two, lambda state: state["blocked"] is None, 5.0)["p95_ms"] is not None
        with processes(valkey, 1) as (late,):
            wait_until(late, lambda state: state["p95_ms"] is not None, 5.0)  # what it missed counts still


@in_loop
async def test_what_is_told_is_bounded_and_what_is_heard_is_checked(valkey: Valkey) -> None:
    """A stream of bounded length; garbage and a version that says other things are passed over."""
    books, healths = Books(), [Health(), Health()]
    one, two = (router(valkey, books, health=health) for health in healths)
    assert await one.start()
    assert await two.start()
    with valkey.client() as client:
        for saw in (
            b"{",
            b'[{"deployment": 3}]',
            b'[{"deployment": "a", "latencies": [[999, 1]]}]',
            b"[]",
            None,
        ):
            client.xadd(layout.HEALTH, {"router": "x"} if saw is None else {"router": "x", "saw": saw})
        client.xadd(
            layout.HEALTH, {"router": "x", "saw": msgspec.json.encode([{"deployment": "a", "failures": -1}])}
        )
        healths[0].report(A, Verdict.FAILURE, time.monotonic(), reason="reset")
        await settled(lambda: healths[1]._circuits.get("a") is not None)
        assert healths[1]._circuits["a"].window.stats(time.monotonic()).failures == 1
        for _ in range(2 * exchange.KEPT):
            client.xadd(layout.HEALTH, {"router": "x"})
        for _ in range(3):
            healths[0].report(A, Verdict.FAILURE, time.monotonic(), reason="reset")
            await one._exchange.round()
        assert client.xlen(layout.HEALTH) < exchange.KEPT + 200
    await asyncio.gather(one.stop(), two.stop())


@in_loop
async def test_without_a_store_each_router_knows_what_it_sees(valkey: Valkey) -> None:
    books, health = Books(), Health()
    shared = router(valkey, books, health=health)
    assert await shared.start()
    valkey.stop()
    await settled(lambda: not shared.status().reachable)
    for _ in range(3):
        health.report(A, Verdict.FAILURE, time.monotonic(), reason="reset")
    assert health.blocked("a", time.monotonic()) is not None
    await shared.stop()

"""Stopping with streams open: Envoy is drained and the processor ended while sixty answers are on their way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import wire
from edge_world import EdgeStack
from stack import SAID, ConfigFile, eventually, sovereign

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

STREAMS = 60
PACED = Fault(pace_ms=700)


@dataclass
class World:
    stack: EdgeStack
    mocks: dict[str, RunningMock]

    def check(self, replies: list[wire.Reply]) -> None:
        """Every one whole, every one with its row, and no row but theirs."""
        for reply in replies:
            assert (reply.status, reply.complete, reply.done, reply.text) == (200, True, True, SAID)
            assert reply.stream_attestation["rekor_index"] >= 0
        rows = self.stack.rows()
        assert {row.decision_id for row in rows} >= {reply.headers["x-sf-decision-id"] for reply in replies}
        assert len({reply.headers["x-sf-decision-id"] for reply in replies}) == len(replies)
        self.stack.fsck()


@pytest.fixture
def world() -> Iterator[World]:
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {}
        for name, kind in (("one", "openai"), ("two", "vllm")):
            mocks[name] = running.enter_context(RunningMock(kind))
            config.provider(name, kind, mocks[name].url, timeouts={"first_byte_ms": 4000})
        config.policy("chain", ["one", "two"])
        config.model("chat", ["one", "two"])
        stack = EdgeStack(config, "sidecar", processor_options=("--drain-s", "30"))
        yield World(running.enter_context(stack), mocks)


def open_streams(world: World, pool: ThreadPoolExecutor) -> list[wire.Running]:
    """As many, each with its first text already there."""

    def begin(_: int) -> wire.Running:
        running = world.stack.open_chat("chat")
        running.read_until(b'"content":"')
        return running

    return [*pool.map(begin, range(STREAMS))]


def test_envoy_is_drained_then_all_is_stopped(world: World) -> None:
    """`sovereign envoy drain` returns when the last answer is out; then nobody loses anything."""
    stack = world.stack
    for mock in world.mocks.values():
        mock.fault(PACED)
    with ThreadPoolExecutor(STREAMS + 1) as pool:
        streams = open_streams(world, pool)
        drained = pool.submit(
            sovereign,
            *("envoy", "drain", "--run-dir", str(stack.run_dir), "--accept-s", "0.5", "--within-s", "40"),
        )

        def probe() -> int:
            try:
                return wire.call(stack.port, "/healthz", method="GET").status
            except ConnectionError:
                return 0

        eventually(lambda: probe() == 503, "the balancer's probe fails")
        eventually(lambda: probe() == 0, "new connections are refused")
        replies = [*pool.map(wire.Running.finish, streams)]
        done = drained.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert stack.envoy.end() in (0, -signal.SIGTERM)
    assert stack.processor.end() == 0
    world.check(replies)


def test_a_drain_that_takes_too_long_says_so(world: World) -> None:
    """And leaves the calls alone: what to do about them is for whoever asked."""
    stack = world.stack
    for mock in world.mocks.values():
        mock.fault(PACED)
    with stack.open_chat("chat") as running:
        running.read_until(b'"content":"')
        argv = ("envoy", "drain", "--run-dir", str(stack.run_dir), "--accept-s", "0", "--within-s", "0.2")
        done = sovereign(*argv)
        assert done.returncode == 1
        assert "1 calls are still open" in done.stderr
        assert running.finish().complete
    assert sovereign(*argv[:2], "--run-dir", str(stack.root)).returncode == 1


def test_the_processor_ends_when_its_calls_are_over(world: World) -> None:
    """Envoy stays. Open streams end as they should, also one that has to go on to its next provider meanwhile; a new
    call is refused, until there is a new processor."""
    stack = world.stack
    world.mocks["two"].fault(PACED)
    world.mocks["one"].fault(PACED, times=STREAMS)
    with ThreadPoolExecutor(STREAMS + 1) as pool:
        streams = open_streams(world, pool)
        world.mocks["one"].clear()
        world.mocks["one"].fault(Fault(delay_ms=1500, status=503))
        before = len(world.mocks["one"].requests())
        late = pool.submit(stack.chat, "chat", stream=True)
        eventually(
            lambda: len(world.mocks["one"].requests()) > before, "the late call is with its first provider"
        )
        stack.processor.send(signal.SIGTERM)
        eventually(lambda: not (stack.run_dir / "processor.ready").exists(), "the processor drains")
        refused = stack.chat("chat")
        assert (refused.status, refused.error["code"]) == (500, "gateway_unavailable")
        assert refused.headers["x-should-retry"] == "true"
        replies = [*pool.map(wire.Running.finish, streams), late.result()]
        assert stack.row_of(replies[-1]).outcomes == ["status_503", "ok"]
    assert stack.processor.end() == 0
    for mock in world.mocks.values():
        mock.clear()
    stack.start_processor()
    stack.wait_serving()
    world.check(replies)
    assert stack.chat("chat").status == 200

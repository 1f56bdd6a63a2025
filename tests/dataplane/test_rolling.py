"""A rolling update of two routers behind a balancer, with two hundred answers on their way all the time.

The first router is replaced as Kubernetes does it: its successor is another one, at another place. The second one as
on a host with services: the same directories, the same port. Nobody who calls may notice either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import openai
import pytest
import wire
from balancer import Balancer
from edge_world import EdgeStack
from replicas_world import Replicas
from services import PostgresDatabase, Valkey
from stack import HELLO, SAID, Stack, chat_body, eventually

from sovereign_ext.management.probe import check
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.services

STREAMS = 200  # have got their first text, and not their last, when a router begins to drain
LISTENERS = 240  # since some are between two streams
HALF = LISTENERS * 2 // 5  # of them, at least, are on each router then
CALLERS = 3  # of each kind, beside the streams, on connections that they keep
PACED = Fault(pace_ms=700)
PROMPT = Fault(delay_ms=50, pace_ms=10)
CAP_USD = 1000
DECISION = "x-sf-decision-id"
STORE_AWAY = "limits_unavailable"


class NotNow(Exception):
    """A call was refused before its first byte, to be tried again: Valkey took longer than 80 ms, as it does where more
    runs than there are cores. Its decision."""


class World(Replicas):
    """Two routers behind ``balancer``. ``ids`` are calls with an answer as it should be, ``failures`` the others."""

    def __init__(self, postgres: PostgresDatabase, valkey: Valkey) -> None:
        super().__init__(
            2, postgres, valkey, stack=EdgeStack, mode="sidecar", processor_options=("--drain-s", "30")
        )
        self.config.tenant = {
            "limits": [{"concurrent": 2 * LISTENERS}],
            "spend_caps": [{"usd": CAP_USD, "per": "total"}],
        }
        self.balancer = Balancer()
        self.ids: list[str] = []
        self.failures: list[str] = []
        self.refused = 0
        self.over = threading.Event()
        self._under_way = 0
        self._guard = threading.Lock()

    def __enter__(self) -> World:
        with ExitStack() as opening:
            mock = opening.enter_context(RunningMock("openai"))
            mock.fault(PACED, model="up-slow")
            mock.fault(PROMPT, model="up-quick")
            self.config.provider("p", "openai", mock.url)
            for name in ("slow", "quick"):
                self.config.model(name, ["p"])
                self.config.deployments[-1]["price"] = {"input_per_mtok": 1, "output_per_mtok": 10}
            super().__enter__()
            opening.push(super().__exit__)
            opening.enter_context(self.balancer)
            for stack in self.stacks:
                self.counts(stack)
                self.balancer.add(stack.port)
            self._all = opening.pop_all()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._all.close()

    # -- clients -----------------------------------------------------------------------------------------------

    def listen(self) -> str:
        """A stream on a connection of its own, to its end; its decision."""
        port, key = self.balancer.port, self.config.key
        with wire.open_call(port, key=key, body=chat_body("slow", True, None, {})) as running:
            if running.status == 503 and (refusal := running.finish()).error["code"] == STORE_AWAY:
                raise NotNow(refusal.headers[DECISION])
            running.read_until(b'"content":"')
            self._opened(1)
            reply = running.finish()
            self._opened(-1)
        seen = (reply.status, reply.complete, reply.done, reply.text)
        assert seen == (200, True, True, SAID), (seen, reply.body[-500:])
        assert reply.stream_attestation["rekor_index"] >= 0
        return reply.headers[DECISION]

    def _opened(self, change: int) -> None:
        with self._guard:
            self._under_way += change

    def caller(self, *, stream: bool) -> Callable[[], str]:
        """OpenAI's SDK, which keeps its connection; without its second tries."""
        url = f"http://127.0.0.1:{self.balancer.port}/v1"
        chats = openai.OpenAI(base_url=url, api_key=self.config.key, max_retries=0).chat.completions

        def ask() -> str:
            try:
                reply = chats.with_raw_response.create(model="quick", messages=HELLO, stream=stream)
            except openai.InternalServerError as error:
                if error.code == STORE_AWAY:
                    raise NotNow(error.response.headers[DECISION]) from None
                raise
            answer = reply.parse()
            pieces = list(answer) if stream else [answer]
            choices = [choice for piece in pieces for choice in piece.choices]
            said = [choice.delta.content if stream else choice.message.content for choice in choices]
            assert "".join(filter(None, said)) == SAID, pieces
            assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"], pieces
            assert any("_sf_attestation" in (piece.model_extra or {}) for piece in pieces), pieces
            return str(reply.headers[DECISION])

        return ask

    def again_and_again(self, ask: Callable[[], str]) -> None:
        """Until ``over``; a call that is open then is waited for."""
        while not self.over.is_set():
            try:
                self.ids.append(ask())
            except NotNow as refusal:
                self.ids.append(str(refusal))
                self.refused += 1
                self.over.wait(1)  # what `Retry-After` says
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    # -- operators ---------------------------------------------------------------------------------------------

    def counts(self, stack: Stack) -> None:
        """Wait until it knows what was spent: a store that is new to it is for rebuilding first, for three seconds."""
        socket = stack.run_dir / "management.sock"
        eventually(lambda: check(socket, "limits", 5) == "SERVING", f"{stack} counts with the others")

    def busy(self, stack: Stack) -> None:
        """Wait until all streams are there, and the router has its part of them."""

        def found() -> bool:
            assert self.failures == []
            return self._under_way >= STREAMS and self.balancer.connections(stack.port) >= HALF

        eventually(found, f"{STREAMS} open streams, with part of them on {stack}", 30)

    def drain(self, stack: Stack) -> None:
        done = self.sovereign(
            *("envoy", "drain", "--run-dir", str(stack.run_dir), "--accept-s", "0.5", "--within-s", "30")
        )
        assert done.returncode == 0, done.stderr
        assert not self.balancer.healthy(stack.port)

    def role(self, stack: Stack) -> str:
        return str(stack.management("/sf/v1/log")["role"])


@pytest.fixture
def world(postgres: PostgresDatabase, valkey: Valkey) -> Iterator[World]:
    with World(postgres, valkey) as made:
        yield made


def replace_both(world: World, first: Stack, second: Stack) -> tuple[Stack, Stack]:
    """The two that are there in the end. In both orders of the processes: a drained router has nothing to lose."""
    world.busy(first)
    world.busy(second)
    world.drain(first)
    assert first.processor.end() == 0
    first.envoy.end()
    eventually(lambda: world.role(second) == "LEADER", "the one that stays leads")
    third = world.add()
    world.balancer.add(third.port)

    world.busy(third)
    world.busy(second)
    world.drain(second)
    second.envoy.end()
    assert second.processor.end() == 0
    eventually(lambda: world.role(third) == "LEADER", "the new one leads")
    second.start()
    world.busy(second)
    world.busy(third)
    return second, third


def test_a_rolling_update_loses_nothing(world: World) -> None:
    """No call fails and no stream is cut, each has one outcome in the log, nothing stays reserved."""
    eventually(lambda: any(world.role(each) == "LEADER" for each in world.stacks), "one of them leads")
    leader, other = sorted(world.stacks, key=lambda stack: world.role(stack) != "LEADER")
    asks = [world.listen] * LISTENERS
    asks += [world.caller(stream=stream) for stream in (False, True) for _ in range(CALLERS)]
    with ThreadPoolExecutor(len(asks)) as pool:
        try:
            clients = [pool.submit(world.again_and_again, ask) for ask in asks]
            stacks = replace_both(world, leader, other)
        finally:
            world.over.set()
        for client in clients:
            client.result()
    assert world.failures == []
    assert world.refused == 0 or "the shared store is lost: no answer in time" in world.logs()
    assert "the shared store lost what it held" not in world.logs()
    check_log(world, stacks[0])
    check_reservations(world, stacks[0])


def check_log(world: World, stack: Stack) -> None:
    """One outcome for each call that a client made, no other; the log is whole and every entry obeys its policy."""
    rows = world.postgres.execute("SELECT decision_id FROM log_entries WHERE kind = 'outcome'")
    assert sorted(row[0] for row in rows) == sorted(world.ids)
    place = ("--state-dir", str(stack.state_dir), "--config", str(stack.config_file))
    for command in ("fsck", "monitor"):
        done = world.sovereign("log", command, *place)
        assert done.returncode == 0, done.stdout + done.stderr


def check_reservations(world: World, stack: Stack) -> None:
    """No call holds a place or money any more, and what was spent is what the calls were billed."""
    limits = {each["measure"]: each for each in stack.management("/sf/v1/limits?tenant=t")["limits"]}
    assert {name: int(each.get("held", 0)) for name, each in limits.items()} == {"concurrent": 0, "spend": 0}
    (billed,) = world.postgres.execute("SELECT sum(billed_nano) FROM usage WHERE tenant = 't'")
    assert CAP_USD * 10**9 - int(limits["spend"]["remaining"]) == billed[0] > 0

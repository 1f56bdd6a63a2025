"""`sovereign envoy render --below-1.40`: the same walk in Envoys that cannot be told a list of clusters.

What the fault matrix holds of the walk, on each of ``older_envoys.VERSIONS``. The matrix itself passed on 1.36 to 1.39
when this was made (docs/adr/0028).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import wire
import yaml
from edge_world import EdgeStack, converse
from older_envoys import OLDEST, VERSIONS, older_envoy
from openai import OpenAI
from stack import HELLO, SAID, ConfigFile, eventually

from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

MODELS = ("walks", "ends", "event", "cut", "slow", "headers", "order")
"""One for each test, which no other makes a deployment of unhealthy."""
KINDS = {"one": "openai", "two": "vllm", "three": "ollama"}
SPOOFED = {"x-sf-target": "provider.spoofed", "x-sf-exchange": "dec-0", "x-envoy-attempt-count": "3"}
TOLD_OF_LOCAL_REPLIES = "envoy.reloadable_features.skip_ext_proc_on_local_reply"


class OlderStack(EdgeStack):
    """A gateway's rendering. The oldest gets what docs/deploy/own-envoy.md says of it."""

    version: str

    def render(self) -> None:
        super().render()
        if self.version == OLDEST:
            file = self.rendered / self.bootstrap
            layer = {"name": "sovereign", "static_layer": {TOLD_OF_LOCAL_REPLIES: False}}
            document = yaml.safe_load(file.read_text()) | {"layered_runtime": {"layers": [layer]}}
            file.write_text(yaml.safe_dump(document, sort_keys=False))


@dataclass
class World:
    stack: OlderStack
    mocks: dict[str, RunningMock]

    def outcomes(self, reply: wire.Reply) -> list[tuple[str, str]]:
        """Of each attempt, as the log has it."""
        attempts = self.stack.row_of(reply).predicate["attempts"]
        return [(attempt["provider"], attempt["outcome"]) for attempt in attempts]


@pytest.fixture(scope="module", params=VERSIONS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    binary = older_envoy(request.param)
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock(kind)) for name, kind in KINDS.items()}
        for name, kind in KINDS.items():
            config.provider(name, kind, mocks[name].url)
        config.provider("nobody", "openai", f"http://127.0.0.1:{free_ports(1)[0]}")
        config.policy("forwards", ["nobody", *KINDS])
        config.policy("backwards", reversed(KINDS))
        for name in MODELS:
            config.model(name, KINDS)
        config.model("unreachable", ["nobody", "one"])
        config.model("chat", KINDS)
        config.model("embed", ["one"], capabilities=("embeddings",))
        stack = OlderStack(config, "gateway", "--below-1.40", binary=binary)
        stack.version = request.param
        yield World(running.enter_context(stack), mocks)
        stack.monitor()


def test_an_application_sees_no_difference(world: World) -> None:
    """JSON, a stream, embeddings, an error, the receipt; and it is the Envoy that is meant."""
    assert f"/{world.stack.version}/" in world.stack.admin("/server_info")
    with OpenAI(base_url=f"{world.stack.url}/v1", api_key=world.stack.config.key, max_retries=0) as client:
        converse(client)
    url = world.stack.chat("chat").attestation["receipt_url"]
    assert wire.call(world.stack.port, url, key=world.stack.config.key, method="GET").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_one_answers(world: World, stream: bool) -> None:
    for name in ("one", "two"):
        world.mocks[name].fault(Fault(status=503), model="up-walks", times=1)
    reply = world.stack.chat("walks", stream=stream)
    assert (reply.status, reply.complete, reply.text) == (200, True, SAID)
    assert world.outcomes(reply) == [("one", "status_503"), ("two", "status_503"), ("three", "ok")]


def test_all_fail(world: World) -> None:
    """One error, by the attempt that arrives past the end."""
    for name in KINDS:
        world.mocks[name].fault(Fault(status=500), model="up-ends")
    reply = world.stack.chat("ends")
    assert (reply.status, reply.error["code"]) == (500, "provider_error")
    assert world.outcomes(reply) == [(name, "status_500") for name in KINDS]


def test_a_stream_that_fails_before_its_content_walks_on(world: World) -> None:
    world.mocks["one"].fault(Fault(error_event=ErrorEvent()), model="up-event")
    reply = world.stack.chat("event", stream=True)
    assert (reply.status, reply.complete, reply.text) == (200, True, SAID)
    assert [provider for provider, _ in world.outcomes(reply)] == ["one", "two"]


def test_one_that_breaks_later_is_told_as_broken(world: World) -> None:
    """The call's own stream is still there then: Envoy 1.37 and 1.38 would have ended it."""
    world.mocks["one"].fault(Fault(cut=Cut(after_events=2), pace_ms=20), model="up-cut")
    reply = world.stack.chat("cut", stream=True)
    assert reply.status == 200
    assert b"[DONE]" not in reply.body
    assert world.outcomes(reply) == [("one", "cut")]


def test_a_slow_stream_has_its_end_on_the_record(world: World) -> None:
    world.mocks["one"].fault(Fault(tokens=10, pace_ms=20), model="up-slow")
    reply = world.stack.chat("slow", stream=True)
    assert (reply.status, reply.complete) == (200, True)
    predicate = world.stack.row_of(reply).predicate
    assert (predicate["result"], world.outcomes(reply)) == ("answered", [("one", "ok")])


def test_a_provider_that_cannot_be_reached(world: World) -> None:
    """Why is Envoy's own answer, which has to be shown to the processor."""
    reply = world.stack.chat("unreachable")
    assert (reply.status, reply.text) == (200, SAID)
    assert world.outcomes(reply) == [("nobody", "connect_failure"), ("one", "ok")]


def test_no_header_of_one_attempt_reaches_another(world: World) -> None:
    """Nor of the client, nor those by which the hops know each other."""
    for name in ("one", "two"):
        world.mocks[name].fault(Fault(status=503), model="up-headers", times=1)
    reply = world.stack.chat("headers", headers=SPOOFED)
    assert [provider for provider, _ in world.outcomes(reply)] == ["one", "two", "three"]
    keys = world.stack.config.environ
    for name, mock in world.mocks.items():
        sent = {key.lower(): value for key, value in mock.requests()[-1].headers}
        assert not [key for key in sent if key.startswith(("x-sf-", "x-envoy-", "x-forwarded-"))]
        others = [secret for variable, secret in keys.items() if not variable.endswith(name.upper())]
        assert not [secret for secret in (*others, world.stack.config.key) if secret in str(sent)]


def test_a_request_that_ends_in_trailers(world: World) -> None:
    """The call's own stream is still there when the attempt asks for it."""
    body = json.dumps({"model": "chat", "messages": HELLO}).encode()
    reply = wire.with_trailers(world.stack.port, world.stack.config.key, body)
    assert (reply.status, reply.text) == (200, SAID)
    assert world.outcomes(reply) == [("one", "ok")]


def test_the_order_is_each_calls_own(world: World) -> None:
    """A policy, and what is known of health, decide at the time of the call, as with Envoy 1.40."""
    assert world.outcomes(world.stack.chat("order", headers={"x-sf-policy": "backwards"})) == [
        ("three", "ok")
    ]
    world.mocks["one"].fault(Fault(status=503), model="up-order")
    replies = [world.stack.chat("order") for _ in range(20)]
    assert {reply.status for reply in replies} == {200}
    assert world.outcomes(replies[0]) == [("one", "status_503"), ("two", "ok")]
    assert world.outcomes(replies[-1]) == [("two", "ok")]


def test_a_provider_is_added_without_a_rendering(world: World) -> None:
    stack = world.stack
    stack.config.provider("late", "openai", world.mocks["one"].url, secret=None)
    stack.config.policies[0]["providers"].append("late")
    stack.config.model("new", ["late"])
    pid = stack.envoy.pid
    stack.config.write(stack.config_file)
    eventually(lambda: stack.chat("new").status == 200, "the new model answers")
    assert world.outcomes(stack.chat("new")) == [("late", "ok")]
    assert stack.envoy.pid == pid


def test_beside_kgateways_own(world: World) -> None:
    """Its objects in an older Envoy, as kgateway 2.4 has one."""
    config = ConfigFile()
    config.provider("one", "openai", world.mocks["one"].url)
    config.model("chat", ["one"])
    config.model("embed", ["one"], capabilities=("embeddings",))
    options = ("--below-1.40", "--image", "sovereign:test")
    with (
        EdgeStack(config, "kgateway", *options, binary=older_envoy(world.stack.version)) as stack,
        OpenAI(base_url=f"{stack.url}/v1", api_key=config.key, max_retries=0) as client,
    ):
        converse(client)

"""Unmodified clients on real Envoy: they see an OpenAI endpoint, and the attestation where they can read it.

Every provider kind is tried, each by a policy that names it alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from clients_world import javascript
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionToolParam
from pydantic import BaseModel
from stack import HELLO, SAID, ConfigFile, Stack

from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

KINDS = ("openai", "vllm", "ollama", "mock")
DEEP = "org/deep:model@1"
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
ASKING: Any = [{"role": "user", "content": "Please call a tool"}]


@dataclass(frozen=True)
class World:
    """A stack with one provider of each kind, named after it."""

    stack: Stack
    mocks: dict[str, RunningMock]
    clients: list[OpenAI] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.stack.port}/v1"

    def client(self, kind: str = "openai", **options: Any) -> OpenAI:
        """A client whose calls go to one provider; closed when the test is over."""
        self.clients.append(OpenAI(**self._options(kind, options)))
        return self.clients[-1]

    def aclient(self, kind: str = "openai", **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(**self._options(kind, options))

    def _options(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        base = {
            "base_url": self.base_url,
            "api_key": self.stack.config.key,
            "default_headers": {"x-sf-policy": kind},
        }
        return base | options

    def calls(self) -> int:
        """How many calls the log has."""
        return len(self.stack.rows())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {}
        for kind in KINDS:
            mocks[kind] = running.enter_context(RunningMock(kind))
            config.provider(kind, kind, mocks[kind].url)
            config.policy(kind, [kind])
        config.policy("nobody", required_tier="sealed")
        config.model("chat", KINDS)
        config.model("embed", KINDS, capabilities=("embeddings",))
        config.model(DEEP, KINDS)
        for deployment in config.deployments:
            deployment["id"] = deployment["id"].replace("@", "-")
        yield World(running.enter_context(Stack(config)), mocks)


@pytest.fixture(autouse=True)
def tidy(world: World) -> Iterator[None]:
    """Each test begins without faults and without what the last one left open."""
    yield
    while world.clients:
        world.clients.pop().close()
    for mock in world.mocks.values():
        mock.clear()


def attestation_of(value: Any) -> dict[str, Any]:
    """The extra member as the SDK's models keep it."""
    found = (value.model_extra or {}).get("_sf_attestation")
    assert isinstance(found, dict), value
    return found


def check(world: World, kind: str, attestation: dict[str, Any]) -> None:
    """The attestation is the one of the call's entry."""
    row = world.stack.row(attestation["route_decision_id"])
    assert row.index == attestation["rekor_index"]
    assert (row.predicate["provider"], attestation["provider_id"]) == (kind, kind)


every_kind = pytest.mark.parametrize("kind", KINDS)


# -- openai-python -------------------------------------------------------------------------------------------


@every_kind
def test_python_create(world: World, kind: str):
    """A completion, typed, with usage and the attestation as an extra."""
    made = world.client(kind).chat.completions.create(model="chat", messages=HELLO)
    assert made.choices[0].message.content == SAID
    assert (made.choices[0].finish_reason, made.model) == ("stop", "chat")
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made._request_id
    check(world, kind, attestation_of(made))


@every_kind
def test_python_stream(world: World, kind: str):
    """The loop of every tutorial: ``chunk.choices[0].delta`` on each chunk, and the attestation on one of them."""
    text, finish, found = "", [], []
    for chunk in world.client(kind).chat.completions.create(model="chat", messages=HELLO, stream=True):
        text += chunk.choices[0].delta.content or ""
        finish += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
        if "_sf_attestation" in (chunk.model_extra or {}):
            assert chunk.choices[0].finish_reason
            found.append(attestation_of(chunk))
    assert (text, finish) == (SAID, ["stop"])
    assert len(found) == 1
    check(world, kind, found[0])


@every_kind
def test_python_stream_with_usage(world: World, kind: str):
    """Case 27: with include_usage the last chunk has no choices and the usage, and no other has any."""
    chunks = list(
        world.client(kind).chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@every_kind
def test_python_stream_helper(world: World, kind: str):
    """``.stream()`` accumulates the chunks into a completion; the attestation is on its last chunk event."""
    with world.client(kind).chat.completions.stream(model="chat", messages=HELLO) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    assert deltas == final.choices[0].message.content == SAID
    chunks = [event.chunk for event in events if event.type == "chunk"]
    check(world, kind, attestation_of(chunks[-1]))


@every_kind
def test_python_parse(world: World, kind: str):
    """``.parse()`` sends a JSON schema and gets an instance."""

    class Person(BaseModel):
        name: str
        age: int

    parsed = world.client(kind).chat.completions.parse(model="chat", messages=HELLO, response_format=Person)
    assert isinstance(parsed.choices[0].message.parsed, Person)
    check(world, kind, attestation_of(parsed))


@every_kind
def test_python_tools(world: World, kind: str):
    """A tool call, whole and streamed, its result sent back, and an answer to it."""
    client = world.client(kind)
    asked = client.chat.completions.create(model="chat", messages=ASKING, tools=TOOLS)
    assert asked.choices[0].finish_reason == "tool_calls"
    calls = asked.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    arguments = json.loads(calls[0].function.arguments)
    assert set(arguments) == {"city"}
    history: list[Any] = [
        *ASKING,
        asked.choices[0].message,
        {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
    ]
    final = client.chat.completions.create(model="chat", messages=history, tools=TOOLS)
    assert "sunny" in (final.choices[0].message.content or "")
    with client.chat.completions.stream(model="chat", messages=ASKING, tools=TOOLS) as stream:
        streamed = stream.get_final_completion()
    again = streamed.choices[0].message.tool_calls
    assert again is not None
    assert json.loads(again[0].function.arguments) == arguments
    assert streamed.choices[0].finish_reason == "tool_calls"


@every_kind
def test_python_async(world: World, kind: str):
    """The asynchronous client, whole and streamed, many at a time on one connection pool."""

    async def run() -> list[str]:
        async with world.aclient(kind) as client:

            async def whole() -> str:
                made: ChatCompletion = await client.chat.completions.create(model="chat", messages=HELLO)
                attestation_of(made)
                return made.choices[0].message.content or ""

            async def streamed() -> str:
                text = ""
                async for chunk in await client.chat.completions.create(
                    model="chat", messages=HELLO, stream=True
                ):
                    text += chunk.choices[0].delta.content or ""
                return text

            return list(await asyncio.gather(*(each() for _ in range(8) for each in (whole, streamed))))

    assert asyncio.run(run()) == [SAID] * 16


def test_python_raw_responses(world: World):
    """Raw and streaming responses show the headers of the decision and the bytes as they are."""
    client = world.client()
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
    assert raw.headers["x-sf-provider"] == "openai"
    assert raw.headers["x-sf-policy"] == "openai"
    assert raw.headers["x-sf-rekor-index"] == str(attestation_of(raw.parse())["rekor_index"])
    with client.chat.completions.with_streaming_response.create(
        model="chat", messages=HELLO, stream=True
    ) as response:
        lines = list(response.iter_lines())
    assert response.headers["x-sf-decision-id"]
    done = lines.index("data: [DONE]")
    assert lines[done + 1 : done + 3] == ["", "event: sf_attestation"]
    closing = json.loads(lines[done + 3].removeprefix("data: "))
    assert closing["choices"] == []
    assert closing["_sf_attestation"]["route_decision_id"] == response.headers["x-sf-decision-id"]


@every_kind
def test_python_embeddings(world: World, kind: str):
    """Floats, and base64 as the SDK asks by default: the same vectors."""
    client = world.client(kind)
    packed = client.embeddings.create(model="embed", input=["a", "b"])
    floats = client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert [len(each.embedding) for each in packed.data] == [len(each.embedding) for each in floats.data]
    for one, other in zip(packed.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-5, abs=1e-6)
    assert floats.model == "embed"
    check(world, kind, attestation_of(floats))


def test_python_models(world: World):
    """Models are listed and found, also those with slashes, colons and at signs."""
    client = world.client()
    assert [model.id for model in client.models.list()] == ["chat", "embed", DEEP]
    assert client.models.retrieve(DEEP).id == DEEP
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ({"model": "no-such"}, openai.NotFoundError, "model_not_found"),
        ({"model": "chat", "extra_headers": {"x-sf-policy": "secret"}}, openai.PermissionDeniedError,
         "policy_not_allowed"),
        ({"model": "chat", "extra_headers": {"x-sf-policy": "nobody"}}, openai.PermissionDeniedError,
         "no_eligible_deployment"),
        ({"model": "chat", "messages": []}, openai.BadRequestError, None),
        ({"model": "chat", "messages": [{"role": "robot", "content": "x"}]}, openai.BadRequestError, "invalid_value"),
        ({"model": "chat", "extra_headers": {"authorization": "Bearer sk-router-nope"}},
         openai.AuthenticationError, "invalid_api_key"),
    ],
)  # fmt: skip
def test_python_denials(
    world: World, options: dict[str, Any], kind: type[openai.APIStatusError], code: str | None
):
    """A denial raises the SDK's own exception with code and request id, after one attempt."""
    before = world.calls()
    with pytest.raises(kind) as caught:
        world.client().chat.completions.create(**({"messages": HELLO} | options))
    assert caught.value.code == code
    assert caught.value.request_id
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["x-sf-decision-id"]
    known = kind is not openai.AuthenticationError
    assert world.calls() - before == (1 if known else 0)
    assert not any(mock.requests() for mock in world.mocks.values())


def test_python_retries(world: World):
    """A 503 is retried by the SDK and each try has its entry; ``max_retries`` decides how often."""
    world.mocks["vllm"].fault(Fault(status=503, retry_after=1))
    before = world.calls()
    with pytest.raises(openai.InternalServerError) as caught:
        world.client("vllm", max_retries=1).chat.completions.create(model="chat", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "true"
    assert world.calls() - before == 2
    world.mocks["vllm"].clear()


def test_python_recovers(world: World):
    """One failure, then an answer: the SDK's retry is all it takes."""
    world.mocks["mock"].fault(Fault(status=500), times=1)
    made = world.client("mock", max_retries=1).chat.completions.create(model="chat", messages=HELLO)
    assert made.choices[0].message.content == SAID


@pytest.mark.parametrize(
    "fault", [Fault(pace_ms=30, error_event=ErrorEvent(after=2)), Fault(pace_ms=30, cut=Cut(after_events=2))]
)
def test_python_broken_streams(world: World, fault: Fault):
    """A stream that breaks off after text raises; it never looks complete."""
    world.mocks["openai"].fault(fault)
    text, finish = "", []
    with pytest.raises(openai.APIError):  # noqa: PT012 - the loop is what raises
        for chunk in world.client().chat.completions.create(model="chat", messages=HELLO, stream=True):
            text += chunk.choices[0].delta.content or ""
            finish.append(chunk.choices[0].finish_reason)
    assert SAID.startswith(text)
    assert text
    assert not any(finish)


# -- JavaScript ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["openai.create", "ai.generate"])
@every_kind
def test_javascript_whole(world: World, kind: str, scenario: str):
    """openai-node and the Vercel AI SDK get a completion."""
    seen = javascript(world.stack, scenario, **{"x-sf-policy": kind})["result"]
    assert seen["text"] == SAID
    if scenario == "openai.create":
        check(world, kind, seen["attestation"])
        assert seen["request_id"]
    else:
        assert seen["finish"] == "stop"


@every_kind
def test_javascript_stream(world: World, kind: str):
    """openai-node's naive loop: choices on every chunk, the attestation on the finish chunk."""
    seen = javascript(world.stack, "openai.stream", **{"x-sf-policy": kind})["result"]
    assert (seen["text"], seen["finish"]) == (SAID, ["stop"])
    check(world, kind, seen["attestation"])
    tools = javascript(world.stack, "openai.stream.tools", **{"x-sf-policy": kind})["result"]
    assert set(json.loads(tools["arguments"])) == {"city"}
    assert tools["finish"] == ["tool_calls"]


@every_kind
def test_javascript_ai_stream(world: World, kind: str):
    """The Vercel AI SDK, which parses past [DONE], streams without a complaint."""
    seen = javascript(world.stack, "ai.stream", **{"x-sf-policy": kind})["result"]
    assert (seen["text"], seen["finish"], seen["errors"]) == (SAID, "stop", [])
    assert seen["usage"]["totalTokens"] > 0


def test_javascript_helpers(world: World):
    """openai-node's ``.stream()``, ``.parse()``, usage, embeddings and models."""
    helped = javascript(world.stack, "openai.stream.helper")["result"]
    assert (helped["deltas"], helped["text"], helped["finish"]) == (SAID, SAID, "stop")
    parsed = javascript(world.stack, "openai.parse")["result"]
    assert set(parsed["parsed"]) == {"city", "people"}
    check(world, "openai", parsed["attestation"])
    usage = javascript(world.stack, "openai.stream.usage")["result"]
    assert [each["choices"] for each in usage["usage"]] == [0]
    assert usage["text"] == SAID
    made = javascript(world.stack, "openai.embeddings")["result"]
    for one, other in zip(made["floats"], made["packed"], strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    models = javascript(world.stack, "openai.models")["result"]
    assert models["listed"] == ["chat", "embed", DEEP]
    assert models["one"]["id"] == DEEP


def test_javascript_errors(world: World):
    """openai-node raises its own classes with code and request id, after one attempt."""
    before = world.calls()
    raised = javascript(world.stack, "openai.create", **{"x-sf-policy": "nobody"})
    assert (raised["raised"], raised["status"], raised["code"]) == (
        "PermissionDeniedError",
        403,
        "no_eligible_deployment",
    )
    assert raised["request_id"]
    assert world.calls() - before == 1
    raised = javascript(world.stack, "openai.stream", key="sk-router-nope")
    assert (raised["raised"], raised["code"]) == ("AuthenticationError", "invalid_api_key")
    world.mocks["openai"].fault(Fault(pace_ms=30, error_event=ErrorEvent(after=2)))
    raised = javascript(world.stack, "openai.stream")
    assert raised["raised"] == "APIError"

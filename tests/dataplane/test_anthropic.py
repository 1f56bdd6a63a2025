"""Anthropic, and Claude on Vertex, through real Envoy: what arrives there, what clients see, faults and the walk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest
from failing import assert_broken
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

SONNET = "claude-sonnet-4-5"
OLDER = "claude-sonnet-4-20250514"
OPUS = "claude-opus-4-6"
KEY = "sk-ant-api03-0123456789abcdef"
TOKEN = "ya29.0123456789abcdef"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    for name in ("look", "ask")
]
FORM: Any = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": TOOLS[0]["function"]["parameters"]},
}

WALKS: dict[str, tuple[Fault, str]] = {
    "overloaded": (Fault(status=529), "status_529"),
    "rate-limited": (Fault(status=429), "status_429"),
    "failing": (Fault(status=500), "status_500"),
    "denied": (Fault(status=401), "status_401"),
    "unpaid": (Fault(status=402), "status_402"),
    "no-credit": (Fault(status=400, error_message="Your credit balance is too low to access the API."), "status_400"),
    "overloaded-first": (Fault(error_event=ErrorEvent(status=529)), "error_event"),
    "overloaded-before-content": (Fault(error_event=ErrorEvent(after=0, status=529)), "error_event"),
    "nothing": (Fault(empty=True), "cut"),
    "no-end": (Fault(end="before_finish", tokens=0), "cut"),
}  # fmt: skip
BREAKS: dict[str, tuple[Fault, str, str]] = {
    "overloaded": (
        Fault(tokens=5, pace_ms=50, error_event=ErrorEvent(after=2, status=529)), "error_event", "overloaded",
    ),
    "cut": (Fault(tokens=5, pace_ms=50, end="before_done"), "cut", "bad_provider_response"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cloud() -> Iterator[Gateway]:
    """``claude`` is Anthropic, ``google`` Vertex, ``spare`` OpenAI. ``walked-…`` are served by ``claude``, then
    ``spare``; the others by one alone."""
    config = ConfigFile()
    with ExitStack() as running:
        kinds = {"claude": "anthropic", "google": "vertex", "spare": "openai"}
        mocks = {name: running.enter_context(RunningMock(kind)) for name, kind in kinds.items()}
        config.provider("claude", "anthropic", mocks["claude"].url, secret=KEY)
        place = {"google": {"project": "ward-7", "location": "eu"}}
        config.provider("google", "vertex", mocks["google"].url, secret=TOKEN, **place)
        config.provider("spare", "openai", mocks["spare"].url)
        config.policy("chain", list(kinds))
        for name, upstream in (("sonnet", SONNET), ("older", OLDER), ("opus", OPUS)):
            config.model(name, ["claude"], upstream=upstream)
        config.model("on-vertex", ["google"], upstream="claude-opus-4-6@default")
        config.model("either", ["claude", "spare"], upstream=SONNET)
        for name in WALKS:  # a model each, because a failure cools its deployment down
            for stream in (False, True):
                config.model(walked(name, stream=stream), ["claude", "spare"], upstream=SONNET)
        for name in BREAKS:
            config.model(f"broken-{name}", ["claude", "spare"], upstream=SONNET)
        yield Gateway(running.enter_context(Stack(config)), mocks)


def walked(name: str, *, stream: bool) -> str:
    return f"walked-{name}-{'stream' if stream else 'json'}"


@pytest.fixture
def faulty(cloud: Gateway) -> Iterator[Gateway]:
    """For tests that arm faults."""
    yield cloud
    cloud.mocks["claude"].clear()


def client(cloud: Gateway) -> openai.OpenAI:
    url = f"http://127.0.0.1:{cloud.stack.port}/v1"
    return openai.OpenAI(base_url=url, api_key=cloud.stack.config.key, max_retries=0)


def user(words: str) -> list[Any]:
    return [{"role": "user", "content": words}]


def last(cloud: Gateway, mock: str = "claude") -> Recorded:
    return cloud.mocks[mock].requests()[-1]


def sent(cloud: Gateway, mock: str = "claude") -> Any:
    """The body of the last request that arrived."""
    body = last(cloud, mock).body
    assert body is not None
    return json.loads(body)


def test_what_arrives(cloud: Gateway):
    """The path, the key in its header and nothing of the client's, a body of known length."""
    client(cloud).chat.completions.create(model="sonnet", messages=user("hi"), max_tokens=50)
    arrived = last(cloud)
    assert (arrived.method, arrived.target) == ("POST", "/v1/messages")
    assert arrived.header("x-api-key") == KEY
    assert arrived.header("anthropic-version") == "2023-06-01"
    assert arrived.header("authorization") is None
    assert (arrived.chunked, arrived.header("content-length")) == (False, str(arrived.body_length))
    assert not any(name.startswith("x-stainless") for name, _ in arrived.headers)
    assert sent(cloud) == {
        "model": SONNET,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


def test_json_and_stream_are_alike(cloud: Gateway):
    """openai-python reads the same of both; usage adds up and comes where it is asked for; the entry has it."""
    ask: dict[str, Any] = {"model": "sonnet", "messages": user("Grüße aus 北京 🌍")}
    whole = client(cloud).chat.completions.create(**ask)
    assert whole.choices[0].message.content == "You said: Grüße aus 北京 🌍"
    assert (whole.choices[0].finish_reason, whole.model) == ("stop", "sonnet")
    chunks = list(
        client(cloud).chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert whole.usage is not None
    assert [one.total_tokens for one in usages] == [whole.usage.total_tokens]
    row = cloud.stack.row_of(cloud.stack.chat("sonnet", stream=True, messages=ask["messages"]))
    assert row.predicate["prompt_tokens"] == whole.usage.prompt_tokens


def test_tools_go_round(cloud: Gateway):
    """Cases 12 and 20: two calls in a stream have their indices, fragments and ids; their results are taken back."""
    messages = user("first say something, then call two tools")
    with client(cloud).chat.completions.stream(model="sonnet", messages=messages, tools=TOOLS) as stream:
        made = stream.get_final_completion().choices[0]
    assert made.finish_reason == "tool_calls"
    assert made.message.content == "Let me look."
    assert made.message.tool_calls is not None
    assert [call.function.name for call in made.message.tool_calls] == ["look", "ask"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result of {call.function.name}"}
        for call in reversed(made.message.tool_calls)
    ]
    again = [*messages, made.message.to_dict(), *results]
    answer = client(cloud).chat.completions.create(model="sonnet", messages=again, tools=TOOLS)
    assert "result of look result of ask" in (answer.choices[0].message.content or "")


@pytest.mark.parametrize("model", ["sonnet", "older"])
@pytest.mark.parametrize("stream", [False, True])
def test_structured_output(cloud: Gateway, model: str, stream: bool):
    """A model that keeps to schemas and one that is made to by a tool: the same to the client."""
    reply = cloud.stack.chat(model, stream=stream, messages=user("hi"), response_format=FORM)
    assert reply.status == 200
    assert isinstance(json.loads(reply.text)["city"], str)
    assert "tool_calls" not in reply.body.decode()
    assert ("output_config" in sent(cloud)) == (model == "sonnet")


def test_thinking_goes_round(cloud: Gateway):
    """Signed thinking comes as ``extra_content`` and goes back to where it was."""
    asked: dict[str, Any] = {"model": "opus", "tools": TOOLS, "reasoning_effort": "high"}
    messages = user("call a tool")
    made = client(cloud).chat.completions.create(**asked, messages=messages).choices[0].message.to_dict()
    assert made["reasoning_content"] == "Let me think."
    calls: Any = made["tool_calls"]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "rain"}
    client(cloud).chat.completions.create(**asked, messages=[*messages, made, result])
    thinking, call = sent(cloud)["messages"][1]["content"]
    assert (thinking["type"], thinking["thinking"], call["type"]) == ("thinking", "Let me think.", "tool_use")
    assert thinking["signature"]


def test_dropped_parameters_are_named(cloud: Gateway):
    """In a header, JSON and streamed; what is refused is told by name, and another provider is asked first."""
    for stream in (False, True):
        reply = cloud.stack.chat(
            "sonnet", stream=stream, messages=user("hi"), seed=5, store=True, temperature=0.5
        )
        assert (reply.status, reply.headers["x-sf-dropped-parameters"]) == (200, "seed, store")
    reply = cloud.stack.chat("sonnet", messages=user("hi"), n=2)
    assert (reply.status, reply.error["param"]) == (400, "n")
    reply = cloud.stack.chat("either", messages=user("hi"), n=2)
    assert (reply.status, cloud.stack.row_of(reply).outcomes) == (200, ["refused", "ok"])


@pytest.mark.parametrize(
    ("name", "stream"),
    [(name, stream) for name in WALKS for stream in (False, True) if stream or name != "no-end"],
)
def test_faults_before_content_walk(faulty: Gateway, name: str, stream: bool):
    """Cases 22 and 23: an error status, an error event before any content, a stream of nothing: the client sees the
    next provider's answer and nothing of it."""
    fault, outcome = WALKS[name]
    faulty.mocks["claude"].fault(fault, times=1)
    reply = faulty.stack.chat(walked(name, stream=stream), stream=stream, messages=user("hi"))
    assert reply.status == 200
    assert reply.text == "You said: hi"
    expected = "invalid_json" if name == "nothing" and not stream else outcome
    assert faulty.stack.row_of(reply).outcomes == [expected, "ok"]
    assert KEY not in reply.body.decode()


@pytest.mark.parametrize("name", BREAKS)
def test_faults_after_content_break(faulty: Gateway, name: str):
    """Cases 22 and 24: an error event, no finish and no ``[DONE]``; nobody else is asked."""
    assert_broken(faulty, "claude", f"broken-{name}", *BREAKS[name])


def test_a_cut_connection(faulty: Gateway):
    """A reset in the middle is no end either."""
    faulty.mocks["claude"].fault(Fault(tokens=5, pace_ms=50, cut=Cut(after_events=2)), times=1)
    reply = faulty.stack.chat("sonnet", stream=True, messages=user("hi"))
    assert (reply.finish_reasons, reply.done) == ([], False)


def test_the_caller_s_mistake(faulty: Gateway):
    """Anthropic's 400 is told once, in OpenAI's words, and nobody else is asked."""
    fault = Fault(status=400, error_message="prompt is too long: 210000 tokens > 200000 maximum")
    faulty.mocks["claude"].fault(fault, times=1)
    reply = faulty.stack.chat("either", messages=user("hi"))
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert faulty.stack.row_of(reply).outcomes == ["status_400"]


@pytest.mark.parametrize("stream", [False, True])
def test_on_vertex(cloud: Gateway, stream: bool):
    """Claude on Vertex: the model in the path, Google's token, no chunked body (which it refuses), the same answer."""
    reply = cloud.stack.chat("on-vertex", stream=stream, messages=user("hi" * 20_000), max_tokens=5)
    assert reply.status == 200, reply.body
    arrived = last(cloud, "google")
    method = "streamRawPredict" if stream else "rawPredict"
    assert (
        arrived.target
        == f"/v1/projects/ward-7/locations/eu/publishers/anthropic/models/claude-opus-4-6@default:{method}"
    )
    assert arrived.header("authorization") == f"Bearer {TOKEN}"
    assert (arrived.chunked, arrived.header("content-length")) == (False, str(arrived.body_length))
    body = sent(cloud, "google")
    assert (body["anthropic_version"], "model" in body) == ("vertex-2023-10-16", False)

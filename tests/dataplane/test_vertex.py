"""Vertex AI through real Envoy: paths with a colon, Gemini's streams, faults, Claude, as OpenAI's clients see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import openai
import pytest
from failing import assert_broken, assert_walked
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.splice import strip_sse

pytestmark = pytest.mark.dataplane

TOKEN = "ya29.a-token-of-the-ward"
PLACE = {"project": "ward-7", "location": "eu"}
GEMINI, GEMINI_3 = "gemini-2.5-flash", "gemini-3.5-flash"
CLAUDE = "claude-sonnet-5@20260101"
ABOVE = "/v1/projects/ward-7/locations/eu/publishers"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
_NUMBERS = count()

WALKS: dict[str, tuple[Fault, str]] = {
    "limited": (Fault(status=429), "status_429"),
    "overloaded": (Fault(status=503), "status_503"),
    "denied": (Fault(status=403), "status_403"),
    "token-expired": (Fault(status=401), "status_401"),
    "error-first": (Fault(error_event=ErrorEvent(status=429)), "error_event"),
    "error-before-content": (Fault(error_event=ErrorEvent(after=0, status=503)), "error_event"),
    "error-as-data": (Fault(error_event=ErrorEvent(after=0, status=503, as_data=True)), "error_event"),
    "malformed-call": (Fault(tokens=0, finish_reason="MALFORMED_FUNCTION_CALL"), "malformed_answer"),
    "nothing": (Fault(empty=True), "cut"),
}
BREAKS: dict[str, tuple[Fault, str, str]] = {
    "error": (
        Fault(tokens=5, pace_ms=50, error_event=ErrorEvent(after=2, status=429)), "error_event", "rate_limit_exceeded",
    ),
    "no-finish": (Fault(tokens=5, pace_ms=50, end="before_finish"), "cut", "bad_provider_response"),
    "odd-finish": (
        Fault(tokens=5, pace_ms=50, finish_reason="UNEXPECTED_TOOL_CALL"), "malformed_answer", "bad_provider_response",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cloud() -> Iterator[Gateway]:
    """``google`` is Vertex, ``spare`` OpenAI. ``gemini``, ``gemini-3``, ``claude`` and the embeddings are served by the
    first alone, ``walked-…`` by both in turn."""
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {"google": running.enter_context(RunningMock("vertex"))}
        mocks["spare"] = running.enter_context(RunningMock("openai"))
        config.provider("google", "vertex", mocks["google"].url, secret=TOKEN, google=PLACE)
        config.provider("spare", "openai", mocks["spare"].url)
        config.policy("chain", ["google", "spare"])
        for name, upstream in (("gemini", GEMINI), ("gemini-3", GEMINI_3), ("claude", CLAUDE)):
            config.model(name, ["google"], upstream=upstream)
        for name in WALKS:  # a model each, because a failure cools its deployment down
            config.model(f"walked-{name}", ["google", "spare"], upstream=GEMINI)
        config.model("patient", ["google", "spare"], upstream=GEMINI)
        for name in BREAKS:
            config.model(f"broken-{name}", ["google"], upstream=GEMINI)
        for name in ("text-embedding-005", "gemini-embedding-001"):
            config.model(name, ["google"], upstream=name, capabilities=("embeddings",))
        yield Gateway(running.enter_context(Stack(config)), mocks)


@pytest.fixture
def faulty(cloud: Gateway) -> Iterator[Gateway]:
    """For tests that arm faults."""
    yield cloud
    cloud.mocks["google"].clear()


@pytest.fixture(scope="module")
def client(cloud: Gateway) -> Iterator[openai.OpenAI]:
    """The SDK as its users have it, without its own retries."""
    url, key = f"http://127.0.0.1:{cloud.stack.port}/v1", cloud.stack.config.key
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as sdk:
        yield sdk


def user(words: str) -> list[Any]:
    """A message that is like no other."""
    return [{"role": "user", "content": f"{words} ({next(_NUMBERS)})"}]


def last(cloud: Gateway) -> Recorded:
    return cloud.mocks["google"].requests()[-1]


# -- where it goes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "stream", "target"),
    [
        ("gemini", False, f"{ABOVE}/google/models/{GEMINI}:generateContent"),
        ("gemini", True, f"{ABOVE}/google/models/{GEMINI}:streamGenerateContent?alt=sse"),
        ("claude", False, f"{ABOVE}/anthropic/models/{CLAUDE}:rawPredict"),
        ("claude", True, f"{ABOVE}/anthropic/models/{CLAUDE}:streamRawPredict"),
    ],
)
def test_paths(cloud: Gateway, model: str, stream: bool, target: str):
    """Envoy passes the colon, the ``@`` and the query on as they were sent, the token as bearer, and a body whose
    length is known: Claude on Vertex refuses chunked ones."""
    messages = user("naïve 北京 🌍")
    reply = cloud.stack.chat(model, stream=stream, messages=messages)
    assert (reply.status, reply.text) == (200, f"You said: {messages[0]['content']}")
    found = last(cloud)
    assert found.target == target
    assert found.header("authorization") == f"Bearer {TOKEN}"
    assert found.header("transfer-encoding") is None
    assert found.header("content-length") == str(len(found.body or b""))
    assert cloud.stack.config.key not in "\n".join(value for _, value in found.headers)


# -- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gemini", "gemini-3", "claude"])
def test_json_and_stream_agree(client: openai.OpenAI, model: str):
    """The SDK gets the same text both ways, the call's own model name, and usage that adds up."""
    asked: Any = {"model": model, "messages": user("one two 北京"), "reasoning_effort": "low"}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content == f"You said: {asked['messages'][0]['content']}"
    assert {chunk.model for chunk in chunks} == {whole.model} == {model}
    assert len({chunk.id for chunk in chunks}) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert whole.usage is not None
    assert [usage.total_tokens for usage in usages] == [whole.usage.total_tokens]
    if model != "claude":
        thought = "".join(
            (choice.delta.model_extra or {}).get("reasoning_content", "")
            for chunk in chunks
            for choice in chunk.choices
        )
        assert thought == (whole.choices[0].message.model_extra or {})["reasoning_content"] == "Let me think."
        assert whole.usage.completion_tokens_details is not None
        assert whole.usage.completion_tokens_details.reasoning_tokens == 3


def test_stream_is_recorded(cloud: Gateway):
    """The delivered bytes are those of the record, whose usage is known although the client did not ask."""
    reply = cloud.stack.chat("gemini", stream=True, messages=user("one two three"))
    assert reply.done
    assert all("usage" not in chunk for chunk in reply.chunks)
    row = cloud.stack.row_of(reply)
    assert row.outcomes == ["ok"]
    assert row.predicate["completion_tokens"] > 0
    assert row.commits_to("delivered-response", strip_sse(reply.body))
    assert row.commits_to("sent-request", last(cloud).body or b"")


@pytest.mark.parametrize("model", ["gemini", "gemini-3", "claude"])
def test_tools(cloud: Gateway, client: openai.OpenAI, model: str):
    """Parallel calls of one function, streamed, and the turn after them: what was given along goes back as it came."""
    asked: Any = {"model": model, "tools": TOOLS}
    messages = user("two tools")
    with client.chat.completions.stream(**asked, messages=messages) as stream:
        done = stream.get_final_completion().choices[0]
    assert done.finish_reason == "tool_calls"
    calls = done.message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "example"}] * 2
    assert len({call.id for call in calls}) == 2
    told = done.message.model_dump(exclude_none=True)
    for call in told["tool_calls"]:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in reversed(calls)]
    after = client.chat.completions.create(**asked, messages=[*messages, told, *results])
    assert after.choices[0].finish_reason == "stop"
    sent = json.loads(last(cloud).body or b"")
    if model == "gemini-3":
        first, second = sent["contents"][1]["parts"]
        assert first["thoughtSignature"] == "bW9jayB0aG91Z2h0IHNpZ25hdHVyZQ=="
        assert "thoughtSignature" not in second
        assert [part["functionResponse"]["id"] for part in sent["contents"][2]["parts"]] == [
            call.id for call in calls
        ]


def test_history_of_another_provider(cloud: Gateway):
    """Gemini 3 takes calls that it did not make: the mock refuses those without any signature, as Google does."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    history = [
        *user("look"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    assert cloud.stack.chat("gemini-3", messages=history, tools=TOOLS).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(cloud: Gateway, stream: bool):
    """``n`` is ``candidateCount``; a stream is complete with the last choice's end."""
    messages = user("hello")
    reply = cloud.stack.chat("gemini", stream=stream, messages=messages, n=2)
    said = f"You said: {messages[0]['content']}"
    if stream:
        texts = ["", ""]
        for chunk in reply.chunks:
            for choice in chunk["choices"]:
                texts[choice["index"]] += choice["delta"].get("content") or ""
        assert reply.done
        assert reply.finish_reasons == ["stop", "stop"]
    else:
        texts = [choice["message"]["content"] for choice in reply.json["choices"]]
    assert texts == [said, f"{said} (2)"]
    assert cloud.stack.row_of(reply).outcomes == ["ok"]


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output(cloud: Gateway, stream: bool):
    reply = cloud.stack.chat("gemini", stream=stream, messages=user("where?"), response_format=FORM)
    assert json.loads(reply.text) == {"city": "example"}
    assert json.loads(last(cloud).body or b"")["generationConfig"]["responseJsonSchema"] == SCHEMA


@pytest.mark.parametrize(
    ("model", "words", "method"),
    [
        ("text-embedding-005", ["one", "two"], "predict"),
        ("gemini-embedding-001", ["one", "two"], "batchEmbedContents"),
        ("gemini-embedding-001", "one", "embedContent"),
    ],
)
def test_embeddings(cloud: Gateway, client: openai.OpenAI, model: str, words: Any, method: str):
    """Base64, as the SDK asks by default, metered."""
    made = client.embeddings.create(model=model, input=words, dimensions=64)
    assert [len(each.embedding) for each in made.data] == [64] * (1 if isinstance(words, str) else 2)
    assert made.usage.prompt_tokens > 0
    assert last(cloud).target == f"{ABOVE}/google/models/{model}:{method}"


def test_what_is_dropped_and_refused(cloud: Gateway):
    """Dropped parameters are named in a header; refused ones in a 400, which never reaches Google."""
    reply = cloud.stack.chat("gemini", messages=user("hello"), store=True, parallel_tool_calls=False)
    assert reply.headers["x-sf-dropped-parameters"] == "store, parallel_tool_calls"
    before = len(cloud.mocks["google"].requests())
    reply = cloud.stack.chat("gemini", messages=user("hello"), logit_bias={"1": 1})
    assert (reply.status, reply.error["param"]) == (400, "logit_bias")
    assert len(cloud.mocks["google"].requests()) == before


# -- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WALKS)
def test_walks(faulty: Gateway, name: str):
    """Before content every failure is another provider's turn, and the client sees nothing of it."""
    assert_walked(faulty, "google", f"walked-{name}", *WALKS[name])


@pytest.mark.parametrize("name", BREAKS)
def test_breaks(faulty: Gateway, name: str):
    """Cases 7 and 24: after content it is one error event, without finish chunk and ``[DONE]``."""
    assert_broken(faulty, "google", f"broken-{name}", *BREAKS[name])


def test_the_caller_s_mistake(faulty: Gateway):
    """INVALID_ARGUMENT is a 400 with its words, also where Google puts it into an array."""
    faulty.mocks["google"].fault(Fault(status=400, error_message="top_k is odd"), times=2)
    for stream in (False, True):
        reply = faulty.stack.chat("gemini", stream=stream, messages=user("hello"))
        assert (reply.status, reply.error["message"]) == (400, "top_k is odd")


@pytest.mark.parametrize("size", [1, 3, 40])
def test_cut_into_packets(faulty: Gateway, size: int):
    """However the events are cut into packets, the client gets the same text."""
    faulty.mocks["google"].fault(Fault(write_size=size), times=1)
    messages = user("naïve 北京 🌍")
    reply = faulty.stack.chat("gemini", stream=True, messages=messages)
    assert reply.done
    assert reply.text == f"You said: {messages[0]['content']}"


def test_gzip(faulty: Gateway):
    """Case 39: a compressed answer is read, and passed on as it is."""
    faulty.mocks["google"].fault(Fault(gzip=True), times=2)
    for stream in (False, True):
        messages = user("hello")
        reply = faulty.stack.chat("gemini", stream=stream, messages=messages)
        assert reply.text == f"You said: {messages[0]['content']}"
        assert "content-encoding" not in reply.headers


def test_connection_breaks(faulty: Gateway):
    """Case 24: a reset in the middle never looks like an end."""
    fault = Fault(tokens=5, pace_ms=50, cut=Cut(after_events=2))
    faulty.mocks["google"].fault(fault, times=1)
    reply = faulty.stack.chat("gemini", stream=True, messages=user("hello"))
    assert not reply.done
    assert reply.finish_reasons == []


def test_the_wait_that_an_error_s_body_asks_for(faulty: Gateway):
    """Google says in the body when to come back; until then the deployment is left alone."""
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}
    error = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [detail]}}
    faulty.mocks["google"].fault(Fault(status=429, body=json.dumps(error)), model=GEMINI)
    reply = faulty.stack.chat("patient", messages=user("patiently"))
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "spare")
    assert faulty.stack.row_of(reply).outcomes == ["status_429", "ok"]
    (shown,) = [
        deployment["health"]
        for provider in faulty.stack.management("/sf/v1/providers")["providers"]
        for deployment in provider["deployments"]
        if deployment["name"].endswith("/patient.google")
    ]
    assert shown["state"] == "COOLING"
    assert 30 < shown["retry_in_s"] <= 37.5

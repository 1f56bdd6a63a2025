"""Bedrock through real Envoy: paths, signatures, event streams, faults, as OpenAI's clients see them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from typing import Any

import judging
import openai
import pytest
import wire
from failing import assert_broken, assert_walked
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import ErrorEvent, Fault, Frame
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.splice import strip_sse

pytestmark = pytest.mark.dataplane

SONNET = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
REGION = "eu-central-1"
KEYS = {
    "access_key_id": "AKIAEXAMPLE",
    "secret_access_key": "s3cr3t+of/aws",
    "session_token": "session+token/=",
}
BEARER = "bedrock-api-key-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
_NUMBERS = count()

WALKS: dict[str, tuple[Fault, str]] = {
    "throttled": (Fault(status=429), "status_429"),
    "overloaded": (Fault(status=503), "status_503"),
    "denied": (Fault(status=403), "status_403"),
    "quota": (Fault(status=400, error_type="ServiceQuotaExceededException"), "status_400"),
    "exception-first": (Fault(error_event=ErrorEvent(status=429)), "error_event"),
    "exception-before-content": (Fault(error_event=ErrorEvent(after=0, status=503)), "error_event"),
    "damaged-frame": (Fault(frame=Frame(event=0, damage="message_crc")), "bad_frame"),
    "nothing": (Fault(empty=True), "cut"),
}
BREAKS: dict[str, tuple[Fault, str, str]] = {
    "exception": (
        Fault(tokens=5, pace_ms=50, error_event=ErrorEvent(after=2, status=429)), "error_event", "rate_limit_exceeded",
    ),
    "damaged-frame": (
        Fault(tokens=5, pace_ms=50, frame=Frame(event=2, damage="prelude_crc")), "bad_frame", "bad_provider_response",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cloud() -> Iterator[Gateway]:
    """``signed`` and ``bearer`` are Bedrock, called with keys and with an API key; ``spare`` is OpenAI.

    ``model`` is served by the first alone, ``profile`` under an ARN, ``walked-…`` by ``signed``, then ``spare``.
    """
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock("bedrock")) for name in ("signed", "bearer")}
        mocks["spare"] = running.enter_context(RunningMock("openai"))
        for name, secret in (("signed", json.dumps(KEYS)), ("bearer", BEARER)):
            at = {"endpoint": mocks[name].url, "aws": {"region": REGION}}
            config.provider(name, "bedrock", "", secret=secret, **at)
        config.provider("spare", "openai", mocks["spare"].url)
        config.policy("chain", ["signed", "bearer", "spare"])
        config.model("model", ["signed"], upstream=SONNET)
        config.model("profile", ["signed"], upstream=PROFILE)
        config.model("bearer", ["bearer"], upstream=SONNET)
        for name in WALKS:  # a model each, because a failure cools its deployment down
            config.model(f"walked-{name}", ["signed", "spare"], upstream=SONNET)
        for name in BREAKS:
            config.model(f"broken-{name}", ["signed"], upstream=SONNET)
        config.model("embed", ["signed"], upstream=TITAN, capabilities=("embeddings",))
        yield Gateway(running.enter_context(Stack(config)), mocks)


@pytest.fixture
def faulty(cloud: Gateway) -> Iterator[Gateway]:
    """For tests that arm faults."""
    yield cloud
    cloud.mocks["signed"].clear()


def client(cloud: Gateway) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{cloud.stack.port}/v1", api_key=cloud.stack.config.key, max_retries=0
    )


def user(words: str) -> list[Any]:
    """A message that is like no other, so that no health window or cache of anybody can answer it."""
    return [{"role": "user", "content": f"{words} ({next(_NUMBERS)})"}]


def last(cloud: Gateway, mock: str = "signed") -> Recorded:
    return cloud.mocks[mock].requests()[-1]


# -- where it goes, and signed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("model", "eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0"),
        (
            "profile",
            PROFILE.replace(":", "%3A").replace("/", "%2F"),
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_signature_over_what_arrives(cloud: Gateway, model: str, segment: str, stream: bool):
    """Envoy passes ``%3A`` and ``%2F`` on as they are, and botocore finds the signature right over the path, the
    host and the body that arrived."""
    reply = cloud.stack.chat(model, stream=stream, messages=user("naïve 北京 🌍"))
    assert reply.status == 200
    found = last(cloud)
    assert found.target == f"/model/{segment}/{'converse-stream' if stream else 'converse'}"
    signed_at = found.header("x-amz-date")
    assert signed_at is not None
    now_s = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert abs(now_s - found.received_at) < 60
    assert found.body is not None
    with judging.aws() as aws:
        judged = aws.ask(
            "signature",
            method=found.method,
            url=f"https://{found.header('host')}{found.target}",
            headers=[[name, found.header(name)] for name in ("host", "content-type")],
            body=base64.b64encode(found.body).decode(),
            keys=[KEYS["access_key_id"], KEYS["secret_access_key"], KEYS["session_token"]],
            region=REGION,
            service="bedrock",
            now_s=now_s,
        )
    assert found.header("authorization") == judged["authorization"]
    assert found.header("x-amz-security-token") == KEYS["session_token"]
    sent = "\n".join(f"{name}: {value}" for name, value in found.headers) + found.body.decode()
    assert KEYS["secret_access_key"] not in sent
    assert cloud.stack.config.key not in sent


def test_each_attempt_is_signed_anew(cloud: Gateway):
    """Two calls with different bodies have different signatures."""
    for _ in range(2):
        cloud.stack.chat("model", messages=user("hello"))
    one, other = (found.header("authorization") for found in cloud.mocks["signed"].requests()[-2:])
    assert one != other


def test_api_key(cloud: Gateway):
    """A Bedrock API key goes as a bearer token, without a signature."""
    assert cloud.stack.chat("bearer").status == 200
    found = last(cloud, "bearer")
    assert found.header("authorization") == f"Bearer {BEARER}"
    assert found.header("x-amz-date") is None


# -- answers -------------------------------------------------------------------------------------------------


def test_json_and_stream_agree(cloud: Gateway):
    """The SDK gets the same text both ways, the call's own model name, and usage that adds up."""
    asked: Any = {"model": "model", "messages": user("naïve 北京 🌍")}
    whole = client(cloud).chat.completions.create(**asked)
    chunks = list(
        client(cloud).chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content == f"You said: {asked['messages'][0]['content']}"
    assert {chunk.model for chunk in chunks} == {whole.model} == {"model"}
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert whole.usage is not None
    assert [usage.total_tokens for usage in usages] == [whole.usage.total_tokens]
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_stream_is_recorded(cloud: Gateway):
    """The delivered bytes are those of the record, whose usage is known although the client did not ask."""
    reply = cloud.stack.chat("model", stream=True, messages=user("one two three"))
    assert reply.done
    assert all("usage" not in chunk for chunk in reply.chunks)
    row = cloud.stack.row_of(reply)
    assert row.outcomes == ["ok"]
    assert row.commits_to("delivered-response", strip_sse(reply.body))
    assert row.commits_to("sent-request", last(cloud).body or b"")


@pytest.mark.parametrize("stream", [False, True])
def test_tools(cloud: Gateway, stream: bool):
    """Parallel calls, and the turn after them with the results."""
    messages = user("two tools")
    reply = cloud.stack.chat("model", stream=stream, messages=messages, tools=TOOLS)
    calls: list[dict[str, Any]] = []
    if stream:
        for chunk in reply.chunks:
            for choice in chunk["choices"]:
                for part in choice["delta"].get("tool_calls") or ():
                    if "id" in part:
                        calls.append(part)
                    else:
                        calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
        assert reply.finish_reasons == ["tool_calls"]
        assert [each.pop("index") for each in calls] == [0, 1]
    else:
        calls = reply.json["choices"][0]["message"]["tool_calls"]
    assert [json.loads(each["function"]["arguments"]) for each in calls] == [{"city": "example"}] * 2
    results = [{"role": "tool", "tool_call_id": each["id"], "content": "rain"} for each in reversed(calls)]
    history = [*messages, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    after = cloud.stack.chat("model", stream=stream, messages=history, tools=TOOLS)
    assert after.status == 200
    without = cloud.stack.chat("model", stream=stream, messages=history)  # case 35
    assert without.status == 200
    assert b"toolConfig" not in (last(cloud).body or b"")


@pytest.mark.parametrize("stream", [False, True])
def test_imitated_schema(cloud: Gateway, stream: bool):
    """The forced tool's arguments are the content, finish stop, and the tool is not seen."""
    reply = cloud.stack.chat("model", stream=stream, messages=user("where?"), response_format=FORM)
    text = reply.text if stream else reply.json["choices"][0]["message"]["content"]
    assert json.loads(text) == {"city": "example"}
    reasons = reply.finish_reasons if stream else [reply.json["choices"][0]["finish_reason"]]
    assert reasons == ["stop"]
    assert b"sovereign_json_response" not in reply.body


def test_embeddings(cloud: Gateway):
    """Titan by InvokeModel, base64 as the SDK asks by default."""
    made = client(cloud).embeddings.create(model="embed", input="some words", dimensions=256)
    assert len(made.data[0].embedding) == 256
    assert made.usage.prompt_tokens > 0
    assert last(cloud).target == "/model/amazon.titan-embed-text-v2%3A0/invoke"


def test_what_is_dropped_and_refused(cloud: Gateway):
    """Dropped parameters are named in a header; refused ones in a 400, which never reaches Bedrock."""
    reply = cloud.stack.chat("model", messages=user("hello"), seed=7, store=True)
    assert reply.headers["x-sf-dropped-parameters"] == "seed, store"
    before = len(cloud.mocks["signed"].requests())
    reply = cloud.stack.chat("model", messages=user("hello"), logit_bias={"1": 1})
    assert (reply.status, reply.error["param"]) == (400, "logit_bias")
    url = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    reply = cloud.stack.chat("model", messages=[{"role": "user", "content": [url]}])
    assert (reply.status, reply.error["param"]) == (400, "messages[0].content[0].image_url.url")
    assert len(cloud.mocks["signed"].requests()) == before


# -- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WALKS)
def test_walks(faulty: Gateway, name: str):
    """Cases 11 and 22: before content every failure is another provider's turn, and the client sees nothing of it."""
    assert_walked(faulty, "signed", f"walked-{name}", *WALKS[name])


@pytest.mark.parametrize("name", BREAKS)
def test_breaks(faulty: Gateway, name: str):
    """After content it is an error event: no finish chunk, no ``[DONE]``, and nothing of what came behind it."""
    assert_broken(faulty, "signed", f"broken-{name}", *BREAKS[name])


def test_the_caller_s_mistake(faulty: Gateway):
    """A ValidationException is a 400 with its words."""
    fault = Fault(status=400, error_message="top_k is odd")
    faulty.mocks["signed"].fault(fault, times=1)
    reply = faulty.stack.chat("model", messages=user("hello"))
    assert (reply.status, reply.error["message"]) == (400, "top_k is odd")


@pytest.mark.parametrize("size", [1, 3, 40])
def test_cut_into_packets(faulty: Gateway, size: int):
    """However the frames are cut into packets, the client gets the same text."""
    faulty.mocks["signed"].fault(Fault(write_size=size), times=1)
    messages = user("naïve 北京 🌍")
    reply = faulty.stack.chat("model", stream=True, messages=messages)
    assert reply.done
    assert reply.text == f"You said: {messages[0]['content']}"


def test_wire_is_ours(cloud: Gateway):
    """What AWS says about itself does not reach the client."""
    reply: wire.Reply = cloud.stack.chat("model", messages=user("hello"))
    assert not [name for name in reply.headers if name.startswith("x-amzn")]

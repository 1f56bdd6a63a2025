"""What Bedrock answers, as OpenAI's clients get it: text, tools, ends, counts, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import (
    BEDROCK_START,
    CALL_ID,
    HOST,
    NOW_S,
    SECRET,
    bedrock_end,
    bedrock_event,
    bedrock_exception,
    bedrock_input,
    bedrock_text,
    bedrock_tool,
    chat,
    converse,
    frame,
    streamed,
    target_of,
    translate,
    translator,
)

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.mock.eventstream import damaged
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._reply import IMITATED
from sovereign_ext.providers.base import Fault, Part, StreamFault, Target, Usage
from sovereign_ext.providers.bedrock import BedrockAdapter

ADAPTER = BedrockAdapter()
TARGET = target_of(ProviderKind.BEDROCK)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]


@pytest.fixture(scope="module")
def aws() -> Iterator[judging.Aws]:
    with judging.aws() as judge:
        yield judge


def completed(body: bytes, request: Request | None = None) -> dict[str, Any]:
    """The translated JSON answer."""
    answer = ADAPTER.answer(request or chat(), TARGET, body, call_id=CALL_ID)
    parsed: dict[str, Any] = json.loads(answer.body)
    ChatCompletion.model_validate(parsed, strict=True)
    return parsed


def fault_of(stream: bytes, request: Request | None = None) -> tuple[list[Part], Fault]:
    """The parts before the fault, and the fault."""
    parts: list[Part] = []
    translating = translator(ADAPTER, request or streamed())
    try:
        parts.extend(item.part for item in translating.feed(stream))
    except StreamFault as fault:
        return parts, fault.fault
    raise AssertionError("no fault")


def gathered(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client adds a stream up to: message, finish reason, usage."""
    message: dict[str, Any] = {
        "content": "",
        "reasoning_content": "",
        "tool_calls": [],
        "function_call": None,
    }
    finish, usage = None, None
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or ():
                if "id" in call:
                    assert call["index"] == len(message["tool_calls"])
                    message["tool_calls"].append(json.loads(json.dumps(call)))
                else:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"][
                        "arguments"
                    ]
            if "function_call" in delta:
                before = message["function_call"] or {"arguments": ""}
                arguments = before["arguments"] + delta["function_call"]["arguments"]
                message["function_call"] = {**before, **delta["function_call"], "arguments": arguments}
    return {"message": message, "finish_reason": finish, "usage": usage}


def same(stream: bytes, body: bytes, **members: Any) -> dict[str, Any]:
    """What both the stream and the JSON answer say; fails if they differ."""
    done = translate(ADAPTER, streamed(usage=True, **members), [stream])
    assert done.terminal
    added = gathered(done.chunks)
    whole = completed(body, chat(**members))
    (choice,) = whole["choices"]
    message = choice["message"]
    assert added["finish_reason"] == choice["finish_reason"]
    assert added["usage"] == whole["usage"]
    assert added["message"]["content"] == (message["content"] or "")
    assert added["message"]["reasoning_content"] == (message.get("reasoning_content") or "")
    assert added["message"]["function_call"] == message.get("function_call")
    calls = message.get("tool_calls") or []
    assert [call["function"] for call in added["message"]["tool_calls"]] == [
        call["function"] for call in calls
    ]
    for found in (calls, added["message"]["tool_calls"]):
        assert all(call["id"] for call in found)
        assert len({call["id"] for call in found}) == len(calls)
    return {**choice, "usage": whole["usage"]}


# -- streams -------------------------------------------------------------------------------------------------


def test_order() -> None:
    """Text, then two tools: OpenAI's order, indices of their own, arguments as they come (cases 12, 13, 20)."""
    stream = b"".join([
        BEDROCK_START,
        bedrock_text("Let"),
        bedrock_event("contentBlockStop", contentBlockIndex=0),
        bedrock_tool("look", "tooluse_a", 1),
        bedrock_input('{"ci', 1),
        bedrock_input('ty":1}', 1),
        bedrock_event("contentBlockStop", contentBlockIndex=1),
        bedrock_tool("look", "tooluse_b", 2),
        bedrock_input("", 2),
        bedrock_input("{}", 2),
        bedrock_end("tool_use"),
    ])  # fmt: skip
    done = translate(ADAPTER, streamed(usage=True), [stream])
    begin = {"type": "function", "function": {"name": "look", "arguments": ""}}
    assert done.deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Let"},
        {"tool_calls": [{"index": 0, "id": "tooluse_a", **begin}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty":1}'}}]},
        {"tool_calls": [{"index": 1, "id": "tooluse_b", **begin}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert done.parts[-3:] == [Part.FINISH, Part.USAGE, Part.DONE]


def test_arguments_are_not_held() -> None:
    """Case 20: a fragment goes on as soon as its frame is whole."""
    stream = translator(ADAPTER, streamed())
    list(stream.feed(BEDROCK_START + bedrock_tool("look", "t")))
    (item,) = stream.feed(bedrock_input('{"a'))
    assert b'{\\"a' in item.data


def test_a_tool_without_arguments() -> None:
    """Case 14: no delta at all adds up to an empty object."""
    stream = BEDROCK_START + bedrock_tool("look", "t") + bedrock_end("tool_use")
    body = converse([{"toolUse": {"toolUseId": "t", "name": "look", "input": {}}}], "tool_use")
    choice = same(stream, body)
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons(reason: str, told: str) -> None:
    """OpenAI's words only, in JSON as in streams."""
    choice = same(BEDROCK_START + bedrock_text("x") + bedrock_end(reason), converse([{"text": "x"}], reason))
    assert choice["finish_reason"] == told


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
def test_malformed(reason: str) -> None:
    """What the model garbled is an error: before content another provider is asked."""
    _, fault = fault_of(BEDROCK_START + bedrock_text("x") + bedrock_end(reason))
    assert (fault.outcome, fault.walk, fault.error.status) == ("malformed_answer", True, 502)
    with pytest.raises(StreamFault, match="malformed_answer"):
        completed(converse([{"text": "x"}], reason))


def test_empty_answers() -> None:
    """Case 25: nothing said is an empty message, and its finish chunk an empty delta."""
    choice = same(BEDROCK_START + bedrock_end("max_tokens"), converse([], "max_tokens"))
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")


def test_usage() -> None:
    """Case 29: what was read from and written to a cache is part of the prompt; the total is the sum."""
    counts = {"inputTokens": 7, "cacheReadInputTokens": 9000, "cacheWriteInputTokens": 100}
    stream = BEDROCK_START + bedrock_text("x") + bedrock_end("end_turn", **counts)
    choice = same(stream, converse([{"text": "x"}], "end_turn", **counts))
    assert choice["usage"] == {
        "prompt_tokens": 9107, "completion_tokens": 5, "total_tokens": 9112,
        "prompt_tokens_details": {"cached_tokens": 9000, "cache_write_tokens": 100},
    }  # fmt: skip
    metered = translate(ADAPTER, streamed(), [stream])
    assert metered.usage == Usage(9107, 5, cached_tokens=9000, cache_write_tokens=100)
    assert all("usage" not in chunk for chunk in metered.chunks)


@pytest.mark.parametrize(
    "usage", [None, [], {"inputTokens": -1}, {"inputTokens": "7"}, {"inputTokens": True}]
)
def test_odd_usage(usage: Any) -> None:
    """Counts that are none count as unsaid."""
    end = bedrock_event("messageStop", stopReason="end_turn") + bedrock_event("metadata", usage=usage)
    done = translate(ADAPTER, streamed(), [BEDROCK_START + end])
    assert done.usage.prompt_tokens is None
    assert done.terminal


def test_parts_of_a_prompt_that_nobody_counted_are_not_counted() -> None:
    """They would be taken off a prompt of nothing, and the answer would cost less than nothing."""
    counts = {"outputTokens": 3, "cacheReadInputTokens": 9000, "cacheWriteInputTokens": 100}
    end = bedrock_event("messageStop", stopReason="end_turn") + bedrock_event("metadata", usage=counts)
    assert translate(ADAPTER, streamed(), [BEDROCK_START + end]).usage == Usage(None, 3)


def test_no_metadata() -> None:
    """Case 24: after the stop a missing usage is no failure; before it, the end is missing."""
    stream = BEDROCK_START + bedrock_text("x") + bedrock_event("messageStop", stopReason="end_turn")
    done = translate(ADAPTER, streamed(usage=True), [stream])
    assert done.parts == [Part.LIFECYCLE, Part.CONTENT, Part.FINISH]
    assert not done.terminal
    done = translate(ADAPTER, streamed(usage=True), [BEDROCK_START + bedrock_text("x")])
    assert done.parts == [Part.LIFECYCLE, Part.CONTENT]


def test_reasoning() -> None:
    """Thinking is an extension and never content; its signature and what is redacted are nobody's."""
    thought = {"reasoningText": {"text": "hm, well", "signature": "c2ln"}}
    pieces = [{"text": "hm,"}, {"text": " well"}, {"signature": "c2ln"}, {"redactedContent": "eA=="}]
    stream = b"".join([
        BEDROCK_START,
        *(
            bedrock_event("contentBlockDelta", delta={"reasoningContent": piece}, contentBlockIndex=0)
            for piece in pieces
        ),
        bedrock_text("answer", 1),
        bedrock_end("end_turn"),
    ])  # fmt: skip
    body = converse(
        [
            {"reasoningContent": thought},
            {"reasoningContent": {"redactedContent": "eA=="}},
            {"text": "answer"},
        ],
        "end_turn",
    )
    message = same(stream, body)["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm, well", "answer")


def test_citations_and_other_blocks() -> None:
    """Cited text is text; what clients of OpenAI have no word for is left out, and what AWS's own tools did."""
    cited = {"content": [{"text": "cited"}], "citations": [{"title": "t"}]}
    server = {"toolUseId": "s", "name": "grounding", "type": "server_tool_use"}
    body = converse(
        [
            {"text": "one "},
            {"citationsContent": cited},
            {"image": {"format": "png"}},
            {"toolUse": {**server, "input": {}}},
        ],
        "end_turn",
    )
    stream = b"".join([
        BEDROCK_START,
        bedrock_text("one "),
        bedrock_event("contentBlockDelta", delta={"text": "cited"}, contentBlockIndex=1),
        bedrock_event("contentBlockDelta", delta={"citation": {"title": "t"}}, contentBlockIndex=1),
        bedrock_event("contentBlockStart", start={"toolUse": server}, contentBlockIndex=2),
        bedrock_input("{}", 2),
        bedrock_event("somethingNew", text="x"),
        bedrock_end("end_turn"),
    ])  # fmt: skip
    choice = same(stream, body)
    assert choice["message"]["content"] == "one cited"
    assert "tool_calls" not in choice["message"]


def test_several_texts() -> None:
    """A second text block is not dropped."""
    stream = BEDROCK_START + bedrock_text("a") + bedrock_text("b", 1) + bedrock_end("end_turn")
    assert same(stream, converse([{"text": "a"}, {"text": "b"}], "end_turn"))["message"]["content"] == "ab"


def test_imitated_schema() -> None:
    """The arguments of the forced tool are the content, the end is stop, and what was said beside it is left out."""
    stream = b"".join([
        BEDROCK_START,
        bedrock_text("Here you are: "),
        bedrock_tool(IMITATED, "t", 1),
        bedrock_input('{"city":', 1),
        bedrock_input('"北京"}', 1),
        bedrock_end("tool_use"),
    ])  # fmt: skip
    use = {"toolUse": {"toolUseId": "t", "name": IMITATED, "input": {"city": "北京"}}}
    body = converse([{"text": "Here you are: "}, use, {"text": "There."}], "tool_use")
    choice = same(stream, body, response_format=FORM)
    assert choice["message"]["content"] == '{"city":"北京"}'
    assert choice["finish_reason"] == "stop"
    assert IMITATED not in json.dumps(choice)


def test_imitated_schema_not_followed() -> None:
    """A guardrail's words instead of the tool are all there is, so they are told."""
    stream = (
        BEDROCK_START + bedrock_text("Not ") + bedrock_text("allowed.") + bedrock_end("guardrail_intervened")
    )
    body = converse([{"text": "Not "}, {"text": "allowed."}], "guardrail_intervened")
    choice = same(stream, body, response_format=FORM)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Not allowed.", "content_filter")


def test_held_text_is_bounded() -> None:
    """Case 9: what waits for the forced tool takes no more memory than one event may."""
    stream = translator(ADAPTER, streamed(response_format=FORM), limit=5000)
    fed = (item for _ in range(100) for item in stream.feed(bedrock_text("x" * 100)))
    with pytest.raises(StreamFault, match="event_too_large"):
        list(fed)


def test_legacy_functions() -> None:
    """Who asks with ``functions`` is answered with ``function_call``."""
    stream = BEDROCK_START + bedrock_tool("look", "t") + bedrock_input('{"a":1}') + bedrock_end("tool_use")
    body = converse([{"toolUse": {"toolUseId": "t", "name": "look", "input": {"a": 1}}}], "tool_use")
    choice = same(stream, body, functions=[TOOLS[0]["function"]])
    assert choice["message"]["function_call"] == {"name": "look", "arguments": '{"a":1}'}
    assert choice["finish_reason"] == "function_call"


def test_after_the_end() -> None:
    """Nothing that comes after the usage is told."""
    stream = BEDROCK_START + bedrock_end("end_turn") + bedrock_text("more")
    done = translate(ADAPTER, streamed(), [stream])
    assert done.text == ""
    assert done.parts.count(Part.DONE) == 1


@pytest.mark.parametrize(
    "bad",
    [
        bedrock_event("contentBlockDelta", delta=None),
        bedrock_event("contentBlockStart", start={"toolUse": {"name": 5}}),
        bedrock_event("metadata", usage={}),  # before the stop
        frame({":message-type": "event", ":event-type": "messageStop"}, b"not JSON"),
        frame({":message-type": "event", ":event-type": "messageStop"}, b"[]"),
        frame({":message-type": "event", ":event-type": "messageStop"}, b'{"stopReason": "\\ud800"}'),
    ],
)
def test_broken_events(bad: bytes) -> None:
    """What breaks the wire format is the provider's fault, and another may do better."""
    _, fault = fault_of(BEDROCK_START + bad)
    assert fault.walk
    assert fault.error.status == 502


@pytest.mark.parametrize("damage", ["prelude_crc", "message_crc", "length"])
def test_damaged_frames(damage: str) -> None:
    """Case 11: what came before counts; after it there is an error, and no further event is looked for."""
    broken = damaged(bedrock_text("lost"), damage)  # type: ignore[arg-type]
    parts, fault = fault_of(BEDROCK_START + bedrock_text("kept") + broken + bedrock_end("end_turn"))
    assert parts == [Part.LIFECYCLE, Part.CONTENT]
    assert (fault.outcome, fault.walk) == ("bad_frame", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["delta", "start", "toolUse", "name", "input", "text", "reasoningContent", "usage", "content"]
            )
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
EVENTS = st.sampled_from(
    [
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
        "odd",
    ]
)
MEMBERS = ["delta", "start", "contentBlockIndex", "stopReason", "usage"]


@given(
    events=st.lists(
        st.tuples(EVENTS, st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=3)), max_size=6
    ),
    members=st.sampled_from([{}, {"response_format": FORM}, {"functions": [TOOLS[0]["function"]]}]),
)
def test_odd_events(events: list[tuple[str, dict[str, Any]]], members: dict[str, Any]) -> None:
    """Whole frames with anything in them give chunks in OpenAI's shape or a ``StreamFault``."""
    stream = translator(ADAPTER, streamed(usage=True, **members))
    items = []
    try:
        for name, value in events:
            items.extend(stream.feed(bedrock_event(name, **value)))
        items.extend(stream.flush())
    except StreamFault:
        pass
    chunks = [json.loads(item.data) for item in items if item.part is not Part.DONE]
    gathered(chunks)


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "code", "walk"),
    [
        ("throttlingException", 429, "rate_limit_exceeded", True),
        ("serviceUnavailableException", 503, "overloaded", True),
        ("internalServerException", 500, "provider_error", True),
        ("modelStreamErrorException", 502, "provider_error", True),
        ("modelTimeoutException", 504, "provider_timeout", True),
        ("somethingNewException", 500, "provider_error", True),
        ("validationException", 400, None, False),
    ],
)
def test_exceptions(name: str, status: int, code: str | None, walk: bool) -> None:
    """Case 22: an exception frame is a fault that lets another provider answer, unless the caller erred; it neither
    vanishes nor ends the stream well."""
    stream = (
        BEDROCK_START + bedrock_exception(name, f"it broke at {HOST} with {SECRET}") + bedrock_end("end_turn")
    )
    parts, fault = fault_of(stream)
    assert parts == [Part.LIFECYCLE]
    assert (fault.outcome, fault.walk, fault.error.status, fault.error.code) == (
        "error_event",
        walk,
        status,
        code,
    )
    assert fault.caller == (not walk)
    assert HOST not in fault.error.message
    assert SECRET not in fault.error.message


def test_error_frames() -> None:
    """A message of type error, which has its words in headers."""
    headers = {":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "slow"}
    _, fault = fault_of(BEDROCK_START + frame(headers, b""))
    assert (fault.outcome, fault.error.status) == ("error_event", 429)
    headers = {
        ":message-type": "error",
        ":error-code": "ValidationException",
        ":error-message": "top_k is odd",
    }
    _, fault = fault_of(BEDROCK_START + frame(headers, b""))
    assert isinstance(fault.error, CallerError)
    assert fault.error.message == "top_k is odd"


@pytest.mark.parametrize(
    ("status", "name", "told", "code", "walk"),
    [
        (400, "ValidationException", 400, None, False),
        (400, "ServiceQuotaExceededException", 429, "insufficient_quota", True),
        (400, "com.amazon.coral.service#ThrottlingException", 429, "rate_limit_exceeded", True),
        (403, "AccessDeniedException", 502, "provider_auth_failed", True),
        (403, "ExpiredTokenException", 502, "provider_auth_failed", True),
        (403, "InvalidSignatureException", 502, "provider_auth_failed", True),
        (404, "ResourceNotFoundException", 404, "model_not_found", False),
        (408, "ModelTimeoutException", 504, "provider_timeout", True),
        (424, "ModelErrorException", 502, "provider_error", True),
        (429, "ThrottlingException", 429, "rate_limit_exceeded", True),
        (429, "ModelNotReadyException", 429, "rate_limit_exceeded", True),
        (500, "InternalServerException", 500, "provider_error", True),
        (503, "ServiceUnavailableException", 503, "overloaded", True),
        (418, "", 502, "provider_error", True),
    ],
)
def test_error_names(status: int, name: str, told: int, code: str | None, walk: bool) -> None:
    """The error's name, cut at ``:`` and after ``#``, says more than the status; the record keeps the status."""
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/", "retry-after": "3"}
    fault = ADAPTER.fault(status, headers, b'{"message":"odd"}', TARGET, now_s=NOW_S)
    assert (fault.error.status, fault.error.code, fault.walk) == (told, code, walk)
    assert fault.outcome == f"status_{status}"
    if told == 429 and code == "rate_limit_exceeded":
        assert fault.error.retry_after_s == 3


def test_accounts_are_not_told() -> None:
    """An ARN in a refusal holds our account's number; the model's own is told as the client's name for it."""
    headers = {"x-amzn-errortype": "ValidationException"}
    body = b'{"message":"no access to arn:aws:bedrock:eu-central-1:123456789012:guardrail/x"}'
    fault = ADAPTER.fault(400, headers, body, TARGET, now_s=NOW_S)
    assert "123456789012" not in fault.error.message
    arn = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/x"
    deployment = TARGET.deployment.model_copy(update={"upstream_model": arn})
    body = json.dumps({"message": f"{arn} has no such mode"}).encode()
    fault = ADAPTER.fault(400, headers, body, replace(TARGET, deployment=deployment), now_s=NOW_S)
    assert fault.error.message == "org/asked has no such mode"
    _, fault = fault_of(
        BEDROCK_START + bedrock_exception("validationException", "see arn:aws:iam::123456789012:role/x")
    )
    assert "123456789012" not in fault.error.message


def test_too_long() -> None:
    """Bedrock's own words for a prompt that is too long."""
    body = b'{"message":"Input is too long for requested model."}'
    fault = ADAPTER.fault(400, {"x-amzn-errortype": "ValidationException"}, body, TARGET, now_s=NOW_S)
    assert fault.error.code == "context_length_exceeded"


# -- the mock, and boto3 reading it --------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "naïve 北京 🌍 words"}]},
    "tool": {
        "messages": [{"role": "user", "content": "first say something, then call a tool"}],
        "tools": TOOLS,
    },
    "two tools": {"messages": [{"role": "user", "content": "two tools"}], "tools": TOOLS},
    "imitated": {"messages": [{"role": "user", "content": "where?"}], "response_format": FORM},
    "short": {"messages": [{"role": "user", "content": "many words in here"}], "max_tokens": 2},
}


def target_at(url: str) -> Target:
    """A chat model at ``url``."""
    target = target_of(ProviderKind.BEDROCK, endpoint=url)
    named = {"upstream_model": "anthropic.claude-sonnet-4-20250514-v1:0"}
    return replace(target, deployment=target.deployment.model_copy(update=named))


@pytest.mark.parametrize("name", ASKED)
def test_as_boto3_reads_it(aws: judging.Aws, name: str) -> None:
    """The mock's answers, JSON and streamed: boto3 takes them, and finds the same text, tools and counts as we do."""
    members = ASKED[name]
    with RunningMock("bedrock") as mock:
        target = target_at(mock.url)
        upstream = ADAPTER.request(chat(**members), target)
        body = json.loads(upstream.body) | {"modelId": target.deployment.upstream_model}
        whole = aws.ask("converse", url=mock.url, parameters=body)
        events = aws.ask("converse_stream", url=mock.url, parameters=body)
        ours = httpx.post(mock.url + upstream.path, content=upstream.body, headers=dict(upstream.headers))
        asked = ADAPTER.request(streamed(usage=True, **members), target)
        stream = httpx.post(mock.url + asked.path, content=asked.body, headers=dict(asked.headers))
    choice = same(stream.content, ours.content, **members)
    blocks = whole["output"]["message"]["content"]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    texts = "".join(block.get("text", "") for block in blocks)
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta.get("text", "") for delta in deltas) == texts
    calls = choice["message"].get("tool_calls") or []
    if name == "imitated":
        assert json.loads(choice["message"]["content"]) == uses[0]["input"]
    else:
        assert (choice["message"]["content"] or "") == texts
        assert [json.loads(call["function"]["arguments"]) for call in calls] == [use["input"] for use in uses]
    assert whole["usage"]["outputTokens"] == choice["usage"]["completion_tokens"]
    assert events[-1]["metadata"]["usage"]["inputTokens"] == choice["usage"]["prompt_tokens"]


@pytest.mark.parametrize("name", ["text", "two tools", "imitated"])
def test_the_mock_s_stream_cut_everywhere(name: str) -> None:
    """Cases 1 and 2: the same chunks wherever the mock's stream is cut in two."""
    request = streamed(usage=True, **ASKED[name])
    with RunningMock("bedrock") as mock:
        asked = ADAPTER.request(request, target_at(mock.url))
        stream = httpx.post(mock.url + asked.path, content=asked.body, headers=dict(asked.headers)).content
    whole = translate(ADAPTER, request, [stream])
    assert whole.terminal
    assert translate(ADAPTER, request, [stream[at : at + 1] for at in range(len(stream))]) == whole
    for cut in range(len(stream)):
        assert translate(ADAPTER, request, [stream[:cut], stream[cut:]]) == whole

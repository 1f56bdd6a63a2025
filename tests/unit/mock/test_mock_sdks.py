"""Every wire read by its provider's own SDK over real HTTP, one process of the judges' environment each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mock_world import judge

from sovereign_ext.mock.faults import ErrorEvent, Fault, Frame
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.services

FAULTS = {
    "limited": Fault(status=429),
    "overloaded": Fault(status=529),
    "quota": Fault(status=400, error_type="ServiceQuotaExceededException"),
    "breaks": Fault(error_event=ErrorEvent(after=1)),
    "throttled": Fault(error_event=ErrorEvent(after=1, status=429)),
    "damaged": Fault(frame=Frame(event=1)),
}


def understood(mock: RunningMock, script: str) -> dict[str, Any]:
    for model, fault in FAULTS.items():
        mock.fault(fault, model=model)
    return judge(script, mock.url)


@pytest.fixture(scope="module")
def anthropic(mock_of: Callable[[str], RunningMock]) -> dict[str, Any]:
    return understood(mock_of("anthropic"), "anthropic_sdk")


@pytest.fixture(scope="module")
def boto3(mock_of: Callable[[str], RunningMock]) -> dict[str, Any]:
    return understood(mock_of("bedrock"), "boto3_sdk")


@pytest.fixture(scope="module")
def genai(mock_of: Callable[[str], RunningMock]) -> dict[str, Any]:
    return understood(mock_of("vertex"), "genai_sdk")


@pytest.fixture(scope="module")
def ollama(mock_of: Callable[[str], RunningMock]) -> dict[str, Any]:
    return understood(mock_of("ollama"), "ollama_sdk")


def test_anthropic_messages(anthropic: dict[str, Any]) -> None:
    """A whole and a streamed message are the same; usage and stop reasons are Anthropic's."""
    whole, streamed = anthropic["whole"], anthropic["streamed"]
    assert whole["content"][0]["text"] == "You said: hello there"
    assert (whole["stop_reason"], whole["usage"]["input_tokens"], whole["usage"]["output_tokens"]) == (
        "end_turn",
        2,
        4,
    )
    assert whole | {"id": ""} == streamed | {"id": ""}
    assert (anthropic["cut"]["stop_reason"], anthropic["cut"]["content"][0]["text"]) == (
        "max_tokens",
        "You said:",
    )


def test_anthropic_event_order(anthropic: dict[str, Any]) -> None:
    """As the Messages stream is documented."""
    events = [name for name in anthropic["events"] if name != "text"]  # the SDK's own convenience event
    deltas = ["content_block_delta"] * 4
    assert events == [
        "message_start",
        "content_block_start",
        *deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_anthropic_tools(anthropic: dict[str, Any]) -> None:
    """Two calls with distinct ids; the one without arguments streams no delta and is still an object."""
    for reply, before in ((anthropic["tools"], []), (anthropic["streamed_tools"], ["text"])):
        assert [block["type"] for block in reply["content"]] == [*before, "tool_use", "tool_use"]
        one, two = reply["content"][-2:]
        assert (one["name"], one["input"], two["name"], two["input"]) == (
            "get_weather",
            {"city": "example"},
            "ping",
            {},
        )
        assert one["id"] != two["id"]
        assert reply["stop_reason"] == "tool_use"


def test_anthropic_thinking_json_models(anthropic: dict[str, Any]) -> None:
    """Thinking is signed and counted; structured output fits the schema."""
    thinking, text = anthropic["thinking"]["content"]
    assert (thinking["type"], thinking["thinking"], text["text"]) == (
        "thinking",
        "Let me think.",
        "You said: hi",
    )
    assert thinking["signature"]
    assert anthropic["thinking"]["usage"]["output_tokens_details"]["thinking_tokens"] == 3
    assert anthropic["json"] == '{"city":"example"}'
    assert "claude-sonnet-5" in anthropic["models"]


def test_anthropic_errors(anthropic: dict[str, Any]) -> None:
    """Refusals, statuses and a break mid-stream raise the SDK's own exceptions."""
    assert anthropic["refused"]["error"]["type"] == "invalid_request_error"
    assert anthropic["limited"] == ["RateLimitError", 429, "rate_limit_error"]
    assert anthropic["overloaded"] == ["OverloadedError", 529, "overloaded_error"]
    assert anthropic["broken"] == "overloaded_error"
    assert "before_break" not in anthropic


def test_bedrock_converse(boto3: dict[str, Any]) -> None:
    """boto3 parses answer, usage, metrics and request id; the system text counts as prompt."""
    whole = boto3["whole"]
    assert whole["output"]["message"] == {"role": "assistant", "content": [{"text": "You said: hello there"}]}
    assert whole["usage"] == {"inputTokens": 4, "outputTokens": 4, "totalTokens": 8}
    assert whole["stopReason"] == "end_turn"
    assert boto3["request_id"].count("-") == 4
    assert boto3["cut"] == "max_tokens"
    assert boto3["json"] == '{"city":"example"}'


def test_bedrock_stream(boto3: dict[str, Any]) -> None:
    """botocore accepts every frame's CRCs; text blocks have no start; metadata comes after messageStop."""
    names = [next(iter(event)) for event in boto3["events"]]
    assert names == [
        "messageStart",
        *["contentBlockDelta"] * 4,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert boto3["events"][-1]["metadata"]["usage"]["totalTokens"] == 6


def test_bedrock_tools(boto3: dict[str, Any]) -> None:
    """Ids are within the service model's limits; fragments join to JSON, or to nothing for no arguments."""
    uses = [block["toolUse"] for block in boto3["tools"]["output"]["message"]["content"]]
    assert [(use["name"], use["input"]) for use in uses] == [
        ("get_weather", {"city": "example"}),
        ("ping", {}),
    ]
    assert all(len(use["toolUseId"]) <= 64 for use in uses)
    fragments: dict[int, str] = {}
    for event in boto3["tool_events"]:
        if "contentBlockStart" in event:
            fragments[event["contentBlockStart"]["contentBlockIndex"]] = ""
        elif "toolUse" in event.get("contentBlockDelta", {}).get("delta", {}):
            delta = event["contentBlockDelta"]
            fragments[delta["contentBlockIndex"]] += delta["delta"]["toolUse"]["input"]
    assert fragments == {1: '{"city":"example"}', 2: ""}


def test_bedrock_thinking(boto3: dict[str, Any]) -> None:
    """Reasoning is a block of its own, with a signature."""
    first, second = boto3["thinking"]["output"]["message"]["content"]
    assert first["reasoningContent"]["reasoningText"]["text"] == "Let me think."
    assert second["text"] == "You said: hi"


def test_bedrock_embeddings(boto3: dict[str, Any]) -> None:
    """Titan takes one text, Cohere several."""
    assert len(boto3["titan"]["embedding"]) == 256
    assert boto3["titan"]["inputTextTokenCount"] == 1
    assert [len(vector) for vector in boto3["cohere"]["embeddings"]] == [1024, 1024]


def test_bedrock_errors(boto3: dict[str, Any]) -> None:
    """Names come through the header and exception frames; a bad CRC is noticed at the right frame."""
    assert boto3["limited"] == ["ThrottlingException", 429]
    assert boto3["quota"] == ["ServiceQuotaExceededException", 400]
    assert boto3["throttled"] == [["messageStart", "contentBlockDelta"], "throttlingException"]
    assert boto3["damaged"] == [["messageStart", "contentBlockDelta"], "ChecksumMismatch"]


def test_gemini_answers(genai: dict[str, Any]) -> None:
    """google-genai parses whole and streamed answers; only the last chunk reports tokens and the finish."""
    assert genai["whole"]["candidates"][0]["content"]["parts"] == [{"text": "You said: hello there"}]
    assert genai["whole"]["usage_metadata"]["total_token_count"] == 6
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in genai["stream"]]
    assert texts == ["You", " said:", " hello", " there", ""]
    finishes = [chunk["candidates"][0].get("finish_reason") for chunk in genai["stream"]]
    assert finishes == [None] * 4 + ["STOP"]
    assert [("total_token_count" in chunk["usage_metadata"]) for chunk in genai["stream"]] == [False] * 4 + [
        True
    ]
    assert len({(chunk["response_id"], chunk["model_version"]) for chunk in genai["stream"]}) == 1
    assert genai["cut"]["candidates"][0]["finish_reason"] == "MAX_TOKENS"
    assert genai["json"] == '{"city":"example"}'
    assert [candidate.get("index", 0) for candidate in genai["two"]["candidates"]] == [0, 1]


def test_gemini_tools(genai: dict[str, Any]) -> None:
    """Calls are whole; Gemini 3 adds ids and a signature on the first; the finish comes in a later chunk."""
    calls = [part["function_call"] for part in genai["tools"]["candidates"][0]["content"]["parts"]]
    assert calls == [{"name": "get_weather", "args": {"city": "example"}}, {"name": "ping", "args": {}}]
    parts = genai["tools3"]["candidates"][0]["content"]["parts"]
    assert [("thought_signature" in part, "id" in part["function_call"]) for part in parts] == [
        (True, True),
        (False, True),
    ]
    assert [chunk["candidates"][0].get("finish_reason") for chunk in genai["tool_stream"]] == [
        None,
        None,
        "STOP",
    ]


def test_gemini_thoughts_and_embeddings(genai: dict[str, Any]) -> None:
    """Thoughts are marked and counted apart from candidates; all three embedding methods answer."""
    thought, text = genai["thinking"]["candidates"][0]["content"]["parts"]
    assert (thought["thought"], text["text"]) == (True, "You said: hi")
    usage = genai["thinking"]["usage_metadata"]
    assert (usage["thoughts_token_count"], usage["candidates_token_count"]) == (3, 3)
    assert usage["total_token_count"] == usage["prompt_token_count"] + 6
    assert len(genai["text-embedding-005"]) == len(genai["gemini-embedding-001"]) == 8
    assert [len(vector) for vector in genai["several"]] == [8, 8]
    assert genai["several"][0] == genai["gemini-embedding-001"]


def test_vertex_errors(genai: dict[str, Any]) -> None:
    """A status, and an error as bare pretty-printed lines after the first chunk."""
    assert genai["limited"] == [[], 429, "RESOURCE_EXHAUSTED"]
    assert genai["breaks"] == [["You"], 503, "UNAVAILABLE"]


def test_google_auth_gets_a_token(genai: dict[str, Any]) -> None:
    """google-auth signs a JWT with a fresh key and believes the token endpoint."""
    token, valid = genai["token"]
    assert token.startswith("ya29.")
    assert valid


def test_claude_on_vertex(genai: dict[str, Any]) -> None:
    """Anthropic's Vertex client reads whole and streamed answers and Anthropic-shaped errors."""
    assert genai["claude"]["content"][0]["text"] == "You said: hello"
    assert genai["claude_stream"]["content"] == genai["claude"]["content"]
    assert genai["claude_stream"]["stop_reason"] == "end_turn"
    assert genai["claude_limited"] == "rate_limit_error"


def test_ollama_chat(ollama: dict[str, Any]) -> None:
    """Chunks join to the whole; only the last is done and counts tokens."""
    assert ollama["whole"]["message"]["content"] == "You said: hello there"
    assert [chunk["message"]["content"] for chunk in ollama["stream"]] == [
        "You",
        " said:",
        " hello",
        " there",
        "",
    ]
    assert [chunk["done"] for chunk in ollama["stream"]] == [False] * 4 + [True]
    last = ollama["stream"][-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 2, 4)
    assert (ollama["cut"]["done_reason"], ollama["cut"]["eval_count"]) == ("length", 2)


def test_ollama_tools_and_formats(ollama: dict[str, Any]) -> None:
    """Arguments are objects; a schema and "json" are honoured; thinking and logprobs come when asked for."""
    calls = [call["function"] for call in ollama["tools"]["message"]["tool_calls"]]
    assert calls == [{"name": "get_weather", "arguments": {"city": "example"}}] * 2
    streamed = [chunk["message"]["tool_calls"] for chunk in ollama["tool_stream"]]
    assert [len(one or []) for one in streamed] == [1, 1, 0]
    assert (ollama["json"], ollama["object"]) == ('{"city":"example"}', "{}")
    assert ollama["thinking"]["message"]["thinking"] == "Let me think."
    assert [one["token"] for one in ollama["logprobs"]] == ["You", " said:", " hi"]


def test_ollama_embeddings_models_errors(ollama: dict[str, Any]) -> None:
    """A mid-stream error is a line of its own under 200."""
    assert [len(vector) for vector in ollama["embed"]["embeddings"]] == [16, 16]
    assert "llama3.3:8b" in ollama["models"]
    assert ollama["limited"][:2] == [[], 429]
    assert ollama["breaks"][0] == ["You"]
    assert "503" in ollama["breaks"][2]

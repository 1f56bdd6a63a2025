"""Anthropic's answers as OpenAI's: whole and streamed, usage, thinking, errors; read back by openai-python's types.

The samples are shown to Anthropic's own SDK first, and so is what the mock answers to the requests that are sent here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import (
    ANTHROPIC,
    CALL_ID,
    HOST,
    NOW_S,
    SECRET,
    Translated,
    anthropic_block,
    anthropic_event,
    anthropic_message,
    anthropic_stream,
    chat,
    streamed,
    text_block,
    tool_block,
)
from test_providers_anthropic_request import (
    ANSWER,
    LEGAL,
    LIST,
    LOOK,
    OPUS_4_6,
    SONNET_4,
    target_of,
    user,
)

from sovereign_ext.mock.faults import ErrorEvent, Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.request import Request
from sovereign_ext.openai.sse import SseDecoder
from sovereign_ext.providers.anthropic import AnthropicAdapter
from sovereign_ext.providers.anthropic_request import IMITATED
from sovereign_ext.providers.anthropic_stream import AnthropicStream
from sovereign_ext.providers.base import Part, StreamFault, StreamTranslator, Usage

ADAPTER = AnthropicAdapter()
TEXT = "Let me see 北京 🌍."


@pytest.fixture(scope="module")
def sdk() -> Iterator[judging.Judge]:
    with judging.anthropic_sdk() as judge:
        yield judge


def started(request: Request | None = None, model: str = SONNET_4, limit: int = 1 << 20) -> StreamTranslator:
    return ADAPTER.stream(
        request or streamed(usage=True), target_of(model), call_id=CALL_ID, now_s=NOW_S, limit=limit
    )


def translated(
    stream: bytes, request: Request | None = None, model: str = SONNET_4, size: int = 0
) -> Translated:
    """The stream in pieces of ``size`` bytes, 0 for one piece."""
    translator = started(request, model)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)] if size else [stream]
    items = [item for piece in pieces for item in translator.feed(piece)]
    items += translator.flush()
    return Translated(items, translator.usage, translator.terminal)


def whole(message: dict[str, Any], request: Request | None = None, model: str = SONNET_4) -> dict[str, Any]:
    body = json.dumps(message).encode()
    answer = ADAPTER.answer(request or chat(), target_of(model), body, call_id=CALL_ID)
    made = json.loads(answer.body)
    ChatCompletion.model_validate(made, strict=True)
    return made


def gathered(done: Translated) -> dict[str, Any]:
    """The chunks of a stream added up to a completion's choice, as a client does."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    made: list[dict[str, Any]] = []
    finish = None
    for chunk in done.chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    message[name] = (message.get(name) or "") + delta[name]
            for one in delta.get("tool_calls", ()):
                if one["index"] == len(made):
                    made.append({key: value for key, value in one.items() if key != "index"})
                else:
                    made[one["index"]]["function"]["arguments"] += one["function"]["arguments"]
            if "function_call" in delta:
                old = message.setdefault("function_call", {"name": "", "arguments": ""})
                for name, value in delta["function_call"].items():
                    old[name] += value
            if "extra_content" in delta:
                message["extra_content"] = delta["extra_content"]
    if made:
        message["tool_calls"] = made
    elif message["content"] is None and "function_call" not in message:
        message["content"] = ""
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}


def tool_use(id: str, name: str, **given: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def thinking_block(index: int, *texts: str, signature: str = "c2ln") -> bytes:
    deltas = [{"type": "thinking_delta", "thinking": text} for text in texts]
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return anthropic_block(index, start, *deltas, {"type": "signature_delta", "signature": signature})


# The same answers whole and streamed: content blocks, the stream's blocks, the stop reason, what the request has.
PAIRS: dict[str, tuple[list[dict[str, Any]], list[bytes], str, dict[str, Any]]] = {
    "text": ([{"type": "text", "text": TEXT}], [text_block(0, *TEXT)], "end_turn", {}),
    "two texts": (
        [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}],
        [text_block(0, "one "), text_block(1, "two")],
        "stop_sequence",
        {},
    ),
    "nothing": ([], [], "max_tokens", {}),
    "parallel calls": (
        [tool_use("t1", "look", city="a"), tool_use("t2", "look", city="b")],
        [tool_block(0, "t1", "look", '{"city"', ':"a"}'), tool_block(1, "t2", "look", "", '{"city":"b"}')],
        "tool_use",
        {"tools": [LOOK]},
    ),
    "text and a call": (
        [{"type": "text", "text": "Let me see."}, tool_use("t1", "list")],
        [text_block(0, "Let me", " see."), tool_block(1, "t1", "list")],
        "tool_use",
        {"tools": [LIST]},
    ),
    "input in the start": (
        [tool_use("t1", "look", city="北京")],
        [tool_block(0, "t1", "look", given={"city": "北京"})],
        "tool_use",
        {"tools": [LOOK]},
    ),
    "imitated schema": (
        [tool_use("t1", IMITATED, city="a")],
        [tool_block(0, "t1", IMITATED, '{"city"', ':"a"}')],
        "tool_use",
        {"response_format": ANSWER},
    ),
    "functions": (
        [tool_use("t1", "look", city="a"), tool_use("t2", "look", city="b")],
        [tool_block(0, "t1", "look", '{"city":"a"}'), tool_block(1, "t2", "look", '{"city":"b"}')],
        "tool_use",
        {"functions": [LOOK["function"]]},
    ),
    "thinking": (
        [
            {"type": "thinking", "thinking": "hm, hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eA=="},
            {"type": "text", "text": "So."},
            {"type": "thinking", "thinking": "", "signature": "b2s="},
            tool_use("t1", "list"),
        ],
        [
            thinking_block(0, "hm,", " hm"),
            anthropic_block(1, {"type": "redacted_thinking", "data": "eA=="}),
            text_block(2, "So", "."),
            thinking_block(3, signature="b2s="),
            tool_block(4, "t1", "list"),
        ],
        "tool_use",
        {"tools": [LIST]},
    ),
    "of a server tool": (
        [
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
            {"type": "text", "text": "found"},
        ],
        [
            anthropic_block(
                0,
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"query":"q"}'},
            ),
            text_block(1, "found"),
        ],
        "pause_turn",
        {},
    ),
}


def compact(choice: dict[str, Any]) -> dict[str, Any]:
    """With arguments as values: their spelling is the provider's."""
    for made in choice["message"].get("tool_calls", ()):
        made["function"]["arguments"] = json.loads(made["function"]["arguments"])
    old = choice["message"].get("function_call")
    if old:
        old["arguments"] = json.loads(old["arguments"])
    return choice


@pytest.mark.services
@pytest.mark.parametrize("name", PAIRS)
def test_streams_add_up(sdk: judging.Judge, name: str):
    """A streamed answer adds up to the whole one; both are such as Anthropic's SDK reads."""
    content, blocks, stop, members = PAIRS[name]
    message, stream = anthropic_message(*content, stop=stop), anthropic_stream(*blocks, stop=stop)
    events = [json.loads(event.data) for event in SseDecoder(1 << 20).feed(stream)]
    events = [event for event in events if event["type"] != "ping"]
    assert sdk.ask("reads", events=events, message=message) == ""
    done = translated(stream, streamed(usage=True, **members))
    made = whole(message, chat(**members))
    choice = compact(made["choices"][0])
    if choice["message"]["content"] == "" and name == "nothing":
        assert choice["finish_reason"] == "length"
    if name == "imitated schema":  # its spelling is content
        assert json.loads(gathered(done)["message"]["content"]) == json.loads(choice["message"]["content"])
    else:
        assert compact(gathered(done)) == choice
    assert done.chunks[-1]["usage"] == made["usage"]
    assert (done.usage, done.terminal) == (Usage(7, 5), True)
    assert {chunk["id"] for chunk in done.chunks} == {made["id"]} == {"msg_01up"}


@pytest.mark.parametrize("name", PAIRS)
def test_cut_at_every_byte(name: str):
    """Cases 1 and 2: in two pieces, cut anywhere, and byte by byte, the same chunks; without U+FFFD."""
    _, blocks, stop, members = PAIRS[name]
    stream, request = anthropic_stream(*blocks, stop=stop), streamed(usage=True, **members)
    expected = translated(stream, request)
    assert translated(stream, request, size=1) == expected
    for cut in range(0, len(stream), 3):
        translator = started(request)
        items = [*translator.feed(stream[:cut]), *translator.feed(stream[cut:]), *translator.flush()]
        assert items == expected.items
    assert not any("\ufffd" in item.data.decode() for item in expected.items)


@pytest.mark.parametrize("name", PAIRS)
def test_broken_off_at_every_byte(name: str):
    """Case 24: without ``message_stop`` no finish, no usage chunk, no end, and ``terminal`` says so."""
    _, blocks, stop, members = PAIRS[name]
    stream, request = anthropic_stream(*blocks, stop=stop), streamed(usage=True, **members)
    for cut in range(len(stream) - 2):  # without its last line break the stream is complete
        part = translated(stream[:cut], request)
        assert not part.terminal
        assert not {Part.FINISH, Part.USAGE, Part.DONE} & set(part.parts)


def test_order_of_chunks():
    """Cases 12, 13, 14, 30: text, then two calls at 0 and 1, ``{}`` for none, finish, usage: OpenAI's order."""
    stream = anthropic_stream(
        text_block(0, "Let"),
        tool_block(1, "t1", "look", "", '{"ci', 'ty":1}'),
        tool_block(2, "t2", "list", ""),
        stop="tool_use",
    )
    done = translated(stream, streamed(usage=True, tools=[LOOK, LIST]))
    assert done.deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Let"},
        {"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty":1}'}}]},
        {"tool_calls": [{"index": 1, "id": "t2", "type": "function", "function": {"name": "list", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]  # fmt: skip
    content = [Part.CONTENT] * 6
    assert done.parts == [Part.LIFECYCLE, *content, Part.FINISH, Part.USAGE, Part.DONE]


def test_arguments_are_forwarded_at_once():
    """Case 20: a fragment goes out in the feed that brought it."""
    stream = tool_block(0, "t1", "look", '{"a', '":1}').split(b"\n\n")
    translator = started(streamed(tools=[LOOK]))
    list(translator.feed(anthropic_stream().split(b"\n\n")[0] + b"\n\n"))
    sizes = [len(list(translator.feed(event + b"\n\n"))) for event in stream if event]
    assert sizes == [1, 1, 1, 0]


def test_a_start_with_input_and_deltas_says_it_once():
    """What a start carries is told only if no deltas tell it."""
    done = translated(
        anthropic_stream(tool_block(0, "t1", "look", '{"a":1}', given={"a": 1}), stop="tool_use")
    )
    assert gathered(done)["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),  # without any call
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons(reason: Any, finish: str):
    """Each has OpenAI's word, whole and streamed."""
    assert gathered(translated(anthropic_stream(text_block(0, "x"), stop=reason)))["finish_reason"] == finish
    message = anthropic_message({"type": "text", "text": "x"}, stop=reason)
    assert whole(message)["choices"][0]["finish_reason"] == finish


# -- usage ---------------------------------------------------------------------------------------------------

COUNTED = {
    "input_tokens": 7,
    "cache_read_input_tokens": 9000,
    "cache_creation_input_tokens": 100,
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 20},
}


def test_usage():
    """Case 29: input 7, read 9000, written 100 make a prompt of 9107, with its parts told; whole and streamed."""
    expected = {
        "prompt_tokens": 9107,
        "completion_tokens": 50,
        "total_tokens": 9157,
        "prompt_tokens_details": {"cached_tokens": 9000, "cache_write_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    assert whole(anthropic_message(usage=COUNTED))["usage"] == expected
    done = translated(anthropic_stream(text_block(0, "x"), **COUNTED))
    assert done.chunks[-1]["usage"] == expected
    assert done.usage == Usage(9107, 50, cached_tokens=9000, cache_write_tokens=100, reasoning_tokens=20)


def test_usage_is_cumulative():
    """The end's counts replace the beginning's, they are not added; what the end leaves out holds."""
    start = anthropic_message(usage={"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1})
    ends = (
        anthropic_event(type="message_delta", delta={}, usage={"output_tokens": 5}),
        anthropic_event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 8}),
        anthropic_event(type="message_stop"),
    )
    done = translated(anthropic_event(type="message_start", message=start) + b"".join(ends))
    assert done.usage == Usage(7, 8, cached_tokens=4)


def test_usage_of_a_stream_that_breaks_off():
    """What was said before the end is known."""
    stream = anthropic_stream(text_block(0, "x")).partition(b"event: message_delta")[0]
    assert translated(stream).usage == Usage(7, 1)


COUNT = st.none() | st.integers(-5, 10**6) | st.booleans() | st.text(max_size=2)


@given(
    usage=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(COUNTED, COUNT | st.just({"thinking_tokens": 10**9}))
    )
)
def test_usage_adds_up(usage: dict[str, Any]):
    """Whatever is told: nothing negative, no part above its whole, total = prompt + completion."""
    made = whole(anthropic_message(usage=usage))["usage"]
    prompt, parts = made["prompt_tokens"], made.get("prompt_tokens_details", {})
    assert made["total_tokens"] == prompt + made["completion_tokens"]
    assert 0 <= sum(parts.values()) <= prompt
    assert (
        0 <= made.get("completion_tokens_details", {}).get("reasoning_tokens", 0) <= made["completion_tokens"]
    )


# -- thinking ------------------------------------------------------------------------------------------------


def test_thinking_is_for_the_client_to_send_back():
    """Signed blocks go to the client with their places, the text as an extension; sent back, they are as they were."""
    content, blocks, stop, members = PAIRS["thinking"]
    message = gathered(translated(anthropic_stream(*blocks, stop=stop), streamed(**members)))["message"]
    assert message["reasoning_content"] == "hm, hm"
    assert message["content"] == "So."
    assert message["extra_content"]["anthropic"] == {
        "model": "org/asked",
        "thinking": [content[0], content[1], content[3] | {"text_before": 3}],
    }
    history = [user("go"), message, {"role": "tool", "tool_call_id": "t1", "content": "ok"}]
    request = ADAPTER.request(chat(messages=history, **members), target_of(OPUS_4_6))
    assert json.loads(request.body)["messages"][1]["content"] == content


def test_thinking_beyond_the_limit_is_not_given_back():
    """Memory is bounded: what is thought beyond one event's limit is told, but cannot be sent back."""
    stream = anthropic_stream(thinking_block(0, *["x" * 1000] * 40), text_block(1, "So."))
    translator = started(limit=8192)
    done = Translated([*translator.feed(stream), *translator.flush()], translator.usage, translator.terminal)
    assert done.terminal
    message = gathered(done)["message"]
    assert (len(message["reasoning_content"]), "extra_content" in message) == (40_000, False)


def test_unsigned_thinking_is_not_given_back():
    """Without its signature a block is of no use to anybody."""
    made = whole(anthropic_message({"type": "thinking", "thinking": "hm", "signature": ""}))
    assert "extra_content" not in made["choices"][0]["message"]


# -- what a provider may send besides --------------------------------------------------------------------------


def test_what_is_not_for_the_client():
    """Pings, citations and events that nobody knows: nothing; CRLF, comments, no space, no ``event``: the same."""
    block = anthropic_block(
        0,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "x"},
        {"type": "citations_delta", "citation": {"type": "page_location"}},
        {"type": "news_delta", "news": 1},
    )
    stream = anthropic_stream(anthropic_event(type="ping"), block, anthropic_event(type="new_event", x=1))
    done = translated(stream)
    assert (done.text, done.terminal) == ("x", True)
    bare = [
        b"".join(line for line in event.splitlines(True) if line[:5] == b"data:")
        for event in stream.split(b"\n\n")
    ]
    for other in (
        stream.replace(b"\n", b"\r\n"),
        stream.replace(b"data: ", b"data:"),
        b": hi\n\n" + stream.replace(b"event: ", b"id: 5\nretry: 1\nevent: "),
        b"\n\n".join(bare),
    ):
        assert translated(other) == done


def test_halves_of_emoji():
    """An emoji cut into escapes of two events is one again; a half alone is left out, in text and in JSON."""
    stream = anthropic_stream(text_block(0, "a", "HALF1", "HALF2", "b"))
    stream = stream.replace(b"HALF1", rb"\ud83c").replace(b"HALF2", rb"\udf0d")
    assert translated(stream).text == "a🌍b"
    alone = anthropic_stream(text_block(0, "aHALF1", "b")).replace(b"HALF1", rb"\ud83c")
    assert translated(alone).text == "ab"
    body = json.dumps(anthropic_message({"type": "text", "text": "a\ud83c\udf0db\ud83c"})).encode()
    answer = ADAPTER.answer(chat(), target_of(), body, call_id=CALL_ID)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "a🌍b"


@pytest.mark.parametrize(
    ("message", "broken"),
    [
        ({"id": "msg_\ud83c"}, True),
        ({"content": [tool_use("t\ud83c", "look")]}, True),
        ({"content": [tool_use("t", "look", city="\ud83c")]}, False),
        ({"content": [{"type": "thinking", "thinking": "\ud83c", "signature": "\ud83c"}]}, False),
        ({"stop_reason": "\ud83c"}, False),
    ],
)
def test_halves_in_odd_places(message: dict[str, Any], broken: bool):
    """Wherever they are, the client gets JSON that it can read, or the answer is none."""
    body = json.dumps(anthropic_message() | message).encode()
    try:
        answer = ADAPTER.answer(chat(), target_of(), body, call_id=CALL_ID)
    except StreamFault as fault:
        assert (broken, fault.fault.outcome) == (True, "invalid_answer")  # noqa: PT017
    else:
        assert not broken
        ChatCompletion.model_validate(json.loads(answer.body), strict=True)


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "", "name": "x"}}],
        [{"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "x"}}],
        [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
         {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}}],
        [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}],
        [{"type": "message_start", "message": anthropic_message()}],
    ],
)  # fmt: skip
def test_streams_out_of_order(events: list[dict[str, Any]]):
    """Deltas of no open block, calls without a name, two beginnings: the provider's fault, not guessed at."""
    stream = anthropic_stream().partition(b"event: ping")[0] + b"".join(
        anthropic_event(**event) for event in events
    )
    with pytest.raises(StreamFault) as caught:
        translated(stream)
    assert caught.value.fault.outcome == "invalid_answer"


def test_content_before_the_start():
    """A stream that does not begin with ``message_start`` is none."""
    with pytest.raises(StreamFault):
        translated(text_block(0, "x"))


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("overloaded_error", 503, "overloaded"),
        ("rate_limit_error", 429, "rate_limit_exceeded"),
        ("api_error", 500, "provider_error"),
        ("timeout_error", 504, "provider_timeout"),
        ("billing_error", 429, "insufficient_quota"),
        ("authentication_error", 502, "provider_auth_failed"),
        ("permission_error", 502, "provider_auth_failed"),
        ("invalid_request_error", 502, "provider_error"),
        ("something_new", 502, "provider_error"),
        (["odd"], 502, "provider_error"),
    ],
)
def test_errors_inside_a_200(kind: Any, status: int, code: str):
    """Cases 22 and 23: an error event, first or after text, and an error for a whole answer; another may do better."""
    error = {"type": "error", "error": {"type": kind, "message": f"{HOST} {SECRET}"}}
    begun = ANTHROPIC.stream.partition(b"event: message_delta")[0]
    for stream in (anthropic_event(**error), begun + anthropic_event(**error)):
        with pytest.raises(StreamFault) as caught:
            translated(stream)
        fault = caught.value.fault
        assert (fault.error.status, fault.error.code, fault.outcome, fault.walk) == (
            status,
            code,
            "error_event",
            True,
        )
        assert SECRET not in fault.error.message
    with pytest.raises(StreamFault) as caught:
        ADAPTER.answer(chat(), target_of(), json.dumps(error).encode(), call_id=CALL_ID)
    assert caught.value.fault.error.code == code


@pytest.mark.parametrize(
    ("status", "error", "told", "code", "walk"),
    [
        (400, {"type": "invalid_request_error", "message": "odd"}, 400, None, False),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 5 tokens > 4 maximum"},
         400, "context_length_exceeded", False),
        (400, {"type": "invalid_request_error",
               "message": "input length and `max_tokens` exceed context limit: 5 + 4 > 8, decrease input"},
         400, "context_length_exceeded", False),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."},
         429, "insufficient_quota", True),
        (400, {"type": "invalid_request_error", "message": "x", "details": {"error_code": "organization_on_hold"}},
         429, "insufficient_quota", True),
        (400, {"type": "billing_error", "message": "x"}, 429, "insufficient_quota", True),
        (402, {"type": "billing_error", "message": "x"}, 429, "insufficient_quota", True),
        (401, {"type": "authentication_error", "message": "invalid x-api-key"}, 502, "provider_auth_failed", True),
        (403, {"type": "permission_error", "message": "x"}, 502, "provider_auth_failed", True),
        (404, {"type": "not_found_error", "message": "model: claude-sonnet-4-5-20250929"},
         404, "model_not_found", False),
        (413, {"type": "request_too_large", "message": "x"}, 413, None, False),
        (429, {"type": "rate_limit_error", "message": "x"}, 429, "rate_limit_exceeded", True),
        (500, {"type": "api_error", "message": "x"}, 500, "provider_error", True),
        (500, {"type": "overloaded_error", "message": "x"}, 503, "overloaded", True),
        (503, {"type": "overloaded_error", "message": "x"}, 503, "overloaded", True),
        (529, {"type": "overloaded_error", "message": "x"}, 503, "overloaded", True),
    ],
)  # fmt: skip
def test_error_answers(status: int, error: dict[str, Any], told: int, code: str | None, walk: bool):
    """The table of errors. Our account's faults are not the caller's, though Anthropic answers some with 400."""
    body = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
    fault = ADAPTER.fault(status, {"retry-after": "7"}, body, target_of(), now_s=NOW_S)
    assert (fault.error.status, fault.error.code, fault.walk, fault.caller) == (told, code, walk, not walk)
    assert fault.outcome == f"status_{status}"
    assert "claude-sonnet" not in fault.error.message
    if told in (429, 503) and code != "insufficient_quota":
        assert fault.error.retry_after_s == 7


# -- against the mock ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mock() -> Iterator[RunningMock]:
    with RunningMock("anthropic") as running:
        yield running


def posted(mock: RunningMock, request: Request, model: str) -> tuple[int, bytes]:
    """What the mock answers to the request as the adapter sends it."""
    upstream = ADAPTER.request(request, target_of(model, endpoint=mock.url))
    connection = HTTPConnection("127.0.0.1", mock.port, timeout=10)
    try:
        connection.request("POST", upstream.path, upstream.body, dict(upstream.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", LEGAL)
def test_the_mock_answers(sdk: judging.Judge, mock: RunningMock, name: str):
    """What is sent is answered, and the answer is read alike whole and streamed; the SDK asks and reads the same."""
    model, members = LEGAL[name]
    status, body = posted(mock, chat(**members), model)
    assert status == 200, body
    made = whole(json.loads(body), chat(**members), model)
    status, stream = posted(mock, streamed(**members), model)
    assert status == 200, stream
    done = translated(stream, streamed(**members), model)
    assert done.terminal
    added = gathered(done)
    for choice in (added, made["choices"][0]):
        for one in choice["message"].get("tool_calls", ()):
            one["id"] = ""  # made anew for each answer
    assert compact(added) == compact(made["choices"][0])
    asked = json.loads(ADAPTER.request(chat(**members), target_of(model)).body)
    read = sdk.ask("asks", url=mock.url, body=asked)
    assert read["type"] == "message"


def test_the_mock_s_errors(mock: RunningMock):
    """An error of the mock in the middle of a stream is one here."""
    mock.fault(Fault(error_event=ErrorEvent(after=1, status=529)), times=1)
    _, stream = posted(mock, streamed(), SONNET_4)
    with pytest.raises(StreamFault) as caught:
        translated(stream)
    assert caught.value.fault.error.code == "overloaded"


def test_a_tool_history_goes_round(mock: RunningMock):
    """A client's answer to the mock's own calls is accepted by it: ids and thinking are what they were."""
    members: dict[str, Any] = {"tools": [LOOK, LIST], "messages": [user("go")], "tool_choice": "required"}
    _, body = posted(mock, chat(**members), OPUS_4_6)
    message = whole(json.loads(body), chat(**members), OPUS_4_6)["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": one["id"], "content": "rain"} for one in message["tool_calls"]
    ]
    again = {"tools": [LOOK, LIST], "messages": [*members["messages"], message, *results]}
    status, body = posted(mock, chat(**again), OPUS_4_6)
    assert status == 200, body
    assert "rain" in whole(json.loads(body), chat(**again), OPUS_4_6)["choices"][0]["message"]["content"]


def test_one_stream_is_bounded():
    """An endless stream of nothing keeps nothing."""
    translator = started(limit=4096)
    assert isinstance(translator, AnthropicStream)
    list(translator.feed(anthropic_stream().partition(b"event: ping")[0]))
    for index in range(2000):
        list(translator.feed(thinking_block(index, "")))
    assert len(translator._thoughts._blocks) < 100

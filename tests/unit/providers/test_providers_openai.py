"""The passthrough: OpenAI, and what it is for the kinds that stand on it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from providers_world import HELLO, chat, streamed, target_of, translate, translator

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.providers.base import Part, StreamFault, Usage
from sovereign_ext.providers.mock import MockAdapter
from sovereign_ext.providers.openai import OpenAIAdapter
from sovereign_ext.providers.vllm import VllmAdapter

OPENAI, VLLM = OpenAIAdapter(), VllmAdapter()
BOTH = pytest.mark.parametrize("adapter", [OPENAI, VLLM], ids=["openai", "vllm"])
ODD = b'{"x" : [1.0, 1E5, -0, 123456789012345678901234567890, "\\u00e9\\/\\ud83d"], "x": null}'


def chunk(choices: str, more: str = "") -> bytes:
    return f'{{"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":{choices}{more}}}'.encode()


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


CONTENT = event(chunk('[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":null}]'))
FINISH = event(chunk('[{"index":0,"delta":{},"finish_reason":"stop"}]'))
DONE = b"data: [DONE]\n\n"


def sent(
    adapter: OpenAIAdapter, body: bytes, **provider: Any
) -> tuple[dict[str, msgspec.Raw], dict[str, str]]:
    request = read_request(Endpoint.CHAT, body)
    upstream = adapter.request(request, target_of(adapter.kind, **provider))
    return msgspec.json.decode(upstream.body, type=dict[str, msgspec.Raw]), dict(upstream.headers)


@pytest.mark.parametrize("adapter", [OPENAI, MockAdapter()], ids=["openai", "mock"])
def test_unknown_request_members_survive(adapter: OpenAIAdapter):
    """Unknown members go up byte for byte; so do numbers, escapes and the messages themselves."""
    messages = b'[ {"role":"user", "content":[{"type":"new","v":1.50}], "extra":\t-0.0} ]'
    body = b'{"model":"m","messages":%s,"temperature":1.0,"new":{"a" : 1e2}}' % messages
    members, _ = sent(adapter, body)
    assert bytes(members["messages"]) == messages
    assert bytes(members["temperature"]) == b"1.0"
    assert bytes(members["new"]) == b'{"a" : 1e2}'
    assert set(members) == {"model", "messages", "temperature", "new"}


@BOTH
def test_null_content_stays_null(adapter: OpenAIAdapter):
    """Case 34: an assistant message with ``content: null`` is accepted and sent as null."""
    messages = b'[{"role":"assistant","content":null,"tool_calls":[]},{"role":"user","content":"x"}]'
    members, _ = sent(adapter, b'{"model":"m","messages":%s}' % messages)
    assert bytes(members["messages"]) == messages


def test_usage_is_always_asked_for():
    """Streams are metered: include_usage is switched on, other stream options stay as they are."""
    base = {"model": "m", "messages": HELLO, "stream": True}
    for options, expected in (
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        (
            {"include_usage": False, "include_obfuscation": False},
            {"include_usage": True, "include_obfuscation": False},
        ),
        ({"include_usage": True, "new": 1.0}, {"include_usage": True, "new": 1.0}),
    ):
        members, _ = sent(OPENAI, json.dumps({**base, "stream_options": options}).encode())
        assert json.loads(bytes(members["stream_options"])) == expected
    members, _ = sent(OPENAI, json.dumps({"model": "m", "messages": HELLO}).encode())
    assert "stream_options" not in members


def test_account_headers():
    """The organisation and project of our own account, if it has them."""
    _, headers = sent(
        OPENAI, b'{"model":"m","messages":[{"role":"user"}]}', organization="org-1", project="proj-1"
    )
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")
    _, headers = sent(OPENAI, b'{"model":"m","messages":[{"role":"user"}]}')
    assert not any(name.startswith("openai-") for name in headers)


def test_unknown_answer_members_survive():
    """Unknown members of an answer and of its choices come down byte for byte."""
    choices = (
        b'[{"index":0,"message":{"role":"assistant","content":"x","new":%s},"finish_reason":"stop"}]' % ODD
    )
    body = b'{"id":"c","choices":%s,"model":"up","new":%s,"usage":{"prompt_tokens":7, "completion_tokens":5}}'
    answer = OPENAI.answer(chat(), target_of(ProviderKind.OPENAI), body % (choices, ODD), call_id="x")
    assert choices in answer.body
    assert b'"new":' + ODD in answer.body
    assert b'"usage":{"prompt_tokens":7, "completion_tokens":5}' in answer.body
    assert b'"model":"org/asked"' in answer.body
    assert answer.usage == Usage(7, 5)


def test_unknown_chunk_members_survive():
    """The same for chunks; obfuscation, service_tier and fields that nobody knows yet stay."""
    choices = f'[{{"index":0, "delta":{{"content":"x","new":{ODD.decode()}}},"finish_reason":null}}]'
    data = chunk(choices, f',"obfuscation":"ab","new":{ODD.decode()}')
    done = OPENAI.stream(streamed(), target_of(ProviderKind.OPENAI), call_id="x", now_s=1, limit=9999)
    (item,) = done.feed(event(data))
    assert item.part is Part.CONTENT
    assert item.data == data.replace(b'"model":"up"', b'"model":"org/asked"')


@pytest.mark.parametrize("asked", [False, True])
def test_usage_null(asked: bool):
    """Case 27: ``usage: null`` and the usage chunk reach only who asked; the gateway meters both times."""
    usage = event(chunk("[]", ',"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}'))
    null = CONTENT.replace(b"}]}", b'}],"usage":null}')
    done = translate(OPENAI, streamed(usage=asked), [null, FINISH, usage, DONE])
    assert done.usage == Usage(7, 5)
    assert any(b'"usage":null' in item.data for item in done.items) == asked
    assert (Part.USAGE in done.parts) == asked


def test_usage_on_the_finish_chunk():
    """Servers that put usage on the finish chunk are metered; unasked, the member goes and the chunk stays."""
    finish = FINISH.replace(b"}]}", b'}],"usage":{"prompt_tokens":7,"completion_tokens":5}}')
    done = translate(OPENAI, streamed(), [CONTENT, finish, DONE])
    assert done.usage == Usage(7, 5)
    assert done.parts == [Part.CONTENT, Part.FINISH, Part.DONE]
    assert not any("usage" in found for found in done.chunks)


def test_choices_empty_without_usage():
    """A first chunk without choices and usage (Azure's prompt filter) is no content and is kept."""
    filtered = event(chunk("[]", ',"prompt_filter_results":[]'))
    done = translate(OPENAI, streamed(), [filtered, CONTENT, FINISH, DONE])
    assert done.parts == [Part.LIFECYCLE, Part.CONTENT, Part.FINISH, Part.DONE]


@pytest.mark.parametrize(
    ("delta", "part"),
    [
        ('{"role":"assistant"}', Part.LIFECYCLE),
        ('{"role":"assistant","content":""}', Part.LIFECYCLE),
        ('{"content":null,"refusal":null,"tool_calls":[]}', Part.LIFECYCLE),
        ("{}", Part.LIFECYCLE),
        ("null", Part.LIFECYCLE),
        ('{"content":" "}', Part.CONTENT),
        ('{"refusal":"no"}', Part.CONTENT),
        ('{"reasoning_content":"hm"}', Part.CONTENT),
        ('{"reasoning":"hm"}', Part.CONTENT),
        ('{"tool_calls":[{"index":0}]}', Part.CONTENT),
        ('{"function_call":{"name":"f"}}', Part.CONTENT),
        ('{"audio":{"data":"x"}}', Part.CONTENT),
        ('{"content":"\\ud83d"}', Part.CONTENT),
    ],
)
def test_what_counts_as_content(delta: str, part: Part):
    """Content is whatever a reader would see; roles and empty fields are not."""
    (item,) = translator(OPENAI, streamed()).feed(event(chunk(f'[{{"index":0,"delta":{delta}}}]')))
    assert item.part is part


def test_lone_surrogates_pass():
    """Providers cut emoji in halves; both halves go down as they came (case 2)."""
    halves = [
        event(chunk(f'[{{"index":0,"delta":{{"content":"{half}"}}}}]')) for half in ("\\ud83c", "\\udf0d")
    ]
    done = translate(OPENAI, streamed(), [*halves, FINISH, DONE])
    assert [part for part in done.parts if part is Part.CONTENT] == [Part.CONTENT] * 2
    assert b'"\\ud83c"' in done.items[0].data
    assert b'"\\udf0d"' in done.items[1].data


@BOTH
def test_a_providers_attestation_is_dropped(adapter: OpenAIAdapter):
    """A provider cannot attest in our name: its ``_sf_attestation`` never reaches the client."""
    forged = ',"_sf_attestation":{"rekor_index":1}'
    (item,) = translator(adapter, streamed()).feed(
        event(chunk('[{"index":0,"delta":{"content":"x"}}]', forged))
    )
    assert b"_sf_attestation" not in item.data
    body = b'{"choices":[],"_sf_attestation":{"rekor_index":1}}'
    assert adapter.answer(chat(), target_of(adapter.kind), body, call_id="x").body == b'{"choices":[]}'


def test_an_event_over_several_data_lines():
    """Case 6: a chunk spread over ``data:`` lines is one chunk, and one line on its way down."""
    stream = b'data: {"choices":\ndata: [{"index":0,\ndata:  "delta":{"content":"x"}}]}\n\n'
    (item,) = translator(OPENAI, streamed()).feed(stream)
    assert b"\n" not in item.data
    assert json.loads(item.data) == {"choices": [{"index": 0, "delta": {"content": "x"}}]}


def test_the_finish_chunk_keeps_its_text():
    """Case 25: text in the chunk that carries the finish reason is kept; ``length`` without content passes."""
    last = event(chunk('[{"index":0,"delta":{"content":"end"},"finish_reason":"length"}]'))
    done = translate(OPENAI, streamed(), [CONTENT, last, DONE])
    assert (done.text, done.parts) == ("xend", [Part.CONTENT, Part.FINISH, Part.DONE])


def test_argument_deltas_go_at_once():
    """Case 20: every fragment of tool arguments is its own item, in the feed that completed it."""
    stream = translator(OPENAI, streamed())
    for fragment in ('{\\"a', '\\":1', "}"):
        call = f'[{{"index":0,"delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":"{fragment}"}}}}]}}}}]'
        (item,) = stream.feed(event(chunk(call)))
        assert item.part is Part.CONTENT


def test_nothing_counts_after_done():
    """Chunks after ``[DONE]`` are not the client's."""
    done = translate(OPENAI, streamed(), [CONTENT, FINISH, DONE, CONTENT, b"data: nonsense\n\n"])
    assert done.parts == [Part.CONTENT, Part.FINISH, Part.DONE]


@pytest.mark.parametrize(
    ("data", "outcome", "status"),
    [
        (b"data: nonsense\n\n", "invalid_json", 502),
        (b"data: []\n\n", "invalid_json", 502),
        (b'data: {"choices":5}\n\n', "invalid_json", 502),
        (b'data: {"choices":[5]}\n\n', "invalid_json", 502),
        (b'data: {"error":{"message":"m","code":"rate_limit_exceeded"}}\n\n', "error_event", 429),
        (b'data: {"error":{"message":"m","type":"overloaded_error"}}\n\n', "error_event", 503),
        (b'data: {"error":{"message":"m","code":503}}\n\n', "error_event", 503),
        (b'data: {"error":"plain text"}\n\n', "error_event", 502),
        (b'event: error\ndata: {"message":"m"}\n\n', "error_event", 502),
    ],
)
def test_faults_in_streams(data: bytes, outcome: str, status: int):
    """Case 22: an error event or a broken one is a fault, its kind told by its code."""
    with pytest.raises(StreamFault) as caught:
        list(translator(OPENAI, streamed()).feed(CONTENT + data))
    assert (caught.value.fault.outcome, caught.value.fault.error.status) == (outcome, status)


def test_falsy_errors_are_none():
    """``"error": null`` on a chunk is no error: OpenAI's SDK reads it the same way."""
    for value in ("null", "{}", '""', "false", "0", "[]"):
        data = event(chunk('[{"index":0,"delta":{"content":"x"}}]', f',"error":{value}'))
        assert len(list(translator(OPENAI, streamed()).feed(data))) == 1


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"m"}}', b"{}", b'{"choices":null}', b"<html>", b'"x"']
)
def test_what_is_no_answer(body: bytes):
    """An error in a 200, or something else entirely, is the provider's fault."""
    with pytest.raises(StreamFault):
        OPENAI.answer(chat(), target_of(ProviderKind.OPENAI), body, call_id="x")

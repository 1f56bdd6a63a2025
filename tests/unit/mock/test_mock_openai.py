"""OpenAI's wire, read by openai-python and, where order and exact keys matter, as raw JSON."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from mock_world import WEATHER, Asked, Client, chat
from pydantic import BaseModel

from sovereign_ext.mock.faults import Cut, ErrorEvent, Fault
from sovereign_ext.mock.thread import RunningMock

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "ping"}},
]


@pytest.fixture
def mock(mock_of: Callable[[str], RunningMock]) -> RunningMock:
    return mock_of("openai")


@pytest.fixture
def client(mock: RunningMock) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=mock.url + "/v1", api_key="sk-test", max_retries=0) as made:
        yield made


def ask(text: str) -> dict[str, Any]:
    return {"model": "gpt-5.2", "messages": [{"role": "user", "content": text}]}


def raw_chunks(mock: RunningMock, text: str, **more: Any) -> list[dict[str, Any]]:
    """The chunks of a stream as they came, ``[DONE]`` checked and left out."""
    asked = chat("openai", text, stream=True)
    with Client(mock.port) as raw:
        raw.send(Asked(asked.path, asked.body | more))
        events = raw.read().body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def test_a_whole_answer(client: openai.OpenAI) -> None:
    """Text, finish, usage that adds up."""
    reply = client.chat.completions.create(**ask("hello 北🌍"))
    assert reply.choices[0].message.content == "You said: hello 北🌍"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (2, 4, 6)
    assert reply._request_id is not None


def test_chunk_order_for_text_then_two_tools(mock: RunningMock) -> None:
    """The order and the exact deltas of the OpenAI contract."""
    chunks = raw_chunks(
        mock, "first say, then two tools", tools=TOOLS, stream_options={"include_usage": True}
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    first = deltas[4]["tool_calls"][0]
    assert deltas[:4] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Let"},
        {"content": " me"},
        {"content": " look."},
    ]
    assert first == {
        "index": 0,
        "id": first["id"],
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    pieces = [delta["tool_calls"][0] for delta in deltas[5:8]]
    assert [piece["index"] for piece in pieces] == [0, 0, 0]
    assert all(set(piece) == {"index", "function"} for piece in pieces)
    assert "".join(piece["function"]["arguments"] for piece in pieces) == '{"city":"example"}'
    second = deltas[8]["tool_calls"][0]
    assert (second["index"], second["function"]["name"]) == (1, "ping")
    assert second["id"] != first["id"]
    assert deltas[9] == {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}
    assert deltas[10:] == [{}]
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"] == []


def test_one_identity_per_stream(mock: RunningMock) -> None:
    """id, created and model do not change within a stream, and the id does between two."""
    one, two = raw_chunks(mock, "hi"), raw_chunks(mock, "hi")
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in one}) == 1
    assert one[0]["id"] != two[0]["id"]


def test_usage_in_streams(mock: RunningMock) -> None:
    """Asked: null on every chunk but the last. Not asked: the key is absent everywhere."""
    asked = raw_chunks(mock, "hi", stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    assert asked[-1]["usage"]["total_tokens"] == 4
    assert not [chunk for chunk in raw_chunks(mock, "hi") if "usage" in chunk]


def test_obfuscation_only_when_asked(mock: RunningMock) -> None:
    """It would only be noise otherwise."""
    assert all(
        "obfuscation" in c for c in raw_chunks(mock, "hi", stream_options={"include_obfuscation": True})
    )
    assert not [chunk for chunk in raw_chunks(mock, "hi") if "obfuscation" in chunk]


def test_limits_and_stops(client: openai.OpenAI) -> None:
    """The newer name of the limit wins over the older."""
    assert client.chat.completions.create(**ask("hi"), max_tokens=2).choices[0].finish_reason == "length"
    reply = client.chat.completions.create(**ask("hi"), max_tokens=1, max_completion_tokens=3).choices[0]
    assert (reply.message.content, reply.finish_reason) == ("You said: hi", "stop")
    stopped = client.chat.completions.create(**ask("one two"), stop=["two"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("You said: one ", "stop")


def test_tool_choices(client: openai.OpenAI) -> None:
    """required, named, none, and a subset."""

    def called(choice: Any, text: str = "hi") -> list[str]:
        reply = client.chat.completions.create(**ask(text), tools=TOOLS, tool_choice=choice)
        return [call.function.name for call in reply.choices[0].message.tool_calls or []]

    assert called("required") == ["get_weather"]
    assert called({"type": "function", "function": {"name": "ping"}}) == ["ping"]
    assert called("none", "call a tool") == []
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "ping"}}]}
    assert called({"type": "allowed_tools", "allowed_tools": allowed}) == ["ping"]
    with pytest.raises(openai.BadRequestError, match="Tool choice"):
        called({"type": "function", "function": {"name": "absent"}})


def test_legacy_functions(client: openai.OpenAI) -> None:
    """The shape before tools, whole and streamed."""
    functions: Any = [{"name": "get_weather", "parameters": WEATHER}]
    whole = client.chat.completions.create(**ask("call a tool"), functions=functions).choices[0]
    assert whole.finish_reason == "function_call"
    assert whole.message.function_call is not None
    assert whole.message.function_call.arguments == '{"city":"example"}'
    stream = client.chat.completions.create(**ask("call a tool"), functions=functions, stream=True)
    deltas = [chunk.choices[0].delta.function_call for chunk in stream]
    assert "".join(delta.arguments or "" for delta in deltas if delta) == '{"city":"example"}'


def test_custom_tools(client: openai.OpenAI) -> None:
    """A custom tool takes text, not JSON."""
    tools: Any = [{"type": "custom", "custom": {"name": "shout"}}]
    (call,) = (
        client.chat.completions.create(**ask("call a tool"), tools=tools).choices[0].message.tool_calls or []
    )
    assert call.type == "custom"
    assert (call.custom.name, call.custom.input) == ("shout", "example input")


def test_a_tool_result_is_talked_about(client: openai.OpenAI) -> None:
    """After a result the model does not call again, whatever the words before."""
    first = client.chat.completions.create(**ask("call a tool"), tools=TOOLS).choices[0].message
    assert first.tool_calls
    messages: Any = [
        *ask("call a tool")["messages"],
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "21 °C"},
    ]
    reply = client.chat.completions.create(model="m", messages=messages, tools=TOOLS).choices[0]
    assert (reply.message.content, reply.finish_reason) == ("You said: the result 21 °C", "stop")


class Weather(BaseModel):
    city: str
    degrees: int


def test_structured_output(client: openai.OpenAI) -> None:
    """The SDK's parse helper gets an instance of the model; json_object gets an object."""
    parsed = client.chat.completions.parse(**ask("hi"), response_format=Weather).choices[0].message.parsed
    assert parsed == Weather(city="example", degrees=1)
    reply = client.chat.completions.create(**ask("hi"), response_format={"type": "json_object"})
    assert json.loads(reply.choices[0].message.content or "") == {}


def test_choices_and_logprobs(client: openai.OpenAI) -> None:
    """n choices differ, each streamed to its own finish; logprobs cover every token."""
    reply = client.chat.completions.create(**ask("hi"), n=2, logprobs=True, top_logprobs=2)
    assert [choice.message.content for choice in reply.choices] == ["You said: hi", "You said: hi (2)"]
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.token for token in logprobs.content] == ["You", " said:", " hi"]
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in logprobs.content)
    stream = client.chat.completions.create(**ask("hi"), n=2, stream=True)
    finishes = [(choice.index, choice.finish_reason) for chunk in stream for choice in chunk.choices]
    assert [one for one in finishes if one[1]] == [(0, "stop"), (1, "stop")]


def test_embeddings(client: openai.OpenAI) -> None:
    """Floats and base64 hold the same numbers; dimensions are honoured; usage counts every input."""
    reply = client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"])
    assert [len(item.embedding) for item in reply.data] == [1536, 1536]
    assert [item.index for item in reply.data] == [0, 1]
    assert reply.usage.total_tokens == 3
    floats = (
        client.embeddings.create(model="m", input="a", encoding_format="float", dimensions=8)
        .data[0]
        .embedding
    )
    packed: Any = client.embeddings.create(model="m", input="a", encoding_format="base64", dimensions=8)
    raw = base64.b64decode(packed.data[0].embedding)
    assert struct.unpack("<8f", raw) == pytest.approx(floats, abs=1e-6)
    with pytest.raises(openai.BadRequestError, match="empty"):
        client.embeddings.create(model="m", input="")


def test_models(client: openai.OpenAI) -> None:
    """Listed, and found by name."""
    names = [model.id for model in client.models.list()]
    assert client.models.retrieve(names[0]).id == names[0]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("absent")


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/v1/absent", "POST", b"{}", 404),
        ("/v1/chat/completions", "GET", b"", 405),
        ("/v1/chat/completions", "POST", b"{", 400),
        ("/v1/chat/completions", "POST", b"[]", 400),
        ("/v1/chat/completions", "POST", b'{"messages":[]}', 400),
        ("/v1/chat/completions", "POST", b'{"model":"m","messages":[]}', 400),
        ("/v1/chat/completions", "POST", b'{"model":"m","messages":[{}],"max_tokens":0}', 400),
        ("/v1/chat/completions", "POST", b"\xff\xfe", 400),
    ],
)
def test_refusals_have_the_error_envelope(
    mock: RunningMock, path: str, method: str, body: bytes, status: int
) -> None:
    """Whatever is wrong, the body is OpenAI's error object and the connection goes on."""
    with Client(mock.port) as raw:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for _ in range(2):
            raw.sock.sendall(head + body)
            got = raw.read()
            assert (got.status, got.end) == (status, "whole")
            assert set(json.loads(got.body)["error"]) == {"message", "type", "param", "code"}


def test_mid_stream_failures_raise(client: openai.OpenAI, mock: RunningMock) -> None:
    """An error event and a cut both surface in openai-python, after the content that came before."""
    mock.fault(Fault(error_event=ErrorEvent(after=2, message="went away")), model="breaks")
    mock.fault(Fault(cut=Cut(after_events=2)), model="cut")
    for model, kind in (("breaks", openai.APIError), ("cut", openai.APIConnectionError)):
        seen: list[str | None] = []
        stream = client.chat.completions.create(**ask("hi") | {"model": model}, stream=True)
        with pytest.raises(kind):
            seen.extend(chunk.choices[0].delta.content for chunk in stream)
        assert seen == ["", "You", " said:"]


def test_vllm_adds_its_extras(mock_of: Callable[[str], RunningMock]) -> None:
    """Fields that a gateway has to strip, reasoning, numeric error codes; usage only on the last chunk."""
    vllm = mock_of("vllm")
    with openai.OpenAI(base_url=vllm.url + "/v1", api_key="x", max_retries=0) as client:
        reply = (
            client.chat.completions.create(**ask("hi"), stop=["hi"], reasoning_effort="low")
            .choices[0]
            .model_dump()
        )
        assert reply["stop_reason"] == "hi"
        assert "token_ids" in reply
        assert reply["message"]["reasoning"] == "Let me think."
        stream = client.chat.completions.create(
            **ask("hi"), reasoning_effort="low", stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk.model_dump(exclude_unset=True) for chunk in stream]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        assert [delta["reasoning"] for delta in deltas if "reasoning" in delta] == ["Let", " me", " think."]
        assert [("usage" in chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        vllm.fault(Fault(status=404))
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(**ask("hi"))
        assert caught.value.body == {
            "message": "The mock was told to answer 404.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        }

"""One conversation, all kinds of providers, one answer: whatever speaks behind the gateway, the client sees the same.

Each case goes through real Envoy to the mock of every kind, whole and streamed, read by the unmodified OpenAI SDK.
What may differ is in ``KNOWN``, with the reason; nothing else may. A streamed answer must add up to the whole one.
Where a case has neighbours of one role, the last message stands alone: the mocks echo the last turn, and most wires
merge turns.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from provider_world import KINDS, Seven

pytestmark = pytest.mark.dataplane

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc"
        "330000000049454e44ae426082"
    )
).decode()
LOOK = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a city up",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
WAIT = {
    "type": "function",
    "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "report",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "ok": {"type": "boolean"}},
            "required": ["city", "ok"],
            "additionalProperties": False,
        },
    },
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


HISTORY = [
    {"role": "system", "content": "Be brief."},
    user("Compare two cities"),
    {
        "role": "assistant",
        "content": "I will look.",
        "tool_calls": [
            {
                "id": f"call_{at}",
                "type": "function",
                "function": {"name": "look_up", "arguments": json.dumps({"city": city})},
            }
            for at, city in enumerate(("Basel", "Zürich"))
        ],
    },
    # Not in the order of the calls, which providers insist on.
    {"role": "tool", "tool_call_id": "call_1", "content": '{"rain": true}'},
    {"role": "tool", "tool_call_id": "call_0", "content": "dry"},
    user("And now in short"),
]


@dataclass(frozen=True)
class Case:
    """A request's messages and parameters."""

    messages: list[Any]
    parameters: dict[str, Any] = field(default_factory=dict)


CASES = {
    "text": Case([user("Say hello to the reader")]),
    "system in the middle": Case(
        [
            user("one"),
            {"role": "assistant", "content": "yes"},
            {"role": "system", "content": "Be brief."},
            user("two"),
        ]
    ),
    "developer": Case([{"role": "developer", "content": "Be kind."}, user("good morning")]),
    "vision": Case(
        [
            user(
                [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ]
            )
        ]
    ),
    "one tool": Case([user("call a tool please")], {"tools": [LOOK]}),
    "two tools at once": Case([user("two tools please")], {"tools": [LOOK, WAIT]}),
    "text, then a tool": Case([user("first say it, then call a tool")], {"tools": [LOOK]}),
    "a tool without arguments": Case([user("call a tool please")], {"tools": [WAIT]}),
    "json schema": Case([user("report")], {"response_format": SCHEMA}),
    "tool history": Case(HISTORY, {"tools": [LOOK]}),
    "tool history, no tools any more": Case(
        [*HISTORY[:-1], {"role": "assistant", "content": "Both are fine."}, HISTORY[-1]]
    ),
    "long": Case([user("word " * 4000)]),
    "unicode": Case([user('Grüße, 北京 🌍 "quoted" \\ <b> \u2028 é')]),
    "empty parts": Case(
        [user(""), user([{"type": "text", "text": ""}, {"type": "text", "text": "something"}])]
    ),
    "cut by max_tokens": Case([user("a b c d e f g h i j")], {"max_tokens": 4}),
    "stop sequence": Case([user("a b STOP c d")], {"stop": ["STOP"]}),
    "legacy functions": Case([user("call a tool please")], {"functions": [LOOK["function"]]}),
}


@dataclass(frozen=True)
class Seen:
    """What a client can tell of an answer, without what is made anew for each call."""

    content: str | None
    calls: tuple[tuple[str, Any], ...]
    function: tuple[str, Any] | None
    finish: str
    total_adds_up: bool


KNOWN: dict[tuple[str, str], str] = {}
"""(kind, case): why this kind refuses the case with 400."""


@pytest.fixture(scope="module")
def seven() -> Iterator[Seven]:
    with Seven() as running:
        yield running


def seen(completion: Any) -> Seen:
    choice = completion.choices[0]
    message = choice.message
    function = message.function_call
    return Seen(
        content=message.content or None,
        calls=tuple(
            (call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()
        ),
        function=None if function is None else (function.name, json.loads(function.arguments)),
        finish=choice.finish_reason,
        total_adds_up=completion.usage.total_tokens
        == completion.usage.prompt_tokens + completion.usage.completion_tokens,
    )


def ask(seven: Seven, kind: str, case: Case, *, stream: bool) -> Any:
    with seven.client() as client:
        return _asked(client, seven.model(kind), case, stream=stream)


def _asked(client: openai.OpenAI, model: str, case: Case, *, stream: bool) -> Any:
    if not stream:
        return client.chat.completions.create(model=model, messages=case.messages, **case.parameters)
    state: Any = ChatCompletionStreamState()
    for chunk in client.chat.completions.create(
        model=model, messages=case.messages, stream=True,
        stream_options={"include_usage": True}, **case.parameters,
    ):  # fmt: skip
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


@pytest.mark.parametrize("name", CASES)
def test_all_kinds_answer_alike(seven: Seven, name: str):
    """Whole and streamed, the answer is that of the kind ``openai``."""
    case = CASES[name]
    wanted = seen(ask(seven, "openai", case, stream=False))
    assert wanted.total_adds_up
    for kind in KINDS:
        for stream in (False, True):
            if (kind, name) in KNOWN:
                with pytest.raises(openai.BadRequestError):
                    ask(seven, kind, case, stream=stream)
            else:
                got = seen(ask(seven, kind, case, stream=stream))
                assert got == wanted, (kind, "streamed" if stream else "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_streams_have_one_identity(seven: Seven, kind: str):
    """Case 30: one id, one created, one model, and the role first."""
    with seven.client() as client:
        stream = client.chat.completions.create(
            model=seven.model(kind), messages=[user("hello there")], stream=True
        )
        chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].model == seven.model(kind)
    assert all(chunk.usage is None for chunk in chunks)


SIZES = {"32 KiB and one": 32 * 1024 + 1, "5 MiB": 5 * 1024 * 1024, "20 MiB": 20 * 1024 * 1024}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_large_pictures(seven: Seven, kind: str, size: str):
    """Case 40: bodies around and far beyond Envoy's buffers arrive whole, whatever they are translated to."""
    picture = base64.b64decode(PIXEL)
    data = base64.b64encode(picture + bytes(SIZES[size] * 3 // 4)).decode()
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    ]
    answer = seen(ask(seven, kind, Case([user(content)]), stream=False))
    assert answer.content == "You said: What is this?"
    request = seven.mocks[kind].requests()[-1]
    assert not request.chunked
    assert len(data) <= request.body_length == int(request.header("content-length") or 0) < len(data) + 2000
    if request.body is not None:  # larger ones are kept as their digest
        assert data.encode() in request.body
    seven.mocks[kind].clear()

"""The estimate: by the stated rule, upwards, and for whatever a caller sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.openai.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, MOST, Estimate, estimate


def chat(*contents: Any, **members: Any) -> Estimate:
    messages = [{"role": "user", "content": content} for content in contents]
    return estimate(
        read_request(Endpoint.CHAT, json.dumps({"model": "m", "messages": messages, **members}).encode())
    )


def embeddings(given: Any) -> Estimate:
    return estimate(read_request(Endpoint.EMBEDDINGS, json.dumps({"model": "m", "input": given}).encode()))


@pytest.mark.parametrize(
    ("contents", "tokens"),
    [
        (["abc"], 1),
        (["abcd"], 2),
        (["ab", "cd"], 2),  # rounded up once, not for each message
        (["北京"], 2),  # 6 bytes of UTF-8
        ([""], 0),
        ([None], 0),
        ([[{"type": "text", "text": "abcdef"}]], 2),
        ([[{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}]], IMAGE_TOKENS),
        ([[{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}] * 2], 2 * IMAGE_TOKENS),
        ([[{"type": "input_audio"}]], 8),  # 22 bytes of JSON
        ([[5, None, "abc"]], 3),  # 1 + 4 + 3 bytes: nonsense counts by its JSON
    ],
)  # fmt: skip
def test_prompts(contents: list[Any], tokens: int) -> None:
    """Three bytes a token, a constant for an image, eight tokens for each message."""
    assert chat(*contents).prompt_tokens == tokens + MESSAGE_TOKENS * len(contents)


def test_what_a_model_is_given_besides_counts_too() -> None:
    """Tools, response format and tool calls by their JSON, whatever white space the client put into it."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    compact = len(json.dumps(tools, separators=(",", ":")))
    assert chat("", tools=tools).prompt_tokens == MESSAGE_TOKENS + -(-compact // 3)
    assert chat("", user="u" * 300, temperature=0.5).prompt_tokens == MESSAGE_TOKENS
    for name in ("documents", "chat_template_kwargs"):  # vLLM puts them into the prompt
        assert chat("", **{name: [{"text": "x" * 289}]}).prompt_tokens == MESSAGE_TOKENS + 101
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x" * 98}]}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    assert estimate(read_request(Endpoint.CHAT, body)).prompt_tokens == MESSAGE_TOKENS + 37


@pytest.mark.parametrize(
    ("members", "max_tokens", "choices"),
    [
        ({}, None, 1),
        ({"max_tokens": 100}, 100, 1),
        ({"max_tokens": 100, "max_completion_tokens": 60}, 100, 1),  # some servers know the older one only
        ({"max_tokens": 60, "max_completion_tokens": 100}, 100, 1),
        ({"max_tokens": 100, "max_completion_tokens": 0}, None, 1),  # to some, 0 is none
        ({"max_tokens": 1, "max_completion_tokens": [9]}, None, 1),
        ({"max_tokens": 100, "max_completion_tokens": None}, 100, 1),
        ({"max_completion_tokens": 60, "n": 3}, 180, 3),
        ({"n": 3}, None, 3),
        ({"max_tokens": 0}, None, 1),
        ({"max_tokens": -1}, None, 1),
        ({"max_tokens": True}, None, 1),
        ({"max_tokens": "9", "n": "100"}, 900, 100),  # as vLLM reads them
        ({"max_tokens": 9.0, "n": 100.0}, 900, 100),
        ({"max_tokens": "nine", "n": "1e999"}, None, 1),
        ({"max_tokens": 0.5, "n": 0.5}, None, 1),
        ({"max_tokens": 10**30, "n": 10**30}, MOST * 16_384, 16_384),
        ({"n": 0, "max_tokens": 7}, 7, 1),
    ],
)
def test_the_callers_bound(members: dict[str, Any], max_tokens: int | None, choices: int) -> None:
    """For all choices together; what no provider would take does not bound anything."""
    found = chat("x", **members)
    assert (found.max_tokens, found.choices) == (max_tokens, choices)


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("abcd", 2), (["abc", "d"], 2), ([1, 2, 3], 3), ([[1, 2], [3]], 3), ([{"a": 1}], 3), ([["a"]], 2)],
)
def test_embeddings(given: Any, tokens: int) -> None:
    """Input that is tokens is counted; nothing is generated."""
    assert embeddings(given) == Estimate(tokens, 0, 1)


@given(st.lists(st.text(), min_size=1))
def test_never_less_than_a_token_for_three_bytes(contents: list[str]) -> None:
    """However it is cut into messages, and more text is never less."""
    whole = sum(len(content.encode()) for content in contents)
    found = chat(*contents).prompt_tokens
    assert 3 * found >= whole
    assert chat(*contents, "more").prompt_tokens > found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4), json_values, json_values, json_values)
def test_any_value_anywhere_is_counted(parts: list[Any], tools: Any, limit: Any, n: Any) -> None:
    """Total: what passed as a request has an estimate, in whole numbers that JSON keeps."""
    found = chat(parts, tools=tools, max_tokens=limit, n=n)
    assert 0 <= found.prompt_tokens < 2**53
    assert found.max_tokens is None or 0 <= found.max_tokens < 2**53

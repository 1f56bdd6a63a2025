"""Hints to wait, and error bodies in all the shapes that providers give them."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_world import NOW_S

from sovereign_ext.providers._shared import error_fields, retry_after, usage_of
from sovereign_ext.providers.base import Usage


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": formatdate(NOW_S + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW_S - 90, usegmt=True)}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 2026 00:00:00 +99999999999999999999"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None):
    """Seconds, HTTP dates and milliseconds; what is not believable is no hint."""
    assert retry_after(headers, NOW_S) == seconds


@given(
    st.text(max_size=40)
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d( [-+]?\w{1,6})?")
)
def test_any_retry_after(value: str):
    """Whatever a provider writes there, a wait is a bounded number of seconds or nothing."""
    for name in ("retry-after", "retry-after-ms"):
        wait = retry_after({name: value}, NOW_S)
        assert wait is None or 0 <= wait <= 3600


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"message": "m", "code": 400}, "m"),
        ([{"error": {"message": "m"}}], "m"),
        ({"error": "m"}, "m"),
        ({"object": "error", "message": "m", "type": "BadRequestError"}, "m"),
        ([], None),
        ("m", None),
        ({"error": 5}, None),
        (None, None),
    ],
)
def test_error_fields(body: Any, message: str | None):
    """Nested, flat, listed or bare: the message is found where it is."""
    assert error_fields(json.dumps(body).encode()).get("message") == message


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 5}, Usage(7, 5)),
        ({"prompt_tokens": 0}, Usage(0, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, Usage()),
        ({"prompt_tokens": "7", "completion_tokens": 1.0}, Usage()),
        (None, Usage()),
        ([], Usage()),
        ({"prompt_tokens": 2**53}, Usage()),
        (
            {
                "prompt_tokens": 9107,
                "prompt_tokens_details": {"cached_tokens": 9000, "cache_write_tokens": 100},
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(9107, 5, cached_tokens=9000, cache_write_tokens=100, reasoning_tokens=5),
        ),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(7)),
        (
            {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 4}},
            Usage(7, cached_tokens=4),
        ),
        ({"prompt_tokens_details": {"cached_tokens": 1}}, Usage()),
        ({"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": -1}}, Usage(None, 7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": None, "completion_tokens_details": []}, Usage(7)),
    ],
)
def test_usage(usage: Any, expected: Usage):
    """Only non-negative integers count; the rest is unsaid, never made up."""
    assert usage_of(usage) == expected


anything = st.none() | st.integers(-3, 12) | st.just(2**60) | st.just("7") | st.just(1.5) | st.booleans()
details = st.none() | st.dictionaries(
    st.sampled_from(("cached_tokens", "cache_write_tokens", "reasoning_tokens")), anything
)


@given(anything, anything, details, details)
def test_parts_are_disjoint_and_within_their_whole(
    prompt: Any, completion: Any, of_prompt: Any, of_completion: Any
):
    """Whatever a provider says."""
    usage = usage_of(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": of_prompt,
            "completion_tokens_details": of_completion,
        }
    )
    read, written, reasoning = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    assert all(part is None or part >= 0 for part in (read, written, reasoning))
    assert (read or 0) + (written or 0) <= (usage.prompt_tokens or 0)
    assert (reasoning or 0) <= (usage.completion_tokens or 0)

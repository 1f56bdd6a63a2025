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
    ],
)
def test_usage(usage: Any, expected: Usage):
    """Only non-negative integers count; the rest is unsaid, never made up."""
    assert usage_of(usage) == expected

"""Reading client requests: what is refused, how, and what is left untouched."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import (
    MAX_DEPTH,
    MOST_VALUES,
    Endpoint,
    Request,
    encode_members,
    read_request,
)

USER = [{"role": "user", "content": "hi"}]
GOOD: dict[str, Any] = {"model": "m", "messages": USER}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("m") | JSON,
        "messages": st.just(USER) | st.lists(st.fixed_dictionaries({"role": JSON, "content": JSON})) | JSON,
        "input": JSON,
        "stream": JSON,
        "stream_options": st.fixed_dictionaries({"include_usage": JSON}) | JSON,
    },
)


def refusal(body: bytes | Any, endpoint: Endpoint = Endpoint.CHAT) -> CallerError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(CallerError) as caught:
        read_request(endpoint, data)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    assert not caught.value.retry
    return caught.value


def attempt(endpoint: Endpoint, body: bytes) -> Request | CallerError:
    """What comes of ``body``; anything but a request or a ``CallerError`` fails the test."""
    try:
        return read_request(endpoint, body)
    except CallerError as error:
        return error


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": USER}, "model", "missing_required_parameter"),
        ({"model": None, "messages": USER}, "model", "invalid_type"),
        ({"model": 5, "messages": USER}, "model", "invalid_type"),
        ({"model": "", "messages": USER}, "model", "invalid_type"),
        ({"model": ["m"], "messages": USER}, "model", "invalid_type"),
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": "hi"}, "messages", "invalid_type"),
        ({"model": "m", "messages": {}}, "messages", "invalid_type"),
        ({"model": "m", "messages": []}, "messages", None),
        ({"model": "m", "messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"model": "m", "messages": [*USER, None]}, "messages[1]", "invalid_type"),
        ({"model": "m", "messages": [{}]}, "messages[0].role", "invalid_value"),
        ({"model": "m", "messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value"),
        ({"model": "m", "messages": [{"role": ["user"]}]}, "messages[0].role", "invalid_value"),
        (
            {"model": "m", "messages": [{"role": "user", "content": 5}]},
            "messages[0].content",
            "invalid_type",
        ),
        (
            {"model": "m", "messages": [{"role": "user", "content": {"a": 1}}]},
            "messages[0].content",
            "invalid_type",
        ),
        ({**GOOD, "stream": "true"}, "stream", "invalid_type"),
        ({**GOOD, "stream": 1}, "stream", "invalid_type"),
        ({**GOOD, "stream_options": {}}, "stream_options", None),
        ({**GOOD, "stream": True, "stream_options": []}, "stream_options", "invalid_type"),
        (
            {**GOOD, "stream": True, "stream_options": {"include_usage": "yes"}},
            "stream_options.include_usage",
            "invalid_type",
        ),
    ],
)
def test_wrong_members_are_named(body: dict[str, Any], param: str, code: str | None):
    """Each missing or wrongly typed member gives 400 with its ``param``."""
    error = refusal(body)
    assert (error.param, error.code) == (param, code)
    assert param.partition("[")[0].partition(".")[0] in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": None}, "input"),
        ({"model": "m", "input": 3}, "input"),
        ({"model": "m", "input": ""}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": "x", "stream": True}, "stream"),
    ],
)
def test_embeddings_members(body: dict[str, Any], param: str):
    """Embeddings want an input and have no streams."""
    assert refusal(body, Endpoint.EMBEDDINGS).param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b'{"model": "m",}',
        b"nonsense",
        b'{"model": NaN}',
        b'{"model": "m", "temperature": Infinity}',
        b'{"model": "m", "temperature": 1e999}',
        b'{"model": "m", "seed": ' + b"1" * 5000 + b"}",
        b'{"model": "m", "x": "\xff"}',
        b'{"model": "m", "x": "\xed\xa0\x80"}',
        b'{"model": "m", "x": "\\ud83d"}',
        b'{"model": "m", "x": "\\udc00\\ud83d"}',
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode("utf-16"),
        b"null",
        b"[]",
        b'"text"',
        b"5",
        json.dumps(GOOD).encode() + b"{}",
        b'{"x": "a\nb"}',
        b"{'model': 'm'}",
    ],
)
@pytest.mark.parametrize("endpoint", Endpoint)
def test_what_is_no_json_object(endpoint: Endpoint, body: bytes):
    """NaN, lone surrogates, byte order marks, huge numbers, bad UTF-8, trailing text: ``invalid_json``."""
    error = refusal(body, endpoint)
    assert (error.code, error.param) == ("invalid_json", None)


def test_depth():
    """The limit itself passes, one level more does not; brackets in strings do not count."""
    nested: Any = "x"
    for _ in range(MAX_DEPTH - 1):
        nested = [nested]
    read_request(Endpoint.CHAT, json.dumps({**GOOD, "x": nested}).encode())
    assert refusal({**GOOD, "x": [nested]}).code == "invalid_json"
    brackets = "[{" * 500 + '"\\'
    read_request(Endpoint.CHAT, json.dumps({**GOOD, "x": brackets}).encode())
    assert refusal(b'{"a":' * 200_000).code == "invalid_json"
    assert refusal(b"[" * 1_000_000).code == "invalid_json"


@pytest.mark.parametrize(
    "hostile",
    [b'{"' + b'\\"' * 1_000_000, b'"' * 1_000_001, b'{"a' + b"\\" * 1_000_001, b'"a' * 500_000],
    ids=["escaped quotes", "quotes", "backslashes", "open strings"],
)
def test_depth_check_is_linear(hostile: bytes):
    """A body that looks like one unfinished string after another is refused in no time, not in minutes."""
    began = time.perf_counter()
    refusal(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + hostile)
    refusal(b"[]" * (MAX_DEPTH + 1) + hostile)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("value", "most"),
    [
        (b'"\\\\\\""', MOST_VALUES - 12),  # beside three arrays, two objects and seven strings
        (b"[ ]", MOST_VALUES - 12),
        (b'{"":1}', (MOST_VALUES - 12) // 2),
        (b"1", MOST_VALUES - 2),  # three more commas than there are ones
    ],
)
def test_values(value: bytes, most: int):
    """The limit itself passes, one value more does not: before any of them is made."""
    body = b'{"model":"m","messages":[{"role":"user","content":""}],"x":[%s]}'
    read_request(Endpoint.CHAT, body % b",".join([value] * most))
    assert refusal(body % b",".join([value] * (most + 1))).code == "invalid_json"


def test_what_is_in_strings_and_the_tokens_of_embeddings_are_no_values_of_their_own():
    """However many: prose has brackets, commas and quotation marks, and what is embedded may be tokens."""
    many = MOST_VALUES + 1
    for prose in ("[", "{", ",", '"', "\\", '\\"'):
        message = {"role": "user", "content": prose * many}
        read_request(Endpoint.CHAT, json.dumps({"model": "m", "messages": [message]}).encode())
    read_request(Endpoint.EMBEDDINGS, json.dumps({"model": "m", "input": [1] * many}).encode())


@given(JSON)
def test_depth_is_that_of_the_parsed_body(value: Any):
    """Whatever is in strings, and however it is spelled."""

    def levels(inner: Any) -> int:
        items = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else None
        return 0 if items is None else 1 + max(map(levels, items), default=0)

    for _ in range(MAX_DEPTH - levels(value) - 2):
        value = [value]
    body = {"model": "m", "messages": USER, "x": [value, ['[\\"{'] * MAX_DEPTH, [[]] * MAX_DEPTH]}
    read_request(Endpoint.CHAT, json.dumps(body).encode())
    body["x"] = [body["x"]]
    assert refusal(body).code == "invalid_json"


def test_the_last_duplicate_counts():
    """A member given twice: the last one is read, and the only one that is sent on."""
    body = b'{"model":"first","stream":false,"model":"last","messages":[{"role":"user","content":"x"}]}'
    request = read_request(Endpoint.CHAT, body)
    assert request.model == "last"
    assert encode_members(request.members).count(b'"model"') == 1
    assert b"first" not in encode_members(request.members)


def test_values_keep_their_spelling():
    """Numbers, escapes and unknown members go out byte for byte as they came in."""
    values = {
        "temperature": b"1.0",
        "top_p": b"1E-2",
        "seed": b"123456789012345678901234567890",
        "unknown": b'{"a" : [ 1.50, -0 ], "a": null}',
        "user": b'"\\u00e9\\/"',
    }
    body = b'{"model":"m","messages":[{"role":"user","content":null}]'
    body += b"".join(b',"%s":%s' % (name.encode(), raw) for name, raw in values.items()) + b"}"
    request = read_request(Endpoint.CHAT, body)
    assert {name: bytes(request.members[name]) for name in values} == values
    sent = encode_members(request.members)
    for raw in values.values():
        assert raw in sent


def test_defaults():
    """No stream and no usage chunk unless asked for; null means unasked."""
    request = read_request(Endpoint.CHAT, json.dumps({**GOOD, "stream": None}).encode())
    assert (request.stream, request.include_usage) == (False, False)
    asked = {**GOOD, "stream": True, "stream_options": {"include_usage": True}}
    request = read_request(Endpoint.CHAT, json.dumps(asked).encode())
    assert (request.stream, request.include_usage) == (True, True)


@given(st.binary(max_size=200), st.sampled_from(Endpoint))
def test_arbitrary_bytes(body: bytes, endpoint: Endpoint):
    """Bytes either make a request or raise ``CallerError``; nothing else, ever."""
    outcome = attempt(endpoint, body)
    assert isinstance(outcome, Request) or outcome.status == 400


@given(MEMBERS, st.sampled_from(Endpoint))
def test_arbitrary_json(members: dict[str, Any], endpoint: Endpoint):
    """So does any JSON; what passes has the types it promises and goes out as it came."""
    body = json.dumps(members, ensure_ascii=True).encode()
    request = attempt(endpoint, body)
    if isinstance(request, CallerError):
        assert request.status == 400
        return
    assert isinstance(request.model, str)
    assert request.model
    assert msgspec.json.decode(encode_members(request.members)) == request.values == json.loads(body)


@given(JSON, st.data())
def test_damaged_json(value: Any, data: st.DataObject):
    """A cut or a changed byte somewhere in a good body raises ``CallerError`` or is another good body."""
    body = bytearray(json.dumps({**GOOD, "x": value}, ensure_ascii=False).encode(errors="replace"))
    at = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        del body[at:]
    else:
        body[at] = data.draw(st.integers(0, 255))
    outcome = attempt(Endpoint.CHAT, bytes(body))
    assert isinstance(outcome, Request) or outcome.status == 400

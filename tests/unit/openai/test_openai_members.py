"""Members of a provider's objects and items of its arrays as bytes, by the fast reader and by the slow one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.openai.members import raw_items, raw_members

VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
HALF = b'"\\ud83d"'


def raw(body: bytes) -> dict[str, bytes] | None:
    members = raw_members(body)
    return None if members is None else {name: bytes(value) for name, value in members.items()}


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_both_readers_agree(value: dict[str, Any], indent: int | None, ascii_: bool):
    """Half a character somewhere changes how the object is read, not what is read."""
    value.pop("half", None)
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    expected = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    assert raw(body) == {name: bytes(each) for name, each in expected.items()}
    comma = b"," if value else b""
    halved = body[: body.rfind(b"}")] + comma + b' "half" :\t' + HALF + b"\n}\r\n"
    assert raw(halved) == {name: bytes(each) for name, each in expected.items()} | {"half": HALF}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"a":' + HALF, b'{"a":' + HALF + b",}", b'{"a":' + HALF + b"} x",
     b'{"a":NaN,"b":' + HALF + b"}", b"{" + HALF + b":1}", b"{5:" + HALF + b"}", b"[" + HALF + b"]",
     b'{"a" ' + HALF + b"}",
     b'{"a":' + HALF + b'"b":1}', b'{"a":' + HALF + b',"b":\xff}', b'{"a":' + b"[" * 5000 + HALF, HALF,
     b'{"a":"\xff"}', b'{"a":{"b":["\xc0\xaf"]}}', b'{"a":"\xed\xa0\x80"}'],
)  # fmt: skip
def test_what_is_no_object(body: bytes):
    """Anything else is ``None``, never an exception."""
    assert raw(body) is None


@given(
    st.lists(st.sampled_from([b"{", b"}", b'"a"', b":", b",", HALF, b"1", b" ", b"[", b"]"]), max_size=9).map(
        b"".join
    )
)
def test_odd_text(body: bytes):
    """Where both can read, they agree; the slow reader takes nothing that is not JSON."""
    found = raw(body)
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    assert (found is None) == (not isinstance(value, dict) or any("\ud83d" in name for name in value))


@given(st.lists(VALUES, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_both_readers_of_arrays_agree(value: list[Any], indent: int | None, ascii_: bool):
    """Half a character in one item changes how the array is read, not what is read."""
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    expected = [bytes(each) for each in msgspec.json.decode(body, type=list[msgspec.Raw])]
    assert [bytes(each) for each in raw_items(body) or ()] == expected
    comma = b"," if value else b""
    halved = body[: body.rfind(b"]")] + comma + b" \t" + HALF + b"\n]\r\n"
    assert [bytes(each) for each in raw_items(halved) or ()] == [*expected, HALF]


@given(
    st.lists(st.sampled_from([b"{", b"}", b'"a"', b":", b",", HALF, b"1", b" ", b"[", b"]"]), max_size=9).map(
        b"".join
    )
)
def test_what_is_no_array(body: bytes):
    """Anything else is ``None``, never an exception."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    assert (raw_items(body) is None) == (not isinstance(value, list))
    assert raw_items(b"[" * 5000 + HALF) is None
    assert raw_items(b"[" + HALF + b",\xff]") is None

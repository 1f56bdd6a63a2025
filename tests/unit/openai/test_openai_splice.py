"""Putting the attestation in and taking it out: byte for byte what was there before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sovereign_ext.openai import sse
from sovereign_ext.openai.splice import NAME, closing_event, splice, strip_json, strip_sse

ATTESTATION = b'{"version":1,"rekor_index":7,"note":"} , {"}'
KEYS = st.sampled_from([NAME, "a", "choices", f'"{NAME}":']) | st.text(max_size=5)
TEXTS = st.text(max_size=8) | st.sampled_from(
    [f'"{NAME}":' + "{}", f',"{NAME}":', "}", "{", '"', "\\", "\n\n"]
)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def written(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode(errors="replace")


@given(OBJECTS, st.sampled_from([None, 0, 2]), st.sampled_from([b"", b"\n", b" \r\n"]))
@example({NAME: {}}, None, b"")
@example({}, 2, b"\n")
@example({"a": {NAME: {"b": 1}}}, None, b"")
def test_strip_undoes_splice(value: dict[str, Any], indent: int | None, tail: bytes):
    """For any object, also one that holds the name in texts, deeper down or as a member of its own."""
    body = written(value, indent) + tail
    spliced = splice(body, ATTESTATION)
    assert strip_json(spliced) == body
    parsed = json.loads(spliced)
    assert list(parsed)[-1] == NAME or NAME in value
    assert parsed[NAME] == json.loads(ATTESTATION)


@given(OBJECTS.filter(lambda value: NAME not in value))
def test_nothing_to_strip(value: dict[str, Any]):
    """Without an attestation nothing is taken out, whatever the texts say."""
    body = written(value)
    assert strip_json(body) == body


@pytest.mark.parametrize("body", [b"", b"[]", b"{} x", b"null"])
def test_only_objects(body: bytes):
    """What is no object cannot carry an attestation."""
    with pytest.raises(ValueError, match="object"):
        splice(body, ATTESTATION)


@given(st.lists(OBJECTS.filter(lambda value: NAME not in value), min_size=1, max_size=5), st.booleans())
def test_streams(chunks: list[dict[str, Any]], finished: bool):
    """A whole stream is what it was before: the member out of the finish chunk, the closing event gone."""
    framed = [written(chunk) for chunk in chunks]
    before = b"".join(map(sse.frame, framed)) + sse.DONE
    if finished:
        framed[-1] = splice(framed[-1], ATTESTATION)
    after = b"".join(map(sse.frame, framed)) + sse.DONE + closing_event(b'{"choices":[]}', ATTESTATION)
    assert strip_sse(after) == before
    assert strip_sse(before) == before


def test_a_finish_chunk_before_the_usage_chunk():
    """The member is found although the usage chunk comes between it and the end."""
    finish, usage = b'{"choices":[{"finish_reason":"stop"}]}', b'{"choices":[],"usage":{"total_tokens":1}}'
    before = sse.frame(finish) + sse.frame(usage) + sse.DONE
    after = sse.frame(splice(finish, ATTESTATION)) + sse.frame(usage) + sse.DONE
    assert strip_sse(after + closing_event(b'{"choices":[]}', ATTESTATION)) == before


def test_an_error_event():
    """A broken-off stream ends in an error event with the member; the rest is left."""
    before = sse.frame(b'{"choices":[{"delta":{"content":"x"}}]}') + sse.frame(b'{"error":{"message":"m"}}')
    after = sse.frame(b'{"choices":[{"delta":{"content":"x"}}]}')
    after += sse.frame(splice(b'{"error":{"message":"m"}}', ATTESTATION))
    assert strip_sse(after) == before


def test_the_users_text_is_left():
    """A user who writes an attestation into the prompt gets it back unchanged, however it is escaped."""
    said = f'event: sf_attestation\ndata: {{"{NAME}": {{}}}}\n\n"{NAME}":{{}}'
    chunk = written({"choices": [{"delta": {"content": said}}]})
    stream = sse.frame(chunk) + sse.DONE
    assert strip_sse(stream + closing_event(b'{"choices":[]}', ATTESTATION)) == stream
    assert strip_json(splice(chunk, ATTESTATION)) == chunk

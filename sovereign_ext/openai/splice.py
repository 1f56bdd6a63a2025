"""Where the attestation sits in a response, and how to take it out again byte for byte.

JSON bodies carry ``_sf_attestation`` as their last member; streams carry it as the last member of the held
finish chunk and in one closing ``event: sf_attestation`` after ``[DONE]``. What the delivered-response
commitment covers is the response with exactly those bytes removed, so ``strip_*`` undoes ``splice`` and
``closing_event`` without re-serialising anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from sovereign_ext.openai.members import raw_members

NAME: Final = "_sf_attestation"
EVENT: Final = b"sf_attestation"

_MEMBER: Final = b'"_sf_attestation":'
_CLOSING: Final = b"event: " + EVENT + b"\n"


def splice(body: bytes, attestation: bytes) -> bytes:
    """``body`` (a JSON object) with the attestation (a JSON object) as its last member.

    Raises ``ValueError`` if ``body`` does not end in ``}``; white space after it stays where it is.
    """
    end = body.rfind(b"}")
    if end < 0 or body[end + 1 :].strip():
        raise ValueError("expected a JSON object")
    comma = b"" if body[:end].rstrip().endswith(b"{") else b","
    return b"".join((body[:end], comma, _MEMBER, attestation, body[end:]))


def strip_json(body: bytes) -> bytes:
    """The body as it was before ``splice``; unchanged if it carries no attestation."""
    return split_json(body)[0]


def split_json(body: bytes) -> tuple[bytes, bytes | None]:
    """The body as it was before ``splice``, and the attestation that was taken out, byte for byte."""
    span = _member_span(body)
    if span is None:
        return body, None
    start, end = span
    return body[:start] + body[end:], body[body.index(_MEMBER, start) + len(_MEMBER) : end]


def _member_span(body: bytes) -> tuple[int, int] | None:
    """Start and end of the spliced member, its comma included.

    A client's text may hold the member's name too, inside a string or deeper down; only a candidate whose
    removal leaves a JSON object, and which is itself one whole object right before the final brace, counts.
    """
    end = body.rfind(b"}")
    at = body.rfind(_MEMBER, 0, end)
    while at >= 0:
        value = body[at + len(_MEMBER) : end]
        start = at - 1 if body[at - 1 : at] == b"," else at
        if _is_object(value) and _is_object(body[:start] + body[end:]):
            return start, end
        at = body.rfind(_MEMBER, 0, at)
    return None


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def closing_event(chunk: bytes, attestation: bytes) -> bytes:
    """The event after ``[DONE]``: ``chunk`` is a chunk-shaped object with ``choices: []``."""
    return _CLOSING + b"data: " + splice(chunk, attestation) + b"\n\n"


def closing_chunk(last: bytes, fallback: Mapping[str, object]) -> bytes:
    """A chunk-shaped object with no choices, of the same stream as the chunk ``last`` (empty: there was none).

    It has the members of ``fallback``, each as it stands in ``last`` where that has it.
    """
    there = raw_members(last) or {}
    shape = {name: there.get(name, value) for name, value in fallback.items()}
    return msgspec.json.encode({**shape, "choices": []})


@dataclass(frozen=True, slots=True)
class SplitStream:
    """A stream taken apart. ``body`` is the stream as it was before the splice, ``member`` the attestation in one of
    its chunks, ``closing`` the whole closing event; ``None`` where there is none."""

    body: bytes
    member: bytes | None
    closing: bytes | None


def strip_sse(stream: bytes) -> bytes:
    """The stream as it was before the splice: the member taken out of its chunk, the closing event gone."""
    return split_sse(stream).body


def split_sse(stream: bytes) -> SplitStream:
    """The stream as it was before the splice, and what was taken out, byte for byte."""
    member = closing = None
    at = stream.rfind(_CLOSING)
    if at >= 0 and (at == 0 or stream[at - 1 : at] == b"\n"):
        stream, closing = stream[:at], stream[at:]
    lines = stream.split(b"\n")
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        if line.startswith(b"data: {") and _MEMBER in line:
            chunk, member = split_json(line[6:])
            if member is not None:
                lines[number] = b"data: " + chunk
                break
    return SplitStream(b"\n".join(lines), member, closing)

"""Where the attestation sits in a response, and how to take it out again byte for byte.

JSON bodies carry ``_sf_attestation`` as their last member; streams carry it as the last member of the held
finish chunk and in one closing ``event: sf_attestation`` after ``[DONE]``. What the delivered-response
commitment covers is the response with exactly those bytes removed, so ``strip_*`` undoes ``splice`` and
``closing_event`` without re-serialising anything else.
"""

from __future__ import annotations

import json
from typing import Final

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
    span = _member_span(body)
    return body if span is None else body[: span[0]] + body[span[1] :]


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


def strip_sse(stream: bytes) -> bytes:
    """The stream as it was before the splice: the member taken out of its chunk, the closing event gone."""
    closing = stream.rfind(_CLOSING)
    if closing >= 0 and (closing == 0 or stream[closing - 1 : closing] == b"\n"):
        stream = stream[:closing]
    lines = stream.split(b"\n")
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if line.startswith(b"data: {") and _MEMBER in line:
            chunk = strip_json(line[6:])
            if len(chunk) + 6 != len(line):
                lines[at] = b"data: " + chunk
                break
    return b"\n".join(lines)

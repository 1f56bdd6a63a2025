"""The attestation in a response against the entry: byte for byte what the signed facts and the receipt give.

The delivered-response commitment covers the response without what was spliced in; this covers what was spliced in,
so that together no bit of a response is left unchecked. Streams carry the attestation twice, the second time in an
event of their own, whose chunk takes its members from the last chunk before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.receipt_form import Receipt
from sovereign_ext.errors import VerificationError
from sovereign_ext.openai.splice import closing_chunk, closing_event, split_json, split_sse
from sovereign_ext.tlog.hashing import leaf_hash


class _Place:
    """Where the receipt says the entry is."""

    def __init__(self, receipt: Receipt) -> None:
        self.index = receipt.index
        self.leaf_hash = leaf_hash(receipt.body)
        self.time_ms = receipt.promise.time_ms
        self.promise = receipt.promise_signature


def is_json(response: bytes) -> bool:
    """Whether the body is a JSON document; else it is a stream of events."""
    return response.lstrip()[:1] in (b"{", b"[")


def without_attestation(response: bytes) -> bytes:
    """The bytes that the delivered-response commitment covers."""
    return split_json(response)[0] if is_json(response) else split_sse(response).body


def verify_attestation(response: bytes, predicate: Mapping[str, Any], receipt: Receipt) -> bool:
    """Check what was spliced into ``response``; false if there is nothing. Raises ``VerificationError``."""
    try:
        expected = Attestations(receipt.promise.origin, receipt.log_id).of_predicate(
            predicate, _Place(receipt)
        )
    except (KeyError, TypeError):
        raise VerificationError("the entry lacks facts that an attestation shows") from None
    if is_json(response):
        found = split_json(response)[1]
        _compare(found, expected)
        return found is not None
    stream = split_sse(response)
    _compare(stream.member, expected)
    if stream.closing is not None:
        fallback = {
            "id": f"chatcmpl-{str(predicate['decision_id'])[-24:]}",
            "object": "chat.completion.chunk",
            "created": predicate["started_ms"] // 1000,
            "model": predicate["model"],
        }
        chunk = closing_chunk(_last_chunk(stream.body), fallback)
        if stream.closing != closing_event(chunk, expected):
            raise VerificationError("the closing event is not the one that this entry gives")
    return stream.member is not None or stream.closing is not None


def _compare(found: bytes | None, expected: bytes) -> None:
    if found is not None and found != expected:
        raise VerificationError("the response's attestation is not the one that this entry gives")


def _last_chunk(stream: bytes) -> bytes:
    """Data of the last event before ``[DONE]``; empty if there is none."""
    for line in reversed(stream.split(b"\n")):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            return line[6:]
    return b""

"""The fixture itself: what the other modules rely on."""

from __future__ import annotations

import pytest
from stack import Gateway

pytestmark = pytest.mark.dataplane


def test_json(gateway: Gateway):
    """A whole answer carries its attestation, and the row is there under its index."""
    reply = gateway.stack.chat("chat")
    assert reply.status == 200
    assert reply.text == "You said: Say hello to the reader"
    row = gateway.stack.row_of(reply)
    assert row.index == reply.attestation["rekor_index"]
    assert row.outcomes == ["ok"]


def test_stream(gateway: Gateway):
    """A stream ends with finish, [DONE] and the attestation event."""
    reply = gateway.stack.chat("chat", stream=True)
    assert (reply.status, reply.complete, reply.done) == (200, True, True)
    assert reply.text == "You said: Say hello to the reader"
    assert reply.finish_reasons == ["stop"]
    assert gateway.stack.row_of(reply).index == reply.stream_attestation["rekor_index"]

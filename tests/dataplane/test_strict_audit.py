"""Strict audit: the decision is durable before a provider sees a byte, and the outcome refers to it."""

from __future__ import annotations

import json
import socket
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

ROUNDS = 5


@pytest.fixture
def strict() -> Iterator[Gateway]:
    """A stack of its own, whose log and processor are going to fail. The tenants' default policy is strict."""
    with ExitStack() as running:
        config = ConfigFile()
        mock = running.enter_context(RunningMock("openai"))
        config.policy("strict", audit="strict")
        config.policy("standard")
        config.provider("one", "openai", mock.url)
        config.model("chat", ["one"])
        yield Gateway(running.enter_context(Stack(config)), {"one": mock})


def entries(stack: Stack) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, decision id and predicate of every entry of a call, in order."""
    database = sqlite3.connect(f"file:{stack.state_dir / 'log' / 'log.db'}?mode=ro", uri=True, timeout=5)
    try:
        rows = database.execute("SELECT kind, decision_id, envelope FROM log_entries ORDER BY idx").fetchall()
    finally:
        database.close()
    return [
        (kind, decision, json.loads(b64decode(json.loads(envelope)["payload"]))["predicate"])
        for kind, decision, envelope in rows
        if kind in ("decision", "outcome")
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_two_entries_that_belong_together(strict: Gateway, stream: bool) -> None:
    """The decision comes first, with the plan and what it was made from; the outcome names its index."""
    reply = strict.stack.chat("chat", stream=stream)
    assert reply.status == 200
    (first, decision), (second, outcome) = [(kind, said) for kind, _, said in entries(strict.stack)]
    assert (first, second) == ("decision", "outcome")
    assert decision["plan"] == ["chat.one"]
    assert decision["candidates"] == outcome["candidates"]
    assert decision["request"] == outcome["request"]
    attestation = reply.stream_attestation if stream else reply.attestation
    assert outcome["decision_index"] == attestation["rekor_index"] - 1


def test_standard_audit_has_one_entry(strict: Gateway) -> None:
    """It is the policy that asks for two."""
    assert strict.stack.chat("chat", headers={"x-sf-policy": "standard"}).status == 200
    assert [kind for kind, _, _ in entries(strict.stack)] == ["outcome"]


def test_a_log_that_fails_means_that_nothing_is_sent(strict: Gateway) -> None:
    """A standard policy sends, and withholds the answer; a strict one does not even send."""
    stack, mock = strict.stack, strict.mocks["one"]
    blocker = sqlite3.connect(stack.state_dir / "log" / "log.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        reply = stack.chat("chat")
        assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
        assert mock.requests() == []
        reply = stack.chat("chat", headers={"x-sf-policy": "standard"})
        assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
        assert len(mock.requests()) == 1
    finally:
        blocker.rollback()
        blocker.close()
    assert eventually(lambda: stack.chat("chat").status == 200, "calls are answered again")


def test_killed_between_decision_and_answer(strict: Gateway) -> None:
    """Whatever a provider has seen when the processor is killed, its decision is in the log after the restart."""
    stack, mock = strict.stack, strict.mocks["one"]
    mock.fault(Fault(stall=Stall(at="headers")))
    for number in range(1, ROUNDS + 1):
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
        sent = _send_only(stack, body)
        eventually(lambda number=number: len(mock.requests()) == number, "the provider has the request")
        stack.processor.kill()
        sent.close()
        stack.start_processor()
        stack.wait_serving()
        found = entries(stack)
        assert [kind for kind, _, _ in found] == ["decision"] * number
        assert found[-1][2]["plan"] == ["chat.one"]
    stack.fsck()
    stack.monitor()


def _send_only(stack: Stack, body: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", stack.port))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {stack.config.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection

"""The processor is missing, hangs or dies: Envoy fails closed, in OpenAI's error shape, and recovers by itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import wire
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane


@pytest.fixture
def failing() -> Iterator[Gateway]:
    """A stack of its own with a short patience for the processor."""
    with ExitStack() as running:
        config = ConfigFile()
        mock = running.enter_context(RunningMock("openai"))
        config.provider("one", "openai", mock.url)
        config.model("chat", ["one"])
        options = ("--message-timeout-ms", "700")
        yield Gateway(running.enter_context(Stack(config, processor_options=options)), {"one": mock})


def own_reply(reply: wire.Reply, status: int, code: str) -> None:
    """Envoy's own answer: an OpenAI error that names nothing inside."""
    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    for inside in (b"ext_proc", b"upstream", b".sock", b"127.0.0.1", b"envoy"):
        assert inside not in reply.body.lower()


def test_a_missing_processor_fails_closed_and_recovers(failing: Gateway) -> None:
    """Nothing is proxied without it; a new one on the same socket is found without touching Envoy."""
    stack, mock = failing.stack, failing.mocks["one"]
    stack.processor.kill()
    for path, method in (("/v1/chat/completions", "POST"), ("/v1/models", "GET"), ("/anything", "GET")):
        body = {"model": "chat", "messages": []} if method == "POST" else None
        reply = wire.call(stack.port, path, key=stack.config.key, body=body, method=method)
        own_reply(reply, 500, "gateway_unavailable")
        assert reply.headers["x-should-retry"] == "true"
    assert mock.requests() == []
    stack.start_processor()
    stack.wait_serving()
    assert stack.chat("chat").status == 200


def test_a_hung_processor_is_given_up_after_the_message_timeout(failing: Gateway) -> None:
    """504 after the configured time, not a connection that hangs; when it goes on, so do calls."""
    stack, mock = failing.stack, failing.mocks["one"]
    stack.processor.send(signal.SIGSTOP)
    began = time.monotonic()
    reply = stack.chat("chat")
    own_reply(reply, 504, "gateway_timeout")
    assert 0.6 < time.monotonic() - began < 10
    assert mock.requests() == []
    stack.processor.send(signal.SIGCONT)
    stack.wait_serving()
    assert stack.chat("chat").status == 200


def test_killed_in_the_middle_of_a_stream(failing: Gateway) -> None:
    """The client sees a truncated body, never an end that looks like one; the next call is answered."""
    stack, mock = failing.stack, failing.mocks["one"]
    mock.fault(Fault(tokens=300, pace_ms=10))
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        stack.processor.kill()
        reply = running.finish()
    assert not reply.complete
    assert not reply.done
    assert reply.finish_reasons == []
    mock.clear()
    stack.start_processor()
    stack.wait_serving()
    assert stack.chat("chat").status == 200
    stack.fsck()


def test_an_orderly_stop_finishes_the_calls_in_flight(failing: Gateway) -> None:
    """SIGTERM: open streams come to their end, attested; new calls are refused; the log closes clean."""
    stack, mock = failing.stack, failing.mocks["one"]
    mock.fault(Fault(tokens=60, pace_ms=10))
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        stack.processor.send(signal.SIGTERM)
        reply = running.finish()
    assert (reply.complete, reply.done, reply.finish_reasons) == (True, True, ["stop"])
    assert stack.processor.end() == 0
    assert stack.row_of(reply).index == reply.stream_attestation["rekor_index"]
    stack.fsck()
    stack.start_processor()
    stack.wait_serving()

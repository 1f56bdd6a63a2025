"""The processor is missing, hangs or dies: Envoy fails closed, in OpenAI's error shape, and recovers by itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import wire
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

TOTAL_S = 2.5  # the provider's limit


@pytest.fixture
def failing() -> Iterator[Gateway]:
    """A stack of its own with a short patience for the processor."""
    with ExitStack() as running:
        config = ConfigFile()
        mock = running.enter_context(RunningMock("openai"))
        config.provider("one", "openai", mock.url, timeouts={"total_ms": int(TOTAL_S * 1000)})
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


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_hung_while_an_answer_waits(failing: Gateway, stream: bool) -> None:
    """The provider's answer comes, the processor does not take it: given up when all limits have passed."""
    stack, mock = failing.stack, failing.mocks["one"]
    mock.fault(Fault(delay_ms=1000), times=1)  # time enough to stop the processor
    with ThreadPoolExecutor() as pool:
        call = pool.submit(stack.chat, "chat", stream=stream)
        eventually(mock.requests, "the provider is asked")
        stack.processor.send(signal.SIGSTOP)
        reply = call.result()
    own_reply(reply, 504, "gateway_timeout")
    assert reply.headers["x-sf-decision-id"].startswith("dec-")
    assert TOTAL_S < reply.seconds < TOTAL_S + 5
    stack.processor.send(signal.SIGCONT)
    stack.wait_serving()
    row = stack.row_of(reply)
    assert row.predicate["error_code"] == "client_disconnected"
    # Words and the client's leaving have both come meanwhile: a stream may be let go before the latter is heard.
    assert row.predicate["result"] in (("failed", "truncated") if stream else ("failed",))
    assert len(mock.requests()) == 1
    assert stack.chat("chat").status == 200
    stack.fsck()


def test_hung_in_the_middle_of_a_stream(failing: Gateway) -> None:
    """The same when words have come: the client's stream is cut, not left open for ever."""
    stack, mock = failing.stack, failing.mocks["one"]
    mock.fault(Fault(tokens=300, pace_ms=10), times=1)
    with stack.open_chat("chat") as running:
        running.read_until(b'"content"')
        stack.processor.send(signal.SIGSTOP)
        reply = running.finish()
    assert not reply.complete
    assert not reply.done
    assert TOTAL_S < reply.seconds < TOTAL_S + 5
    stack.processor.send(signal.SIGCONT)
    stack.wait_serving()
    assert stack.row_of(reply).predicate["result"] == "truncated"
    assert stack.chat("chat").status == 200
    stack.fsck()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_answers_may_take_longer_than_the_message_timeout(failing: Gateway, stream: bool) -> None:
    """Envoy's patience is with the processor, which holds headers until the words are there; not with models."""
    stack, mock = failing.stack, failing.mocks["one"]
    mock.fault(Fault(delay_ms=900, stall=Stall(at="first_event", seconds=1.0)))
    reply = stack.chat("chat", stream=stream)
    assert reply.status == 200
    assert reply.seconds > 1.9
    assert stack.row_of(reply).predicate["result"] == "answered"

"""A stream whose provider fails once: before content another one answers, after it the client is told."""

from __future__ import annotations

from stack import Gateway

from sovereign_ext.mock.faults import Fault


def assert_walked(gateway: Gateway, mock: str, model: str, fault: Fault, outcome: str) -> None:
    """Before content: ``outcome``, then the spare one's answer. The client sees nothing of it."""
    gateway.mocks[mock].fault(fault, times=1)
    reply = gateway.stack.chat(model, stream=True)
    assert reply.done
    assert reply.headers["x-sf-provider"] == "spare"
    assert gateway.stack.row_of(reply).outcomes == [outcome, "ok"]


def assert_broken(gateway: Gateway, mock: str, model: str, fault: Fault, outcome: str, code: str) -> None:
    """After content: an error event, no finish chunk, no ``[DONE]``, nothing of what came behind it; nobody else is
    asked."""
    gateway.mocks[mock].fault(fault, times=1)
    reply = gateway.stack.chat(model, stream=True)
    assert reply.status == 200
    assert (reply.finish_reasons, reply.done) == ([], False)
    assert reply.stream_error is not None
    assert reply.stream_error["code"] == code
    assert gateway.stack.row_of(reply).outcomes == [outcome]

"""From a request to its native answer: read it, find its fault, let the wire answer, let the fault replace
that.

Pure apart from the fault table's counters, which is where "times" is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock import damage, transmit
from sovereign_ext.mock.faults import NORMAL, Fault, FaultTable
from sovereign_ext.mock.framing import encode_events
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.recording import Recorded
from sovereign_ext.mock.reply import Call, Failure, Identity, Reply, encode
from sovereign_ext.mock.steps import Step
from sovereign_ext.mock.wires.base import Wire


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply and what is to go wrong while it is sent."""

    reply: Reply
    fault: Fault

    @property
    def normal(self) -> bool:
        """Nothing goes wrong: the reply can be sent in one piece."""
        return self.fault is NORMAL


def answer(
    wire: Wire, faults: FaultTable, request: Request, recorded: Recorded, tag: Callable[[int], str]
) -> Answered:
    """Answer a request; notes model, fault and status in ``recorded``."""
    identity = Identity(tag(recorded.number), int(recorded.received_at))
    fault, call = NORMAL, None
    try:
        call = wire.read(request)
        recorded.model = call.model or None
        fault = faults.strike(recorded.model, request.path)
        reply = _reply(wire, call, fault, identity)
    except CallerError as error:
        if recorded.model is None:
            fault = faults.strike(None, request.path)
        reply = _refused(wire, error, fault, identity, call)
    if fault is not NORMAL:
        recorded.fault = msgspec.to_builtins(fault)
    recorded.status = reply.status
    return Answered(reply, fault)


def plain(reply: Reply, terms: transmit.Terms) -> bytes:
    """A faultless answer as the bytes of one write."""
    if reply.events is None:
        return transmit.whole(reply, reply.body, terms)
    pieces = [data for _, data in encode_events(reply.events, reply.format)]
    if terms.http10:
        return transmit.whole(reply, b"".join(pieces), terms)
    return transmit.whole(reply, b"".join(map(transmit.chunk, pieces)) + transmit.LAST_CHUNK, terms)


def steps(answered: Answered, terms: transmit.Terms) -> Iterator[Step]:
    """A faulty answer as a script."""
    return transmit.script(answered.reply, answered.fault, terms)


def refusal(wire: Wire, error: CallerError, tag: str) -> Reply:
    """The answer to bytes that were not a request."""
    return _failed(wire, error, Identity(tag, 0), None)


def digest(body: bytes) -> str:
    """Hex SHA-256."""
    return sha256(body).hexdigest()


def _reply(wire: Wire, call: Call, fault: Fault, identity: Identity) -> Reply:
    if fault is NORMAL:
        return wire.answer(call, fault, identity)
    if fault.body is not None or fault.html or (fault.status or 0) >= 400:
        return _replaced(wire, fault, identity, call)
    reply = wire.answer(call, fault, identity)
    if fault.status is not None:
        reply = replace(reply, status=fault.status)
    if fault.error_event is None:
        return reply
    told = fault.error_event
    failure = Failure(told.status, told.message, told.type, told.code)
    if reply.events is None:
        return replace(wire.failure(failure, identity, call), status=reply.status)
    event = wire.failure_event(failure, identity, call)
    if event.raw and told.as_data:
        event = replace(event, data=encode(msgspec.json.decode(event.data)), raw=False)
    return damage.interrupted(reply, event, fault)


def _replaced(wire: Wire, fault: Fault, identity: Identity, call: Call | None) -> Reply:
    """What a fault says instead of the answer: a literal body, an HTML page, or a native error."""
    status = fault.status or (502 if fault.html and fault.body is None else 200)
    if fault.body is not None:
        kind = "text/html; charset=utf-8" if fault.html else "application/json"
        return Reply(status=status, body=fault.body.encode(), content_type=kind)
    if fault.html:
        return Reply(
            status=status, body=damage.HTML % (status, status), content_type="text/html; charset=utf-8"
        )
    return wire.failure(
        Failure(status, fault.error_message, fault.error_type, fault.error_code), identity, call
    )


def _refused(wire: Wire, error: CallerError, fault: Fault, identity: Identity, call: Call | None) -> Reply:
    """A request the provider refuses, unless a fault has something else to say about it."""
    if fault.body is not None or fault.html or (fault.status or 0) >= 400:
        return _replaced(wire, fault, identity, call)
    return _failed(wire, error, identity, call)


def _failed(wire: Wire, error: CallerError, identity: Identity, call: Call | None) -> Reply:
    kind = "" if error.type == "invalid_request_error" else error.type
    failure = Failure(error.status, error.message, kind, error.code or "", error.param or "")
    return wire.failure(failure, identity, call)

"""The control endpoint ``/_mock/…`` on a mock server's own port: arm and lift faults, read what was received.

It shows every credential the server received and lets anyone who reaches the port change its behaviour: it is
for tests, and ``--no-control`` turns it off. Control requests are not recorded and never meet a fault.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import FaultTable, rule_from_json
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.recording import Recording
from sovereign_ext.mock.reply import Reply, json_reply
from sovereign_ext.mock.wires.base import Controlled, Wire

PREFIX = "/_mock/"


def control(request: Request, faults: FaultTable, recording: Recording, wire: Wire) -> Reply:
    """Answer a control request; errors are JSON ``{"error": text}``."""
    try:
        own = wire.control(request) if isinstance(wire, Controlled) else None
        return own or _answer(request, faults, recording)
    except CallerError as error:
        return json_reply({"error": error.message}, status=error.status)


def _answer(request: Request, faults: FaultTable, recording: Recording) -> Reply:
    match request.method, request.path.removeprefix(PREFIX):
        case "POST", "fault":
            rule = rule_from_json(request.body)
            if rule.fault.accept is not None and rule.times is None:
                raise CallerError(
                    400, "an accept fault needs times here: the call to lift it could not get in"
                )
            faults.add(rule)
        case "GET", "fault":
            pass
        case "DELETE", "fault":
            faults.clear()
        case "GET", "requests":
            kept = [recorded.as_json() for recorded in recording.all()]
            last = parse_qs(request.query).get("last", [""])[0]
            if last and not last.isdecimal():
                raise CallerError(400, f"last={last!r} is not a number")
            return json_reply({"requests": kept[max(0, len(kept) - int(last)) :] if last else kept})
        case "DELETE", "requests":
            recording.clear()
            return json_reply({"requests": []})
        case _, "fault" | "requests":
            raise CallerError(405, "expected GET, DELETE, or POST for fault")
        case _:
            raise CallerError(404, "expected /_mock/fault or /_mock/requests")
    return json_reply({"rules": msgspec.to_builtins(faults.rules())})

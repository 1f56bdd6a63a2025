"""What every wire promises, and the few checks they share. No provider is named here."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.reply import Call, Event, Failure, Identity, Reply


class Wire(Protocol):
    """A provider's native format. Pure: the same arguments give the same answer."""

    kind: str
    default_models: tuple[str, ...]

    def read(self, request: Request) -> Call:
        """Understand a request.

        Raises ``CallerError`` with the provider's status for what it would refuse.
        """

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """The native answer to a call that ``read`` returned. May raise ``CallerError`` like ``read``."""

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """The native error body and headers for a status.

        ``call`` is ``None`` when the request was not readable.
        """

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """The native error event inside a stream that began with 200."""


@runtime_checkable
class Controlled(Protocol):
    """A wire with control requests of its own."""

    def control(self, request: Request) -> Reply | None:
        """The answer to a request below ``/_mock/``; ``None`` if it is not for this wire.

        Raises ``CallerError`` for one that cannot be.
        """


def json_object(request: Request) -> dict[str, Any]:
    """The request body as a JSON object; raises ``CallerError`` (400)."""
    try:
        value = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CallerError(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise CallerError(400, f"expected a JSON object, got {type(value).__name__}")
    return value


def required(body: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """A field that must be there with this type; raises ``CallerError`` (400) naming it."""
    value = body.get(name)
    if value is None:
        raise CallerError(400, f"Missing required parameter: '{name}'.", param=name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CallerError(400, f"Invalid type for '{name}'.", param=name)
    return value


def optional_int(body: dict[str, Any], *names: str) -> int | None:
    """The first of these fields that is given, a whole number; raises ``CallerError`` (400)."""
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CallerError(
                    400, f"Invalid value for '{name}': expected a whole number ≥ 1.", param=name
                )
            return value
    return None


def strings(value: Any) -> tuple[str, ...]:
    """A string or list of strings as a tuple; anything else is empty."""
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; anything else is left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def schema_of(value: Any) -> dict[str, Any]:
    """A JSON Schema given as an object; anything else is the empty schema."""
    return value if isinstance(value, dict) else {}

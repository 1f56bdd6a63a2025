"""What the core asks its driver to do next. Values only; the driver turns them into ext_proc messages."""

from __future__ import annotations

import msgspec

from sovereign_ext.attest.facts import CallFacts


class Head(msgspec.Struct, frozen=True):
    """Response status and headers. Everything the provider sent that is not named here is removed."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Walk(msgspec.Struct, frozen=True):
    """This attempt failed before anything reached the client: let Envoy take the next element."""


class Emit(msgspec.Struct, frozen=True):
    """Bytes for the client. ``head`` goes first and only once; ``end`` closes the response."""

    body: bytes
    head: Head | None = None
    end: bool = False


class Settle(msgspec.Struct, frozen=True):
    """The call is over in fact: send ``before``, make the entry durable, then ask for the last bytes."""

    facts: CallFacts
    before: Emit | None = None


Step = Walk | Settle | Emit

"""What the core asks its driver to do next. Values only; the driver turns them into ext_proc messages."""

from __future__ import annotations

from dataclasses import dataclass

from sovereign_ext.attest.facts import CallFacts


@dataclass(frozen=True, slots=True)
class Head:
    """Response status and headers. Everything the provider sent that is not named here is removed."""

    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """This attempt failed before anything reached the client: let Envoy take the next element."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Bytes for the client. ``head`` goes first and only once; ``end`` closes the response."""

    body: bytes
    head: Head | None = None
    end: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """The call is over in fact: send ``before``, make the entry durable, then ask for the last bytes."""

    facts: CallFacts
    before: Emit | None = None


Step = Walk | Settle | Emit

"""What the edge tells telemetry: one value for each thing that happened.

None of them can hold a prompt, an answer, a credential or a header. Strings that a client or a provider chose
(``CallFacts.error_code``, ``CallFacts.model``) are in some; ``labels`` lets none of them become a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sovereign_ext.attest.facts import CallFacts


class CallEnded(NamedTuple):
    """A call of a tenant is over and written down; or not, if the log did not take it (``durable``)."""

    facts: CallFacts
    durable: bool


class TurnedAway(NamedTuple):
    """Somebody was answered an error and belongs to no tenant: no key, a wrong one, no such path.

    ``endpoint`` is as in ``CallFacts``, empty for what is none of the model API's.
    """

    endpoint: str
    status: int
    code: str | None


class Scanned(NamedTuple):
    """A request of ``size`` bytes was searched for credentials, in ``seconds`` with the wait for its turn.
    ``kinds`` has one for each place."""

    tenant: str
    policy: str
    action: str
    size: int
    seconds: float
    kinds: Sequence[str]


class LimitRefused(NamedTuple):
    """A limit or cap stood against a call. ``measure`` is its ``tenants.ledger.Measure``, ``scope`` whose it is:
    ``tenant`` or ``key``, with ``_model`` where it is for one model only."""

    tenant: str
    measure: str
    scope: str


class Appended(NamedTuple):
    """An entry of a call was given to the log, which took ``seconds``; it is durable, or not known to be."""

    kind: str
    seconds: float
    durable: bool


class Reloaded(NamedTuple):
    """A new configuration was taken up, or could not be."""

    used: bool


Fact = CallEnded | TurnedAway | Scanned | LimitRefused | Appended | Reloaded

Tell = Callable[[Fact], None]
"""How the edge tells. Never raises, never waits. On the event loop."""


def nobody(fact: Fact) -> None:
    """A ``Tell`` where nobody listens."""

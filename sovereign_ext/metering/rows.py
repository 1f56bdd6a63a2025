"""The usage row of an outcome's predicate: the one place that says how a call is counted.

The gateway makes the row of what it signs, ``rebuild`` and ``reconcile`` make it of what was signed; so all three say
the same. What an entry leaves out counts as 0. A call that was refused before anybody was asked is counted without a
model: the name that a client sent need not be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.attest.facts import Result
from sovereign_ext.attest.statement import OUTCOME
from sovereign_ext.errors import VerificationError
from sovereign_ext.storage.usage import UsageRow

OUTCOME_KIND: Final = "outcome"
"""The kind that outcome entries have in ``log_entries``."""


class _Said(msgspec.Struct):
    """What counts of an outcome's predicate (docs/reference/attestation.md)."""

    tenant: str
    result: Result
    started_ms: int
    model: str = ""
    provider: str = ""
    key: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int = 0
    billed_nano_usd: int = 0
    price_source: str = ""
    margin_percent: str = ""
    estimated: int = 0


class _Statement(msgspec.Struct):
    type: str = msgspec.field(name="predicateType")
    predicate: msgspec.Raw


def usage_row(predicate: Mapping[str, Any]) -> UsageRow:
    """The row of an outcome. Of a predicate that we made ourselves: nothing is checked."""
    get = predicate.get
    result = predicate["result"]
    return UsageRow(
        predicate["started_ms"],
        predicate["tenant"],
        get("key", ""),
        "" if result == Result.DENIED else get("model", ""),
        get("provider", ""),
        result,
        get("prompt_tokens", 0),
        get("completion_tokens", 0),
        get("cached_tokens", 0),
        get("cache_write_tokens", 0),
        get("reasoning_tokens", 0),
        get("cost_nano_usd", 0),
        get("billed_nano_usd", 0),
        get("price_source", ""),
        get("margin_percent", ""),
        bool(get("estimated", 0)),
    )


def signed_usage_row(payload: bytes) -> UsageRow:
    """The row of a signed outcome statement. Raises ``VerificationError`` where it cannot be one."""
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        if statement.type != OUTCOME:
            raise VerificationError(f"the statement is a {statement.type}, not an {OUTCOME}")
        msgspec.json.decode(statement.predicate, type=_Said)
        return usage_row(msgspec.json.decode(statement.predicate))
    except msgspec.DecodeError as error:
        raise VerificationError(f"the outcome's statement cannot be read: {error}") from None

"""The events that receivers are sent: what a finding entry says, field by field, and never more.

Fields are named one by one and not passed on as they come, so that what an entry may say in the future leaves the
gateway only when somebody decides so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from sovereign_ext.attest import dsse
from sovereign_ext.errors import VerificationError
from sovereign_ext.metering.audit import rfc3339
from sovereign_ext.storage.webhooks import FindingEntry

RECORDED: Final = "finding.recorded"
TEST: Final = "webhook.test"


class _Found(msgspec.Struct):
    """As ``attest.facts.FoundFact``."""

    kind: str
    version: int
    pointer: str
    length: int
    number: int
    fingerprint: str


class _Finding(msgspec.Struct):
    """As ``attest.facts.FindingFacts``, without the commitments and the policy's digest."""

    decision_id: str
    tenant: str
    key: str
    policy: str
    action: str
    count: int
    found: list[_Found]
    found_ms: int


class _Statement(msgspec.Struct):
    predicate: _Finding


@dataclass(frozen=True, slots=True)
class Event:
    """``id`` is the same whenever this event is sent to this receiver: by it repetitions are known."""

    id: str
    body: bytes


def finding_event(entry: FindingEntry, origin: str, webhook: str, kinds: Collection[str]) -> Event | None:
    """The event of a finding entry for a receiver; ``None`` if it asked for other ``kinds`` (none given: for all).

    An entry with more places than it tells of is sent to everybody: the others may be of any kind. Raises
    ``VerificationError`` when the entry cannot be read.
    """
    try:
        finding = msgspec.json.decode(dsse.parse(entry.envelope).payload, type=_Statement).predicate
    except msgspec.DecodeError as error:
        raise VerificationError(f"entry {entry.index} is no finding: {type(error).__name__}") from None
    told_all = finding.count == len(finding.found)
    if kinds and told_all and not any(found.kind in kinds for found in finding.found):
        return None
    data = {
        "log": origin,
        "index": entry.index,
        "receipt": f"receipts/{entry.index}",
        "decision_id": finding.decision_id,
        "tenant": finding.tenant,
        "key": finding.key,
        "policy": finding.policy,
        "action": finding.action,
        "count": finding.count,
        "found": finding.found,
    }
    return Event(
        _id(webhook, origin, str(entry.index), entry.leaf_hash.hex()), _body(RECORDED, finding.found_ms, data)
    )


def trial_event(origin: str, webhook: str, now_ms: int, random: bytes) -> Event:
    """An event that tells of nothing: whether it arrives, and its signature is understood, is what is asked."""
    return Event(_id(webhook, origin, random.hex()), _body(TEST, now_ms, {"log": origin, "webhook": webhook}))


def _id(*parts: str) -> str:
    """The leaf's hash is among the parts: a log that was begun anew has the same indices under the same name."""
    return "evt_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _body(type_: str, time_ms: int, data: dict[str, object]) -> bytes:
    return msgspec.json.encode({"type": type_, "timestamp": rfc3339(time_ms), "data": data})

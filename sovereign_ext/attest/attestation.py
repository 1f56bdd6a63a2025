"""``_sf_attestation``: what a response says about itself, as JSON bytes to be spliced in.

Honest by construction: it is a function of the predicate that was signed and of the place that its entry was
given in the log, so whoever holds the receipt can make the same bytes again and compare. ``log.state`` is
``sequenced``: the index is durable; inclusion shows in the receipt. ``mirror`` is what a mirror acknowledged
before, it does not claim this entry. What does not exist is null, empty or ``none``, never made up.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from sovereign_ext.attest.facts import CallFacts
from sovereign_ext.attest.statement import MirrorAck, outcome_predicate

VERSION: Final = 1

_encoder = msgspec.json.Encoder()
_ATTEMPT: Final = ("deployment", "provider", "outcome", "status", "duration_ms")


class Place(Protocol):
    """Where the entry is: ``tlog.service.Sequenced``."""

    @property
    def index(self) -> int: ...
    @property
    def leaf_hash(self) -> bytes: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def promise(self) -> bytes: ...


class Attestations:
    """Renders attestations of one log. ``log_id`` is the 32-byte id behind the checkpoint key id."""

    def __init__(self, origin: str, log_id: bytes) -> None:
        self._origin = origin
        self._log_id = b64encode(log_id).decode()

    def render(self, facts: CallFacts, place: Place, mirror: MirrorAck | None = None) -> bytes:
        """The attestation of one call whose entry, made with the same ``mirror``, is durable at ``place``."""
        return self.of_predicate(outcome_predicate(facts, mirror), place)

    def of_predicate(self, predicate: Mapping[str, Any], place: Place) -> bytes:
        """The same, from an outcome's predicate. Raises ``KeyError`` if a member is missing that each has."""
        mirror = predicate.get("mirror")
        return _encoder.encode(
            {
                "version": VERSION,
                "model": predicate["model"],
                "model_hash": predicate.get("model_hash"),
                "model_hash_basis": predicate["model_hash_basis"],
                "provider_id": predicate.get("provider"),
                "policy_id": predicate["policy"] or None,
                "policy_digest": predicate.get("policy_digest"),
                "route_decision_id": predicate["decision_id"],
                "rekor_index": place.index,
                "log": {
                    "origin": self._origin,
                    "log_id": self._log_id,
                    "leaf_hash": b64encode(place.leaf_hash).decode(),
                    "state": "sequenced",
                },
                "mirror_id": mirror["id"] if mirror else None,
                "mirror": {"size": mirror["size"], "time": mirror["time"]} if mirror else None,
                "tier_required": predicate["tier_required"] or None,
                "tier_observed": predicate["tier_observed"],
                "tier_reasons": predicate["tier_reasons"],
                "witnesses": predicate["witnesses"],
                "attempts": [{name: made[name] for name in _ATTEMPT} for made in predicate["attempts"]],
                "findings": predicate["findings"],
                "promise": {
                    "time_ms": place.time_ms,
                    "signature": b64encode(place.promise).decode(),
                },
                "receipt_url": f"/sf/v1/receipts/{place.index}",
            }
        )

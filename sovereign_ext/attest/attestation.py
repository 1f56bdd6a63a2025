"""``_sf_attestation``: what a response says about itself, as JSON bytes to be spliced in.

Honest by construction: it is rendered from the facts that were signed and from the place they were given in the
log. ``log.state`` is ``sequenced``: the index is durable; inclusion shows in the receipt. Fields for evidence that
does not exist are null, empty or ``none``, never made up.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final, Protocol

import msgspec

from sovereign_ext.attest.facts import CallFacts

VERSION: Final = 1

_encoder = msgspec.json.Encoder()


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

    def render(self, facts: CallFacts, place: Place) -> bytes:
        """The attestation of one call whose entry is durable at ``place``."""
        return _encoder.encode(
            {
                "version": VERSION,
                "model": facts.model,
                "model_hash": facts.model_hash,
                "model_hash_basis": facts.model_hash_basis,
                "provider_id": facts.provider,
                "policy_id": facts.policy or None,
                "policy_digest": f"sha256:{facts.policy_digest.hex()}" if facts.policy_digest else None,
                "route_decision_id": facts.decision_id,
                "rekor_index": place.index,
                "log": {
                    "origin": self._origin,
                    "log_id": self._log_id,
                    "leaf_hash": b64encode(place.leaf_hash).decode(),
                    "state": "sequenced",
                },
                "mirror_id": None,
                "mirror": None,
                "tier_required": facts.tier_required or None,
                "tier_observed": facts.tier_observed,
                "tier_reasons": facts.tier_reasons,
                "witnesses": [],
                "attempts": [
                    {
                        "deployment": attempt.deployment,
                        "provider": attempt.provider,
                        "outcome": attempt.outcome,
                        "status": attempt.status,
                        "duration_ms": attempt.duration_ms,
                    }
                    for attempt in facts.attempts
                ],
                "promise": {
                    "time_ms": place.time_ms,
                    "signature": b64encode(place.promise).decode(),
                },
                "receipt_url": f"/sf/v1/receipts/{place.index}",
            }
        )

"""What evidence of a confidential endpoint has to show, whatever its format: how fresh, how measured, how bound.

First the formats authenticate (``eat``, ``nitro``) and use ``lifetime`` for the clock; then ``appraise`` says why
authenticated evidence does not suffice. Whether its key is that of the answering connection is the tier's matter.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.trust import Evidence
from sovereign_ext.errors import EvidenceRefused
from sovereign_ext.registry.evidence import VerifiedEvidence

NO_EVIDENCE: Final = "no_evidence"
EXPIRED: Final = "evidence_expired"
DEBUG: Final = "evidence_debug"
MEASUREMENT: Final = "evidence_measurement"
UNBOUND: Final = "evidence_unbound"


@dataclass(frozen=True, slots=True)
class Expected:
    """What one piece of evidence is checked against.

    ``now_s`` is Unix seconds. ``clock_skew_s`` is how far the issuer's clock may be ahead of ours: it excuses
    times that lie in the future and never lengthens a life. ``nonce`` is what we sent, if we could.
    """

    config: Evidence
    now_s: float
    clock_skew_s: int
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lifetime:
    """From when to when evidence counts, Unix seconds; ``expires_at_s`` itself is too late."""

    issued_at_s: int
    expires_at_s: int


def lifetime(
    expected: Expected, issued_s: float, *, expires_s: float = math.inf, not_before_s: float = 0
) -> Lifetime:
    """How long evidence counts: until it expires by itself or is ``max_age_s`` old, whichever comes first.

    Raises ``EvidenceRefused`` when that is over, or the evidence comes from the future.
    """
    latest = expected.now_s + expected.clock_skew_s
    for name, moment in (("issued", issued_s), ("valid", not_before_s)):
        if moment > latest:
            ahead = math.ceil(moment - expected.now_s)
            raise EvidenceRefused(
                NO_EVIDENCE,
                f"evidence is {name} {ahead} s from now, expected at most {expected.clock_skew_s} s",
            )
    # A clock that is ahead must not make evidence live longer than it would by our own.
    oldest_s = min(issued_s, expected.now_s) + expected.config.max_age_s
    ends_s = math.floor(min(expires_s, oldest_s))
    if expected.now_s >= ends_s:
        which = "expired" if expires_s <= oldest_s else f"became older than {expected.config.max_age_s} s"
        raise EvidenceRefused(EXPIRED, f"evidence {which} {math.floor(expected.now_s - ends_s)} s ago")
    return Lifetime(math.floor(issued_s), ends_s)


def appraise(evidence: VerifiedEvidence, measurements: Collection[str], now_s: float) -> None:
    """Raise ``EvidenceRefused`` with the first reason why authenticated evidence does not suffice at ``now_s``."""
    if now_s >= evidence.expires_at_s:
        raise EvidenceRefused(EXPIRED, f"evidence expired {math.floor(now_s - evidence.expires_at_s)} s ago")
    if evidence.debug:
        raise EvidenceRefused(DEBUG, "evidence does not show that debugging is off")
    if evidence.measurement not in measurements:
        shown = evidence.measurement[:200] or "nothing"
        raise EvidenceRefused(MEASUREMENT, f"evidence measures {shown}, which is not in measurements")
    if evidence.bound_spki is None and evidence.bound_certificate is None:
        raise EvidenceRefused(UNBOUND, "evidence is not bound to a key of the channel")

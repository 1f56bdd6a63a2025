"""What is known of a confidential endpoint once its evidence has been authenticated, and who may be asked for it.

A value says what a verifier signed, favourable or not: whether debug mode, measurement and key suit a deployment
is judged when a tier is, at that moment. Formats are ``eat``'s and ``nitro``'s matter; fetching is ``evidence``'s.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sovereign_ext.config.trust import EvidenceKind


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """Authenticated evidence of one endpoint. Times are Unix seconds.

    ``debug`` is true unless the evidence shows that debug facilities are off. ``measurement`` is spelled as the
    allow-list entry that it fits, or in full where it fits none. Of the two bindings at least one is set on
    evidence that is bound to a channel key.
    """

    kind: EvidenceKind
    document: str  # "sha256:…" of the token or document as received
    issued_at_s: int
    expires_at_s: int  # from this second on it counts for nothing
    measurement: str
    debug: bool
    bound_spki: str | None = None  # base64 SHA-256 of a SubjectPublicKeyInfo, as pins are written
    bound_certificate: str | None = None  # hex SHA-256 of a DER certificate


class EvidenceSource(Protocol):
    """Where a registry finds evidence. Answers at once, from memory; the same answer until new evidence is in."""

    def current(self, provider_id: str) -> VerifiedEvidence | None:
        """The newest authenticated evidence of a provider's endpoint, expired or not; ``None`` without any."""

    def why_none(self, provider_id: str) -> str:
        """Why ``current`` is ``None``: a reason code of ``tiers``, empty when nothing was looked at yet."""

    def spki_of(self, certificate_sha256_hex: str) -> str | None:
        """Base64 SHA-256 of the SPKI in the certificate with this digest; ``None`` if it was never seen.

        A certificate's digest determines its key, so the answer cannot be wrong, only missing.
        """


def pin_of(spki: bytes) -> str:
    """Base64 SHA-256 of a DER SubjectPublicKeyInfo, as RFC 7469 writes pins."""
    return b64encode(hashlib.sha256(spki).digest()).decode()


def spelled_as_allowed(measured: Sequence[str], allowed: Iterable[str]) -> str:
    """A measurement of one or more components in the words of an allow-list.

    An entry names the leading components it cares about, joined by ``:`` (``PCR0:PCR1:PCR2``), in hex of either
    case. Returns the first entry that fits, as it is spelled; or every component joined, when none does.
    """
    parts = [part.lower() for part in measured]
    for entry in allowed:
        wanted = entry.lower().split(":")
        if parts and wanted == parts[: len(wanted)]:
            return entry
    return ":".join(parts)

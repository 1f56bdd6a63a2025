"""The newest evidence of each provider, and which key each certificate holds: what calls read while they run.

Only holds what others found out; belongs to one event loop. It keeps expired and unfavourable evidence too, since
those who read it judge it by the time and the rules of the call, and can then say why it does not suffice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sovereign_ext.registry.evidence import VerifiedEvidence

MAX_CERTIFICATES: Final = 4096
"""Enough for every certificate that the providers of a deployment show in its life; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one provider. Times are Unix seconds.

    ``reason`` and ``error`` say why the last look did not find evidence that suffices; both empty when it did.
    """

    evidence: VerifiedEvidence | None = None
    reason: str = ""
    error: str = ""
    checked_at_s: float | None = None


class EvidenceBoard:
    """An ``EvidenceSource`` that is written to by followers. ``missed`` is called for each unknown certificate."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._pins: OrderedDict[str, str] = OrderedDict()
        self.missed: Callable[[], None] = _ignore

    def current(self, provider_id: str) -> VerifiedEvidence | None:
        """See ``EvidenceSource.current``."""
        return self.entry(provider_id).evidence

    def why_none(self, provider_id: str) -> str:
        """See ``EvidenceSource.why_none``."""
        return self.entry(provider_id).reason

    def spki_of(self, certificate_sha256_hex: str) -> str | None:
        """See ``EvidenceSource.spki_of``. A miss asks the followers to look at their endpoints again."""
        pin = self._pins.get(certificate_sha256_hex)
        if pin is None:
            self.missed()
        return pin

    def entry(self, provider_id: str) -> Entry:
        """Everything known of a provider; an empty entry for a provider without evidence."""
        return self._entries.get(provider_id, _NOTHING)

    def post(self, provider_id: str, evidence: VerifiedEvidence, now_s: float) -> None:
        """New authenticated evidence takes the place of the old one, favourable or not."""
        self._entries[provider_id] = Entry(evidence, checked_at_s=now_s)

    def fault(self, provider_id: str, reason: str, error: str, now_s: float) -> None:
        """The last look found nothing that suffices. What is there stays, and ends with its time."""
        self._entries[provider_id] = replace(
            self.entry(provider_id), reason=reason, error=error, checked_at_s=now_s
        )

    def drop(self, provider_id: str) -> None:
        """Forget a provider: its evidence was checked by rules that hold no more."""
        self._entries.pop(provider_id, None)

    def learn(self, certificate_sha256_hex: str, pin: str) -> None:
        """Remember which key a certificate holds: hex SHA-256 of the certificate, base64 SHA-256 of its SPKI."""
        self._pins[certificate_sha256_hex] = pin
        self._pins.move_to_end(certificate_sha256_hex)
        if len(self._pins) > MAX_CERTIFICATES:
            self._pins.popitem(last=False)


_NOTHING: Final = Entry()


def _ignore() -> None:
    """Nobody looks at endpoints."""

"""A configuration's registry as calls ask it: the standing of a deployment, now, in a few microseconds.

Everything that a statement can change, it changes at moments known beforehand. Between two such moments the rules
of ``tiers`` are answered once and remembered; a call adds only what is live, evidence and the peer. ``build`` makes
registries. No clock, no IO: the moment is an argument, evidence comes from an ``EvidenceSource``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sovereign_ext.config.model import Deployment
from sovereign_ext.config.standing import Peer, Standing, Vouch
from sovereign_ext.config.trust import DigestBasis, Drift, Tier
from sovereign_ext.errors import ConfigError
from sovereign_ext.registry import tiers
from sovereign_ext.registry.dossier import Dossier
from sovereign_ext.registry.evidence import EvidenceSource, VerifiedEvidence

_REMEMBERED: Final = 256
"""Combinations of peer and evidence codes that one span remembers; each new token makes another."""

_STRANGER: Final = Standing(
    reasons=(
        tiers.NO_MANIFEST,
        tiers.NO_PROVIDER_STATEMENT,
        tiers.IDENTITY_NOT_PINNED,
        tiers.TOO_FEW_WITNESSES,
        tiers.DRIFT_UNKNOWN,
        tiers.NO_EVIDENCE,
    )
)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A signed document as it was loaded: what an entry may refer to, and an auditor must be given."""

    kind: str  # "witness-statement", "provider-statement", "drift-report", "revocation" or "manifest"
    path: str  # as the configuration names it
    body: bytes


class NoEvidence:
    """An ``EvidenceSource`` that has none."""

    def current(self, provider_id: str) -> VerifiedEvidence | None:
        """See ``EvidenceSource.current``."""
        return None

    def why_none(self, provider_id: str) -> str:
        """See ``EvidenceSource.why_none``."""
        return ""

    def spki_of(self, certificate_sha256_hex: str) -> str | None:
        """See ``EvidenceSource.spki_of``."""
        return None


@dataclass(frozen=True, slots=True)
class _Span:
    """What holds from ``since`` until just before ``until``, and the standings that were made of it."""

    since: float
    until: float
    attested: tiers.Codes
    witnessed: tiers.Codes
    vouches: tuple[Vouch, ...]
    drift: Drift
    attested_by: tiers.Codes  # documents
    always: tiers.Codes  # documents behind vouches and drift
    standings: dict[tuple[tiers.Codes, tiers.Codes, str], Standing] = field(default_factory=dict)


class _Case:
    """One deployment: its dossier, the span that was asked for last, and its model's digest."""

    __slots__ = ("_span", "_turns", "basis", "digest", "dossier", "pins")

    def __init__(self, dossier: Dossier, digest: str | None, basis: DigestBasis) -> None:
        self.dossier = dossier
        self.digest = digest
        self.basis = basis
        self.pins = frozenset(dossier.identity.spki_pins if dossier.identity is not None else ())
        self._turns = sorted(dossier.turns)
        self._span: _Span | None = None

    def span(self, now_s: float) -> _Span:
        span = self._span
        if span is None or not span.since <= now_s < span.until:
            span = self._span = self._look(now_s)
        return span

    def _look(self, now_s: float) -> _Span:
        after = bisect_right(self._turns, now_s)
        attested, attested_by = tiers.attested(self.dossier, now_s)
        drift, reports = tiers.drift_of(self.dossier, now_s)
        vouches = tiers.vouches(self.dossier, now_s)
        return _Span(
            since=self._turns[after - 1] if after else -math.inf,
            until=self._turns[after] if after < len(self._turns) else math.inf,
            attested=attested,
            witnessed=tiers.witnessed(self.dossier, now_s, drift),
            vouches=vouches,
            drift=drift,
            attested_by=attested_by,
            always=(*dict.fromkeys(vouch.statement for vouch in vouches), *reports),
        )


class Registry:
    """An ``Assessor`` over one configuration and its documents. ``warnings`` are faults that stop nothing."""

    def __init__(
        self,
        dossiers: Mapping[str, tuple[Dossier, str | None, DigestBasis]],
        evidence: EvidenceSource,
        documents: Mapping[str, StoredDocument],
        warnings: tuple[ConfigError, ...] = (),
    ) -> None:
        """``dossiers``: by deployment id, with the digest of its model and how that is known."""
        self._cases = {name: _Case(*parts) for name, parts in dossiers.items()}
        self._evidence = evidence
        self.documents = documents
        """Every signed document, by digest (``sha256:…``)."""
        self.warnings = warnings

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        """See ``Assessor.assess``. A deployment of another configuration has no standing at all."""
        case = self._cases.get(deployment.id)
        if case is None:
            return _STRANGER
        span, dossier = case.span(now_s), case.dossier
        evidence = None if dossier.evidence is None else self._evidence.current(dossier.provider)
        seen: tiers.Codes = ()
        if peer is not None:
            spki = self._evidence.spki_of(peer.certificate_sha256) if peer.certificate_sha256 else None
            seen = tiers.peer_shown(dossier, peer, spki)
            channel = tiers.Channel(True, peer.certificate_sha256, frozenset(() if spki is None else (spki,)))
        else:
            bound = None
            if evidence is not None and evidence.bound_certificate is not None:
                bound = self._evidence.spki_of(evidence.bound_certificate)
            channel = tiers.Channel(False, None, case.pins, bound)
        if evidence is None and dossier.evidence is not None:
            unsealed: tiers.Codes = (self._evidence.why_none(dossier.provider) or tiers.NO_EVIDENCE,)
        else:
            unsealed = tiers.sealed(dossier, evidence, now_s, channel)
        key = seen, unsealed, "" if evidence is None else evidence.document
        standing = span.standings.get(key)
        if standing is None:
            if len(span.standings) >= _REMEMBERED:
                span.standings.clear()
            standing = span.standings[key] = _standing(case, span, *key)
        return standing


def _standing(case: _Case, span: _Span, seen: tiers.Codes, unsealed: tiers.Codes, token: str) -> Standing:
    attested = span.attested + seen
    documents = span.always
    if attested:
        tier = Tier.OPEN
    else:
        documents = (*span.attested_by, *documents)
        tier = Tier.WITNESSED if not span.witnessed else Tier.ATTESTED
    if tier is Tier.WITNESSED and not unsealed:
        tier = Tier.SEALED
        documents = (*documents, token)
    return Standing(
        tier=tier,
        reasons=attested + span.witnessed + unsealed,
        model_hash=case.digest,
        model_hash_basis=case.basis,
        vouches=span.vouches,
        drift=span.drift,
        documents=tuple(dict.fromkeys(documents)),
    )

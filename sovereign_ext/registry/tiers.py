"""The rules of the tiers: what every tier asks of a deployment at one moment, and the code of each thing missing.

A tier holds when all of its requirements and those below hold; what is unknown is missing. Each function answers
for one moment (Unix seconds), a tuple of codes in the order of the table below, empty when nothing is missing. The
codes are recorded in log entries, so they never change their meaning.

==========  =====================================================================================================
open        nothing
attested    TLS; the publisher signed exactly this digest; the provider, in a statement that holds, binds it to an
            identity which Envoy enforces; on an answering connection that identity was seen
witnessed   enough independent organisations vouch for exactly this digest in statements that hold; drift is known
            and within bounds
sealed      fresh evidence with debug off, an allowed measurement, and a channel key that is the endpoint's
==========  =====================================================================================================

One rule for clocks: another party's clock may be ahead by ``clock_skew_s``, so what it dates up to so much in the
future counts as now. Nothing counts a second longer than it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.standing import Peer, Vouch
from sovereign_ext.config.trust import Drift
from sovereign_ext.registry.dossier import Dossier, Held, State, WitnessWord
from sovereign_ext.registry.evidence import VerifiedEvidence
from sovereign_ext.registry.statements import DriftReport, WitnessStatement

NO_TLS: Final = "no_tls"
NO_MANIFEST: Final = "no_manifest"
MANIFEST_INVALID: Final = "manifest_invalid"
DIGEST_NOT_SIGNED: Final = "digest_not_signed"
NO_PROVIDER_STATEMENT: Final = "no_provider_statement"
PROVIDER_STATEMENT_EXPIRED: Final = "provider_statement_expired"
PROVIDER_STATEMENT_REVOKED: Final = "provider_statement_revoked"
IDENTITY_NOT_BOUND: Final = "identity_not_bound"
IDENTITY_NOT_PINNED: Final = "identity_not_pinned"
PEER_NOT_OBSERVED: Final = "peer_not_observed"
PEER_MISMATCH: Final = "peer_mismatch"

TOO_FEW_WITNESSES: Final = "too_few_witnesses"
WITNESS_EXPIRED: Final = "witness_expired"
WITNESS_NOT_YET_VALID: Final = "witness_not_yet_valid"
WITNESS_REVOKED: Final = "witness_revoked"
WITNESS_OTHER_DIGEST: Final = "witness_other_digest"
WITNESS_NOT_INDEPENDENT: Final = "witness_not_independent"
WITNESS_WITHOUT_SCOPE: Final = "witness_without_scope"
DRIFT_UNKNOWN: Final = "drift_unknown"
DRIFT_EXCEEDED: Final = "drift_exceeded"

NO_EVIDENCE: Final = "no_evidence"
EVIDENCE_EXPIRED: Final = "evidence_expired"
EVIDENCE_DEBUG: Final = "evidence_debug"
EVIDENCE_MEASUREMENT: Final = "evidence_measurement"
EVIDENCE_UNBOUND: Final = "evidence_unbound"
EVIDENCE_OTHER_KEY: Final = "evidence_other_key"

_WITNESS_CODES: Final = (
    WITNESS_EXPIRED,
    WITNESS_NOT_YET_VALID,
    WITNESS_REVOKED,
    WITNESS_OTHER_DIGEST,
    WITNESS_NOT_INDEPENDENT,
    WITNESS_WITHOUT_SCOPE,
)

Codes = tuple[str, ...]


def attested(dossier: Dossier, now_s: float) -> tuple[Codes, Codes]:
    """What tier ``attested`` lacks before any connection is looked at, and the documents that it rests on."""
    codes: list[str] = []
    documents: list[str] = []
    if not dossier.uses_tls:
        codes.append(NO_TLS)
    manifest = dossier.manifest
    if manifest is None:
        codes.append(NO_MANIFEST)
    elif now_s >= manifest.revoked:
        codes.append(MANIFEST_INVALID)
    elif not manifest.signs:
        codes.append(DIGEST_NOT_SIGNED)
    else:
        documents.append(manifest.document)
    missing, statements = _bound(dossier, now_s)
    return (*codes, *missing), (*documents, *statements)


def _bound(dossier: Dossier, now_s: float) -> tuple[Codes, Codes]:
    """Is what Envoy enforces an identity that the provider bound to the digest?"""
    identity = dossier.identity
    unpinned = (IDENTITY_NOT_PINNED,) if identity is None else ()
    states = [(word, word.state(now_s)) for word in dossier.provider_words]
    valid = [word for word, state in states if state is State.HOLDS]
    if not valid:
        found = {state for _, state in states}
        codes = [
            code
            for state, code in (
                (State.EXPIRED, PROVIDER_STATEMENT_EXPIRED),
                (State.REVOKED, PROVIDER_STATEMENT_REVOKED),
            )
            if state in found
        ]
        return (*(codes or [NO_PROVIDER_STATEMENT]), *unpinned), ()
    if identity is None:
        return unpinned, ()
    # A statement covers the endpoint if everything that it asks of a peer is asked by Envoy, too. Pins may be
    # covered by several statements together: while a key is replaced, one names the old and one the new.
    fitting = [word for word in valid if word.statement.spiffe_id in (None, identity.spiffe_id)]
    by_spiffe = [word for word in fitting if not word.statement.spki_pins]
    if by_spiffe:
        return (), tuple(word.document for word in by_spiffe)
    wanted = set(identity.spki_pins)
    used = [word for word in fitting if wanted.intersection(word.statement.spki_pins)]
    if wanted and wanted <= {pin for word in used for pin in word.statement.spki_pins}:
        return (), tuple(word.document for word in used)
    return (IDENTITY_NOT_BOUND,), ()


def peer_shown(dossier: Dossier, peer: Peer, peer_spki: str | None) -> Codes:
    """What the answering connection did not show. ``peer_spki`` is its key as a pin, where that is known.

    An unknown key is no fault: Envoy let the connection come about only because a pinned key fits.
    """
    identity = dossier.identity
    if not dossier.uses_tls or identity is None:
        return ()  # has its own code already
    if not peer.certificate_sha256 or not peer.tls_version:
        return (PEER_NOT_OBSERVED,)
    if identity.spiffe_id is not None and peer.uri_san != identity.spiffe_id:
        return (PEER_MISMATCH,)
    if identity.spki_pins and peer_spki is not None and peer_spki not in identity.spki_pins:
        return (PEER_MISMATCH,)
    return ()


def vouches(dossier: Dossier, now_s: float) -> tuple[Vouch, ...]:
    """Every scope that a witness vouches for in a statement that holds: one per witness and scope, the longest."""
    best: dict[tuple[str, str], Held[WitnessStatement]] = {}
    for word in dossier.witness_words:
        if word.about_this and word.in_scope and word.held.state(now_s) is State.HOLDS:
            key = word.held.statement.witness, word.held.statement.scope
            known = best.get(key)
            if known is None or (known.until, known.document) < (word.held.until, word.held.document):
                best[key] = word.held
    return tuple(
        Vouch(witness, scope, held.document) for (witness, scope), held in sorted(best.items(), key=_first)
    )


def _first(item: tuple[tuple[str, str], object]) -> tuple[str, str]:
    return item[0]


def witnessed(dossier: Dossier, now_s: float, drift: Drift) -> Codes:
    """What tier ``witnessed`` lacks. Why a statement does not count is only said when it would have mattered."""
    codes: list[str] = []
    organisations: set[str] = set()
    hindered: set[str] = set()
    for word in dossier.witness_words:
        code = _why_not(word, now_s)
        if code is None:
            assert word.organisation is not None
            organisations.add(word.organisation)
        else:
            hindered.add(code)
    if len(organisations) < dossier.min_witnesses:
        codes += [TOO_FEW_WITNESSES, *(code for code in _WITNESS_CODES if code in hindered)]
    if drift is Drift.UNKNOWN:
        codes.append(DRIFT_UNKNOWN)
    elif drift.rank > dossier.max_drift.rank:
        codes.append(DRIFT_EXCEEDED)
    return tuple(codes)


def _why_not(word: WitnessWord, now_s: float) -> str | None:
    """Why a witness statement does not count towards the tier; ``""`` where its successor says that."""
    state = word.held.state(now_s)
    if state is State.SUPERSEDED:
        return ""
    if state is State.REVOKED:
        return WITNESS_REVOKED
    if not word.about_this:
        return WITNESS_OTHER_DIGEST
    if not word.in_scope:
        return WITNESS_WITHOUT_SCOPE
    if word.organisation is None:
        return WITNESS_NOT_INDEPENDENT
    if state is State.HOLDS:
        return None
    return WITNESS_EXPIRED if state is State.EXPIRED else WITNESS_NOT_YET_VALID


def drift_of(dossier: Dossier, now_s: float) -> tuple[Drift, Codes]:
    """The worst posture over the newest report of every observer, metric and deployment, and those documents.

    Only the newest counts: once it lapsed, nothing is known of that metric, whatever older reports say.
    """
    newest: dict[tuple[str, str, str | None], Held[DriftReport]] = {}
    for held in dossier.drift_words:
        if held.state(now_s) in (State.NOT_YET, State.REVOKED):
            continue
        report = held.statement
        key = report.observer, report.metric, report.deployment
        known = newest.get(key)
        if known is None or _newer(held, known):
            newest[key] = held
    valid = [held for held in newest.values() if held.state(now_s) is State.HOLDS]
    if not valid:
        return Drift.UNKNOWN, ()
    worst = max((held.statement.posture for held in valid), key=lambda posture: posture.rank)
    return worst, tuple(sorted(held.document for held in valid))


def _newer(one: Held[DriftReport], other: Held[DriftReport]) -> bool:
    # Two reports of one second: the worse counts.
    return (one.statement.measured_at, one.statement.posture.rank) > (
        other.statement.measured_at,
        other.statement.posture.rank,
    )


@dataclass(frozen=True, slots=True)
class Channel:
    """The keys that the TLS channel to an endpoint has or may have.

    ``certificate`` (lower-case hex SHA-256) and ``spkis`` (pins) are what was seen on a connection; before there is
    one, ``spkis`` are the pinned keys and ``bound_spki`` is the key of the certificate that evidence is bound to.
    Nothing to compare with (only a SPIFFE id is enforced) is no contradiction, but on a connection there is.
    """

    observed: bool
    certificate: str | None
    spkis: frozenset[str]
    bound_spki: str | None = None

    def has_key(self, evidence: VerifiedEvidence) -> bool:
        """Whether the key that ``evidence`` is bound to is one of these."""
        if self.observed:
            return evidence.bound_spki in self.spkis or (
                bool(self.certificate) and evidence.bound_certificate == self.certificate
            )
        if not self.spkis:
            return True
        return evidence.bound_spki in self.spkis or self.bound_spki in self.spkis


def sealed(
    dossier: Dossier,
    evidence: VerifiedEvidence | None,
    now_s: float,
    channel: Channel,
) -> Codes:
    """What tier ``sealed`` lacks, with the newest evidence of the provider and what is known of its channel."""
    wanted = dossier.evidence
    if wanted is None or evidence is None or evidence.kind is not wanted.kind:
        return (NO_EVIDENCE,)
    codes: list[str] = []
    fresh_until = min(evidence.expires_at_s, evidence.issued_at_s + wanted.max_age_s)
    if now_s >= fresh_until or evidence.issued_at_s > now_s + dossier.clock_skew_s:
        codes.append(EVIDENCE_EXPIRED)
    if evidence.debug:
        codes.append(EVIDENCE_DEBUG)
    if evidence.measurement not in wanted.measurements:
        codes.append(EVIDENCE_MEASUREMENT)
    if evidence.bound_spki is None and evidence.bound_certificate is None:
        codes.append(EVIDENCE_UNBOUND)
    elif not channel.has_key(evidence):
        codes.append(EVIDENCE_OTHER_KEY)
    return tuple(codes)

"""Statement files → authentic statements: read, signed by whom they name, about something that exists, not taken back.

The order is fixed: (1) the envelope and the statement are read strictly, (2) the signer that the statement names is
looked up among those who may make such a statement, (3) its key must have signed, (4) what the statement is about
must exist, (5) revocations and successors by the same key are applied. Every failure is a fault with its place; a
statement that merely does not count (its time, another digest, a scope its witness may not attest) is kept, since
what counts changes with time, and is worth a warning.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sovereign_ext.attest import dsse
from sovereign_ext.config.documents import Document
from sovereign_ext.config.model import Config
from sovereign_ext.config.references import shown
from sovereign_ext.errors import StatementError, VerificationError
from sovereign_ext.registry.dossier import Held
from sovereign_ext.registry.envelope import read_envelope, verify
from sovereign_ext.registry.fields import time_text
from sovereign_ext.registry.parties import Findings, Parties, Party
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    Statement,
    WitnessStatement,
    parse_statement,
)


@dataclass(slots=True)
class Signed:
    """A document whose signature was checked. ``names`` are what a revocation may call it by.

    ``revoked`` and ``superseded`` are Unix seconds at which it stops to count, skew allowed for.
    """

    document: Document
    statement: Statement | None  # None: a manifest
    names: tuple[str, ...]
    signer: Party
    revoked: float = math.inf
    superseded: float = math.inf

    def held(self, since: float, until: float) -> Held[Statement]:
        """The statement with the times at which it holds."""
        assert self.statement is not None
        return Held(self.statement, self.document.digest, since, until, self.revoked, self.superseded)


def names_of(document: Document, payload: bytes) -> tuple[str, ...]:
    """The digest of the file, and of what was signed: the latter survives a change of the envelope's layout."""
    return document.digest, payload_digest(payload)


def payload_digest(payload: bytes) -> str:
    """``sha256:…`` of a statement's own bytes, without the envelope."""
    return "sha256:" + hashlib.sha256(payload).hexdigest()


def read_statements(
    config: Config, documents: Iterable[Document], parties: Parties, findings: Findings
) -> list[Signed]:
    """Every authentic statement; all others are faults."""
    known = _Known.of(config)
    found: list[Signed] = []
    for document in documents:
        try:
            found.append(_read(document, parties, known))
        except VerificationError as error:
            findings.at_document(document, error)
    return found


def withdraw(found: Iterable[Signed], clock_skew_s: int, findings: Findings) -> None:
    """Apply revocations and successors to what they name. Only the key that signed may take back."""
    by_name: defaultdict[str, list[Signed]] = defaultdict(list)
    for signed in found:
        for name in signed.names:
            by_name[name].append(signed)
    for signed in found:
        if isinstance(signed.statement, Revocation):
            at, field = signed.statement.revoked_at - clock_skew_s, "predicate.revokes"
            targets = _targets(signed, signed.statement.revokes, by_name, field, findings)
            for target in targets:
                target.revoked = min(target.revoked, at)
        elif isinstance(signed.statement, WitnessStatement) and signed.statement.supersedes:
            at, field = signed.statement.not_before - clock_skew_s, "predicate.supersedes"
            targets = _targets(signed, signed.statement.supersedes, by_name, field, findings)
            for target in targets:
                target.superseded = min(target.superseded, at)


def warn_of_times(found: Iterable[Signed], now_s: float, clock_skew_s: int, findings: Findings) -> None:
    """Statements from the future, beyond what a clock may be ahead, and statements that are over."""
    end: int | None
    for signed in found:
        match signed.statement:
            case WitnessStatement() | ProviderStatement():
                field, start, end = "not_before", signed.statement.not_before, signed.statement.not_after
            case DriftReport():
                field, start = "measured_at", signed.statement.measured_at
                end = start + signed.statement.valid_for_s
            case Revocation():
                field, start, end = "revoked_at", signed.statement.revoked_at, None
            case None:
                continue
        path = signed.document.path
        if start > now_s + clock_skew_s:
            reason = f"is in the future ({time_text(start)}); the statement does not count before"
            findings.warn_document(path, f"predicate.{field}", reason)
        elif end is not None and end <= now_s:
            findings.warn_document(
                path, "", f"expired at {time_text(min(end, _LAST_SECOND))}; it no longer counts"
            )


_LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True, slots=True)
class _Known:
    models: frozenset[str]
    providers: frozenset[str]
    deployments: frozenset[str]

    @classmethod
    def of(cls, config: Config) -> _Known:
        return cls(
            frozenset(model.id for model in config.models),
            frozenset(provider.id for provider in config.providers),
            frozenset(deployment.id for deployment in config.deployments),
        )


def _read(document: Document, parties: Parties, known: _Known) -> Signed:
    envelope = read_envelope(document.raw)
    statement = parse_statement(envelope.payload)
    signer = _who_signed(envelope, _signers(statement, parties, known))
    if not isinstance(statement, Revocation):
        _exists(statement.model, known.models, "model", "subject[0].name")
    if isinstance(statement, DriftReport) and statement.deployment is not None:
        _exists(statement.deployment, known.deployments, "deployment", "predicate.deployment")
    return Signed(document, statement, names_of(document, envelope.payload), signer)


def _who_signed(envelope: dsse.Envelope, candidates: tuple[Party, ...]) -> Party:
    error = VerificationError("nobody may sign this")
    for party in candidates:
        try:
            verify(envelope, party.key)
        except VerificationError as found:
            error = found
        else:
            return party
    raise StatementError(str(error), "signatures")


def _signers(statement: Statement, parties: Parties, known: _Known) -> tuple[Party, ...]:
    """Who must have signed. A revocation names an id; whose of that id it is, the signature tells."""
    match statement:
        case WitnessStatement():
            return (_one(parties.witnesses, statement.witness, "witness", "trust.witnesses"),)
        case DriftReport():
            return (_one(parties.observers, statement.observer, "observer", "trust.observers"),)
        case ProviderStatement():
            _exists(statement.provider, known.providers, "provider", "predicate.provider")
            return (_one(parties.providers, statement.provider, "provider", "the providers with a key_file"),)
        case Revocation():
            found = parties.named(statement.by)
            if not found:
                raise StatementError(f"nobody of the id {shown(statement.by)} has a key here", "predicate.by")
            return found


def _one(role: Mapping[str, Party], name: str, noun: str, where: str) -> Party:
    if name not in role:
        raise StatementError(f"there is no {noun} {shown(name)} among {where}", f"predicate.{noun}")
    return role[name]


def _exists(name: str, known: frozenset[str], noun: str, field: str) -> None:
    if name not in known:
        raise StatementError(f"there is no {noun} {shown(name)}", field)


def _targets(
    signed: Signed,
    digests: Iterable[str],
    by_name: Mapping[str, list[Signed]],
    field: str,
    findings: Findings,
) -> list[Signed]:
    targets = [target for digest in digests for target in by_name.get(digest, ())]
    if not targets:
        findings.warn_document(signed.document.path, field, "names no document that is loaded")
    for target in targets:
        reason = None
        if target.signer.key != signed.signer.key:
            reason = f"names '{target.document.path}', which only its own signer may take back"
        elif isinstance(target.statement, Revocation):
            reason = f"names '{target.document.path}', a revocation, which nothing can take back"
        elif field == "predicate.supersedes" and not isinstance(target.statement, WitnessStatement):
            reason = f"names '{target.document.path}', which is not a witness statement"
        if reason is not None:
            findings.at_document(signed.document, StatementError(reason, field))
    return targets

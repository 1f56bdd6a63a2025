"""What the parties of a registry sign: in-toto Statements v1 with one of four predicate types.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Strings, whole numbers and lists only; times
are RFC 3339 in UTC to the second. Reading is strict: a statement with anything missing, left over or out of range
says nothing. Who may say what, and whether it still holds, is ``build``'s and ``tiers``' matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sovereign_ext.attest.statement import STATEMENT_TYPE
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import MODEL_ID_PATTERN
from sovereign_ext.config.references import shown
from sovereign_ext.config.trust import IDENTIFIER_PATTERN, PIN_PATTERN, SPIFFE_PATTERN, Drift
from sovereign_ext.errors import StatementError
from sovereign_ext.registry.fields import HEX_SHA256, Fields, read_json, time_text

WITNESS_TYPE: Final = "urn:sovereign:witness-statement:v1"
PROVIDER_TYPE: Final = "urn:sovereign:provider-statement:v1"
DRIFT_TYPE: Final = "urn:sovereign:drift-report:v1"
REVOCATION_TYPE: Final = "urn:sovereign:revocation:v1"

MAX_VALID_S: Final = 100 * 366 * 86_400
_POSTURES: Final = {posture.value: posture for posture in Drift if posture is not Drift.UNKNOWN}


@dataclass(frozen=True, slots=True)
class WitnessStatement:
    """A scope witness vouches for a model. It holds from ``not_before`` until just before ``not_after``.

    ``digest`` (``sha256:…``) is what it is about; ``model`` says how the witness calls that. Times are Unix
    seconds. ``supersedes`` are digests of earlier statements of the same witness that this one replaces.
    """

    model: str
    digest: str
    witness: str
    scope: str
    basis: str
    intended_use: str
    not_before: int
    not_after: int
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderStatement:
    """A provider says that it serves ``digest`` behind an endpoint with this identity. Times as above."""

    model: str
    digest: str
    provider: str
    spki_pins: tuple[str, ...]
    spiffe_id: str | None
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class DriftReport:
    """An observer measured how far a model, or one deployment of it, moved from what it was.

    It holds from ``measured_at`` (Unix seconds) for ``valid_for_s`` seconds.
    """

    model: str
    digest: str
    observer: str
    deployment: str | None
    metric: str
    posture: Drift
    measured_at: int
    valid_for_s: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """``by`` takes back what it signed: digests of documents, or of their payloads, from ``revoked_at`` on."""

    by: str
    revokes: tuple[str, ...]
    revoked_at: int
    reason: str


Statement = WitnessStatement | ProviderStatement | DriftReport | Revocation


def parse_statement(payload: bytes) -> Statement:
    """Read an envelope's payload. Raises ``StatementError`` with the field that is wrong."""
    fields = Fields(read_json(payload))
    fields.exactly("_type", STATEMENT_TYPE)
    kind = fields.text("predicateType")
    if kind not in _READERS:
        raise StatementError(f"{shown(kind)} is not a kind of statement known here", "predicateType")
    subjects = fields.items("subject")
    predicate = Fields(fields.take("predicate"), "predicate")
    fields.done()
    statement = _READERS[kind]([_subject(at, item) for at, item in subjects], predicate)
    predicate.done()
    return statement


def payload_of(statement: Statement) -> bytes:
    """The in-toto JSON of a statement, canonical (RFC 8785): the same statement gives the same bytes.

    Raises ``StatementError`` when it says something that ``parse_statement`` would refuse.
    """
    kind, predicate = _predicate(statement)
    if isinstance(statement, Revocation):
        subject = [{"name": digest, "digest": {"sha256": digest[7:]}} for digest in statement.revokes]
    else:
        subject = [{"name": statement.model, "digest": {"sha256": statement.digest.removeprefix("sha256:")}}]
    payload = canonical_json(
        {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": kind, "predicate": predicate}
    )
    parse_statement(payload)
    return payload


def _subject(at: str, item: object) -> tuple[str, str]:
    """Name and ``sha256:…`` of one subject."""
    fields = Fields(item, at)
    name = fields.text("name", most=200)
    digest = Fields(fields.take("digest"), f"{at}.digest")
    value = digest.text("sha256", HEX_SHA256)
    digest.done()
    fields.done()
    return name, f"sha256:{value}"


def _model(subjects: list[tuple[str, str]]) -> tuple[str, str]:
    if len(subjects) != 1:
        raise StatementError(f"has {len(subjects)} subjects, expected one model", "subject")
    name, digest = subjects[0]
    Fields({"name": name}, "subject[0]").text("name", MODEL_ID_PATTERN)
    return name, digest


def _validity(fields: Fields) -> tuple[int, int]:
    not_before, not_after = fields.time("not_before"), fields.time("not_after")
    if not_after <= not_before:
        raise StatementError("is not later than not_before", fields.path("not_after"))
    return not_before, not_after


def _witness(subjects: list[tuple[str, str]], fields: Fields) -> WitnessStatement:
    model, digest = _model(subjects)
    witness = fields.text("witness", IDENTIFIER_PATTERN)
    scope = fields.text("scope", IDENTIFIER_PATTERN)
    basis, intended_use = fields.text("basis"), fields.text("intended_use")
    not_before, not_after = _validity(fields)
    supersedes = fields.digests("supersedes") if fields.has("supersedes") else ()
    return WitnessStatement(
        model, digest, witness, scope, basis, intended_use, not_before, not_after, supersedes
    )


def _provider(subjects: list[tuple[str, str]], fields: Fields) -> ProviderStatement:
    model, digest = _model(subjects)
    provider = fields.text("provider", IDENTIFIER_PATTERN)
    identity = Fields(fields.take("endpoint_identity"), fields.path("endpoint_identity"))
    pins = identity.texts("spki_pins", PIN_PATTERN, least=0)
    spiffe_id = identity.text("spiffe_id", SPIFFE_PATTERN) if identity.has("spiffe_id") else None
    identity.done()
    if not pins and spiffe_id is None:
        raise StatementError("names neither spki_pins nor a spiffe_id", fields.path("endpoint_identity"))
    not_before, not_after = _validity(fields)
    return ProviderStatement(model, digest, provider, pins, spiffe_id, not_before, not_after)


def _drift(subjects: list[tuple[str, str]], fields: Fields) -> DriftReport:
    model, digest = _model(subjects)
    observer = fields.text("observer", IDENTIFIER_PATTERN)
    deployment = fields.text("deployment", IDENTIFIER_PATTERN) if fields.has("deployment") else None
    metric, posture = fields.text("metric"), fields.text("posture")
    if posture not in _POSTURES:
        raise StatementError(f"expected one of {', '.join(_POSTURES)}", fields.path("posture"))
    measured_at = fields.time("measured_at")
    valid_for_s = fields.number("valid_for_s", 1, MAX_VALID_S)
    return DriftReport(
        model, digest, observer, deployment, metric, _POSTURES[posture], measured_at, valid_for_s
    )


def _revocation(subjects: list[tuple[str, str]], fields: Fields) -> Revocation:
    by = fields.text("by", IDENTIFIER_PATTERN)
    revokes = fields.digests("revokes")
    revoked_at, reason = fields.time("revoked_at"), fields.text("reason")
    if {digest for _, digest in subjects} != set(revokes) or len(subjects) != len(revokes):
        raise StatementError("is not the same digests as predicate.revokes", "subject")
    return Revocation(by, revokes, revoked_at, reason)


_READERS: Final[dict[str, Callable[[list[tuple[str, str]], Fields], Statement]]] = {
    WITNESS_TYPE: _witness,
    PROVIDER_TYPE: _provider,
    DRIFT_TYPE: _drift,
    REVOCATION_TYPE: _revocation,
}


def _predicate(statement: Statement) -> tuple[str, dict[str, Any]]:
    match statement:
        case WitnessStatement():
            kind = WITNESS_TYPE
            predicate: dict[str, Any] = {
                "witness": statement.witness,
                "scope": statement.scope,
                "basis": statement.basis,
                "intended_use": statement.intended_use,
                **_times(statement),
            }
            if statement.supersedes:
                predicate["supersedes"] = list(statement.supersedes)
        case ProviderStatement():
            kind = PROVIDER_TYPE
            identity: dict[str, Any] = {"spki_pins": list(statement.spki_pins)}
            if statement.spiffe_id is not None:
                identity["spiffe_id"] = statement.spiffe_id
            predicate = {
                "provider": statement.provider,
                "endpoint_identity": identity,
                **_times(statement),
            }
        case DriftReport():
            kind = DRIFT_TYPE
            predicate = {
                "observer": statement.observer,
                "metric": statement.metric,
                "posture": statement.posture.value,
                "measured_at": time_text(statement.measured_at),
                "valid_for_s": statement.valid_for_s,
            }
            if statement.deployment is not None:
                predicate["deployment"] = statement.deployment
        case Revocation():
            kind = REVOCATION_TYPE
            predicate = {
                "by": statement.by,
                "revokes": list(statement.revokes),
                "revoked_at": time_text(statement.revoked_at),
                "reason": statement.reason,
            }
    return kind, predicate


def _times(statement: WitnessStatement | ProviderStatement) -> dict[str, str]:
    return {"not_before": time_text(statement.not_before), "not_after": time_text(statement.not_after)}

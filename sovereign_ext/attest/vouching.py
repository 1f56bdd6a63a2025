"""Whether the witness statements that an entry names say what the entry says of them, by keys that the auditor has.

A scope witness signs a DSSE envelope over an in-toto statement (``urn:sovereign:witness-statement:v1``): this witness
vouches for this model digest, within this scope, from ``not_before`` until ``not_after``. Checked is one statement
at a time against what the entry recorded. Which witnesses deserve trust is the auditor's choice of keys, and whether
a statement was revoked is not visible from it: the gateway's registry knew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from sovereign_ext.attest import dsse
from sovereign_ext.attest.statement import STATEMENT_TYPE
from sovereign_ext.errors import VerificationError

WITNESS_STATEMENT: Final = "urn:sovereign:witness-statement:v1"
CLOCK_SKEW_S: Final = 60
"""How far a witness's clock may have been ahead of the gateway's."""


class _Digest(msgspec.Struct):
    sha256: str


class _Subject(msgspec.Struct):
    name: str
    digest: _Digest


class _Predicate(msgspec.Struct):
    witness: str
    scope: str
    not_before: str
    not_after: str


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: list[_Subject]
    predicate_type: str
    predicate: _Predicate


def verify_vouch(vouch: Mapping[str, Any], body: bytes, pem: bytes, predicate: Mapping[str, Any]) -> None:
    """Check the statement ``body`` (a DSSE envelope) of the recorded ``vouch`` with the witness's public key.

    ``predicate`` is the outcome's: its model digest and its times count. Raises ``VerificationError``.
    """
    envelope = dsse.parse(body)
    _signed(pem, dsse.pae(envelope.payload, envelope.payload_type), envelope.signature)
    try:
        statement = msgspec.json.decode(envelope.payload, type=_Statement)
        not_before, not_after = (
            datetime.fromisoformat(text).timestamp()
            for text in (statement.predicate.not_before, statement.predicate.not_after)
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VerificationError(f"not a witness statement: {error}") from None
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, WITNESS_STATEMENT):
        raise VerificationError(f"a statement of type {statement.predicate_type!r} vouches for nothing")
    said = (statement.predicate.witness, statement.predicate.scope)
    if said != (vouch["witness"], vouch["scope"]):
        raise VerificationError(f"the statement is by {said[0]} for scope {said[1]}")
    digests = {f"sha256:{subject.digest.sha256}" for subject in statement.subject}
    if digests != {predicate.get("model_hash")}:
        raise VerificationError("the statement is about another model digest than the entry")
    # The entry has no moment of its own for this: it held at some moment of the call.
    started, finished = predicate["started_ms"] / 1000, predicate["finished_ms"] / 1000
    if not (not_before - CLOCK_SKEW_S <= finished and started < not_after):
        raise VerificationError(
            f"it held from {statement.predicate.not_before} to {statement.predicate.not_after}, "
            "not at the time of the call"
        )


def _signed(pem: bytes, message: bytes, signature: bytes) -> None:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationError("the given key is not a PEM public key") from None
    if isinstance(key, ec.EllipticCurvePublicKey):
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        dsse.verify(spki, message, signature)
        return
    if not isinstance(key, Ed25519PublicKey):
        raise VerificationError("the given key is neither an ECDSA P-256 nor an Ed25519 key")
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise VerificationError("the statement's signature does not match its payload and key") from None

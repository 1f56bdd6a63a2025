"""What an entry rests on, in a receipt: its documents, its policy judged again, its witness statements.

Each function is a step of ``verify``: it says what it found, raises ``VerificationError`` when that is not what the
entry says, and ``SkippedError`` when the step does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sovereign_ext.attest.audit import audit
from sovereign_ext.attest.documents import POLICY, WITNESS_STATEMENT, digest_of, referenced
from sovereign_ext.attest.receipt_form import Receipt
from sovereign_ext.attest.reevaluate import Condition, read_policy
from sovereign_ext.attest.report import SkippedError
from sovereign_ext.attest.statement import DECISION, OUTCOME
from sovereign_ext.attest.vouching import verify_vouch
from sovereign_ext.errors import VerificationError


@dataclass(frozen=True, slots=True)
class Claim:
    """What a statement says: its predicate, of type ``kind``."""

    kind: str
    predicate: dict[str, Any]

    @classmethod
    def of(cls, statement: Mapping[str, Any]) -> Claim:
        """The claim of an in-toto statement (decoded JSON); empty where that has none."""
        kind, predicate = statement.get("predicateType"), statement.get("predicate")
        return cls(kind if isinstance(kind, str) else "", predicate if isinstance(predicate, dict) else {})


def documents(claim: Claim, receipt: Receipt) -> str:
    """Every document that the statement refers to is there, with the digest it is named by, and no other."""
    enclosed, wanted = receipt.documents, referenced(claim.predicate)
    for digest, document in enclosed.items():
        if (computed := digest_of(document.body)) != digest:
            raise VerificationError(f"the document under {digest} has digest {computed}")
    if missing := [digest for digest in wanted if digest not in enclosed]:
        raise VerificationError(f"the receipt does not hold {', '.join(missing)}")
    if further := [digest for digest in enclosed if digest not in wanted]:
        raise VerificationError(f"the statement does not refer to {', '.join(further)}")
    if not wanted:
        raise SkippedError("the statement refers to no documents")
    return f"{len(wanted)} with the digests that the statement names"


def policy(claim: Claim, receipt: Receipt, condition: Condition | None) -> str:
    """The policy document, judged again over the recorded facts, gives what the entry says."""
    if claim.kind not in (DECISION, OUTCOME):
        raise SkippedError("the entry is not about a call")
    digest = claim.predicate.get("policy_digest")
    if digest is None:
        if claim.predicate.get("attempts"):
            raise VerificationError("deployments were tried under no policy")
        raise SkippedError("the call was refused before a policy was chosen")
    document = _document(receipt, digest, POLICY)
    return audit(claim.kind, claim.predicate, read_policy(document), condition)


def statements(claim: Claim, receipt: Receipt, witnesses: Mapping[str, bytes]) -> str:
    """The recorded statements of every witness whose key (PEM) is in ``witnesses`` verify, and they cover the
    scopes that the policy requires."""
    vouches = claim.predicate.get("witnesses") if claim.kind == OUTCOME else None
    if not vouches:
        raise SkippedError("the entry names no witness statements")
    if not witnesses:
        raise SkippedError("no keys of scope witnesses were given")
    good, unknown = [], []
    for vouch in vouches:
        name, scope = vouch["witness"], vouch["scope"]
        body = _document(receipt, vouch["statement"], WITNESS_STATEMENT)
        if name not in witnesses:
            unknown.append(f"{name} for {scope}")
            continue
        try:
            verify_vouch(vouch, body, witnesses[name], claim.predicate)
        except VerificationError as error:
            raise VerificationError(f"{name} for {scope}: {error}") from None
        good.append((name, scope))
    covered = {scope for _, scope in good}
    required = read_policy(_document(receipt, claim.predicate["policy_digest"], POLICY)).required_scopes
    if missing := [scope for scope in required if scope not in covered]:
        raise VerificationError(f"no given key vouches for {', '.join(missing)}, which the policy requires")
    if not good:
        raise VerificationError(f"no key was given for {', '.join(unknown)}")
    shown = ", ".join(f"{name} for {scope}" for name, scope in good)
    rest = f"; no key for {', '.join(unknown)}" if unknown else ""
    return f"{shown}{rest}; whether they were revoked cannot be seen from here"


def _document(receipt: Receipt, digest: object, kind: str) -> bytes:
    found = receipt.documents.get(str(digest))
    if found is None:
        raise VerificationError(f"the receipt does not hold the {kind} {digest}")
    if found.kind != kind or digest_of(found.body) != digest:
        raise VerificationError(f"the document under {digest} is not the {kind} of that digest")
    return found.body

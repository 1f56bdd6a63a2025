"""What an entry rests on, and others' word on the log: each thing that is not as it must be fails its own step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from attest_world import (
    DOCUMENTS,
    POLICY,
    POLICY_DOCUMENT,
    REQUEST,
    TOKEN,
    VOUCH,
    WITNESS_PEM,
    Complete,
    complete,
    facts,
    witness_statement,
)
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import structs

from sovereign_ext.attest import dsse
from sovereign_ext.attest.facts import CallFacts, Result
from sovereign_ext.attest.rekor import RekorKey
from sovereign_ext.attest.verify import Check, Report, Status, TrustedKeys, verify_receipt
from sovereign_ext.canonical import canonical_json
from sovereign_ext.storage.documents import Document
from sovereign_ext.tlog.cosignature import CosignerKey


def pem(key: Any) -> bytes:
    made: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made


def verified(made: Complete, **keys: Any) -> Report:
    trusted = replace(made.keys, **keys)
    return verify_receipt(made.document, trusted, request=REQUEST, response=made.response)


def step(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status is Status.FAILED]


def vouched(statement: Document, *others: Document, **changes: Any) -> Complete:
    """A receipt whose one witness statement is ``statement``, whatever that says."""
    call = facts(
        **{
            "witnesses": (("cms", "hipaa", statement.digest),),
            "evidence_documents": (statement.digest, TOKEN.digest),
            "candidates": tuple({**each, "documents": []} for each in facts().candidates),
            **changes,
        }
    )
    return complete(call, (POLICY_DOCUMENT, statement, TOKEN, *others))


STATEMENTS: dict[str, tuple[Document, str]] = {
    "expired": (witness_statement(not_after="2025-12-31T00:00:00Z"), "not at the time of the call"),
    "not yet": (witness_statement(not_before="2026-01-02T00:00:00Z"), "not at the time of the call"),
    "other digest": (witness_statement(digest=f"sha256:{'b' * 64}"), "about another model digest"),
    "other scope": (witness_statement(scope="fda"), "the statement is by cms for scope fda"),
    "other witness": (witness_statement(witness="fda"), "the statement is by fda for scope hipaa"),
    "other key": (witness_statement(Ed25519PrivateKey.generate()), "signature does not match"),
    "no time": (witness_statement(not_after="soon"), "not a witness statement"),
    "no envelope": (Document("witness-statement", b"{}"), "malformed DSSE envelope"),
    "another document": (Document("drift-report", VOUCH.body), "is not the witness-statement of that digest"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_that_do_not_hold(name: str) -> None:
    """The receipt is sound, the gateway signed it, and still the statement does not say what the entry says."""
    statement, reason = STATEMENTS[name]
    report = verified(vouched(statement))
    assert failed(report) == ["statements"]
    assert reason in step(report, "statements").detail


def test_p256_witnesses_count_too() -> None:
    """Both kinds of keys that statements are signed with are known; others, and no keys, are refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    payload = dsse.parse(VOUCH.body).payload
    signed = dsse.Envelope(payload, dsse.sign(key, dsse.pae(payload)), "").encode()
    made = vouched(Document("witness-statement", signed))
    assert verified(made, witnesses={"cms": pem(key)}).ok
    for wrong in (pem(rsa.generate_private_key(65537, 2048)), b"no key", WITNESS_PEM):
        assert failed(verified(made, witnesses={"cms": wrong})) == ["statements"]


def test_a_statement_of_another_type_vouches_for_nothing() -> None:
    """A revocation that has the members of a witness statement is still a revocation."""
    key = Ed25519PrivateKey.generate()
    payload = dsse.parse(VOUCH.body).payload.replace(b"witness-statement", b"revocation")
    signed = dsse.Envelope(payload, key.sign(dsse.pae(payload)), "").encode()
    report = verified(vouched(Document("witness-statement", signed)), witnesses={"cms": pem(key)})
    assert "vouches for nothing" in step(report, "statements").detail


def test_witnesses_whose_keys_are_not_given() -> None:
    """One of several is enough as long as the required scopes are covered; the others are named."""
    other = witness_statement(Ed25519PrivateKey.generate(), witness="fda", scope="fda")
    both = (("cms", "hipaa", VOUCH.digest), ("fda", "fda", other.digest))
    made = complete(
        facts(witnesses=both, evidence_documents=(other.digest, TOKEN.digest)), (*DOCUMENTS, other)
    )
    assert "no key for fda for fda" in step(verified(made), "statements").detail
    assert step(verified(made), "statements").status is Status.OK
    report = verified(made, witnesses={"fda": WITNESS_PEM})
    assert failed(report) == ["statements"]
    report = verified(made, witnesses={"x": WITNESS_PEM})
    assert "no given key vouches for hipaa, which the policy requires" in step(report, "statements").detail


POLICIES: dict[str, tuple[Callable[[], CallFacts], str]] = {
    "an excluded deployment answered": (
        lambda: _answered_by("meridian-c"),
        "deployment meridian-c was tried, but was ruled out",
    ),
    "too low a tier": (lambda: facts(tier_observed="attested"), "tier attested was observed"),
    "a fact that was changed": (
        lambda: facts(candidates=tuple({**each, "drift": "drifted"} for each in facts().candidates)),
        "fails drift",
    ),
    "no candidates": (lambda: facts(candidates=()), "was not judged"),
    "no decision": (lambda: facts(decision_index=None), "audit is strict"),
    "another audit": (lambda: facts(audit="standard"), "the entry's audit is 'standard'"),
    "answered by nobody": (lambda: facts(deployment=None), "by no deployment"),
}


def _answered_by(deployment: str) -> CallFacts:
    call = facts()
    return structs.replace(
        call, deployment=deployment, attempts=(structs.replace(call.attempts[1], deployment=deployment),)
    )


@pytest.mark.parametrize("name", POLICIES)
def test_entries_that_do_not_follow_their_policy(name: str) -> None:
    """Signed, logged, complete, and not what the policy allows."""
    call, reason = POLICIES[name]
    report = verified(complete(call()))
    assert failed(report) == ["policy"]
    assert reason in step(report, "policy").detail


def test_a_policy_of_a_newer_release_is_not_taken_for_one_we_know() -> None:
    """Half a policy must not pass for a whole one."""
    newer = Document("policy", canonical_json({**POLICY, "new_rule": "x"}))
    call = facts(policy_digest=bytes.fromhex(newer.digest.removeprefix("sha256:")))
    report = verified(complete(call, (newer, VOUCH, TOKEN)))
    assert failed(report) == ["policy", "statements"]
    assert "not one this verifier knows" in step(report, "policy").detail


def test_calls_refused_before_a_policy() -> None:
    """Nothing to judge, unless somebody was tried all the same."""
    refused = facts(
        result=Result.DENIED,
        policy="",
        policy_digest=None,
        audit="",
        request={},
        candidates=(),
        attempts=(),
        deployment=None,
        provider=None,
        witnesses=(),
        evidence_documents=(),
        tier_required="",
        tier_observed="none",
        decision_index=None,
    )
    report = verified(complete(refused, ()))
    assert report.ok
    assert [step(report, name).status for name in ("documents", "policy", "statements")] == [
        Status.SKIPPED
    ] * 3
    tried = structs.replace(refused, attempts=facts().attempts)
    assert failed(verified(complete(tried, ()))) == ["policy"]


def test_a_condition_is_judged_by_whoever_can() -> None:
    """Without a judge its recorded result is taken, and the step says so."""
    conditional = Document("policy", canonical_json({**POLICY, "condition": "tenant == 'mayo'"}))
    call = facts(policy_digest=bytes.fromhex(conditional.digest.removeprefix("sha256:")))
    made = complete(call, (conditional, VOUCH, TOKEN))
    assert step(verified(made), "policy").detail.endswith("; condition taken as recorded")

    def run(holds: bool) -> Report:
        return verify_receipt(made.document, TrustedKeys(), condition=lambda *_: holds)

    assert step(run(holds=True), "policy").detail == "phi: 2 of 3 candidates eligible, 2 tried"
    assert "fails condition, the entry says no rule" in step(run(holds=False), "policy").detail


def test_cosigners_and_quorum() -> None:
    """Whoever must have signed has; a key of the same name and another value has not."""
    made = complete()
    assert made.keys.quorum is not None
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for name in ("mirror.example", "w1.example", "nobody.example"):
        report = verified(made, cosigners=[CosignerKey(name, stranger)])
        assert failed(report) == ["cosignatures"]
        assert f"nothing in the receipt is signed by {name}" in step(report, "cosignatures").detail
    document = copy.deepcopy(made.document)
    proof = document["bundle"]["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    lines = proof["checkpoint"]["envelope"].splitlines(True)
    proof["checkpoint"]["envelope"] = "".join(line for line in lines if "w2.example" not in line)
    report = verified(replace(made, document=document))
    assert failed(report) == ["cosignatures"]
    assert (
        "the quorum has not signed this checkpoint; w1.example cosigned"
        in step(report, "cosignatures").detail
    )
    assert verified(replace(made, document=document), quorum=None).ok


def test_a_mirror_of_another_tree_is_a_fork() -> None:
    """The same size and another root, signed by the same log: that is the proof of a fork."""
    made = complete()
    other = complete(signing=made.signing, earlier=b"another entry 0")
    document = copy.deepcopy(made.document)
    document["log"]["mirrors"] = other.document["log"]["mirrors"]
    report = verified(replace(made, document=document), cosigners=other.keys.cosigners)
    assert failed(report) == ["cosignatures"]
    assert "signed another tree of size 2: the log has forked" in step(report, "cosignatures").detail


def test_anchors_that_are_asked_for() -> None:
    """By their ids and keys."""
    made = complete()
    key = made.keys.anchors["ext"]
    assert "no anchor 'other'" in step(verified(made, anchors={"other": key}), "anchors").detail
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = stranger.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert failed(verified(made, anchors={"ext": RekorKey(spki)})) == ["anchors"]

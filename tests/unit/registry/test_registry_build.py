"""What is refused at load, and what is only flagged: the object, the field and the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from registry_world import (
    DAY,
    NOW,
    OTHER_DIGEST,
    World,
    drift,
    key,
    pem,
    provider,
    revocation,
    sealed,
    signed_manifest,
    witness,
)

from sovereign_ext.config.documents import Document
from sovereign_ext.config.trust import Drift
from sovereign_ext.errors import ConfigErrors
from sovereign_ext.registry.envelope import seal
from sovereign_ext.registry.manifest import Resource, manifest_of
from sovereign_ext.registry.registry import StoredDocument
from sovereign_ext.registry.signed import payload_digest
from sovereign_ext.registry.statements import payload_of

Change = Callable[[World], Any]


def sign(name: str, statement: Any, by: str) -> Change:
    return lambda world: world.sign(name, statement, by)


def raw(name: str, data: bytes) -> Change:
    return lambda world: world.put(Document(f"statements/{name}.json", data, statement=True))


def other_manifest(world: World) -> None:
    world.put(signed_manifest(manifest_of("m", [Resource("weights", "33" * 32)])))


def same_key(world: World) -> None:
    world.put(Document("tuv-ed.pem", pem("fda")))


def no_publisher(world: World) -> None:
    del world.model["publisher"]
    world.model["digest_basis"] = "measured"


def foreign_revocation(world: World) -> None:
    world.sign("r1", revocation(world.digest("p1")), "fda")


def revoked_revocation(world: World) -> None:
    first = world.sign("r1", revocation(world.digest("w1")), "fda")
    world.sign("r2", revocation(first), "fda")


def foreign_successor(world: World) -> None:
    world.sign("w2", witness(witness="tuv", supersedes=(world.digest("w1"),)), "tuv-ed")


def successor_of_a_revocation(world: World) -> None:
    first = world.sign("r1", revocation(OTHER_DIGEST), "fda")
    world.sign("w2", witness(supersedes=(first,)), "fda")


FAULTS: dict[str, tuple[Change, str, str, str]] = {
    "not an envelope": (raw("x", b"{}"), "statements/x.json", "payloadType", "is missing"),
    "not JSON": (raw("x", b"\xff"), "statements/x.json", "", "is not UTF-8 text"),
    "a statement without an envelope": (
        raw("x", payload_of(witness())),
        "statements/x.json",
        "payloadType",
        "is missing",
    ),
    "unknown witness": (
        sign("x", witness(witness="who"), "fda"),
        "statements/x.json",
        "predicate.witness",
        "there is no witness 'who' among trust.witnesses",
    ),
    "unknown observer": (
        sign("x", drift(observer="who"), "lab"),
        "statements/x.json",
        "predicate.observer",
        "there is no observer 'who' among trust.observers",
    ),
    "unknown provider": (
        sign("x", provider(provider="who"), "provider"),
        "statements/x.json",
        "predicate.provider",
        "there is no provider 'who'",
    ),
    "provider without a key": (
        lambda w: w.provider.pop("key_file"),
        "statements/p1.json",
        "predicate.provider",
        "there is no provider 'own' among the providers with a key_file",
    ),
    "unknown revoker": (
        sign("x", revocation(OTHER_DIGEST, by="who"), "fda"),
        "statements/x.json",
        "predicate.by",
        "nobody of the id 'who' has a key here",
    ),
    "unknown model": (
        sign("x", witness(model="acme/other"), "fda"),
        "statements/x.json",
        "subject[0].name",
        "there is no model 'acme/other'",
    ),
    "unknown deployment": (
        sign("x", drift(deployment="who"), "lab"),
        "statements/x.json",
        "predicate.deployment",
        "there is no deployment 'who'",
    ),
    "signed by somebody else": (
        sign("x", witness(), "tuv-ed"),
        "statements/x.json",
        "signatures",
        "the envelope names another key than the signer's",
    ),
    "revocation signed by somebody else": (
        sign("x", revocation(OTHER_DIGEST), "tuv-ed"),
        "statements/x.json",
        "signatures",
        "the envelope names another key than the signer's",
    ),
    "revocation of another's statement": (
        foreign_revocation,
        "statements/r1.json",
        "predicate.revokes",
        "names 'statements/p1.json', which only its own signer may take back",
    ),
    "revocation of a revocation": (
        revoked_revocation,
        "statements/r2.json",
        "predicate.revokes",
        "names 'statements/r1.json', a revocation, which nothing can take back",
    ),
    "successor of another's statement": (
        foreign_successor,
        "statements/w2.json",
        "predicate.supersedes",
        "names 'statements/w1.json', which only its own signer may take back",
    ),
    "successor of a revocation": (
        successor_of_a_revocation,
        "statements/w2.json",
        "predicate.supersedes",
        "names 'statements/r1.json', a revocation, which nothing can take back",
    ),
    "key file of something else": (
        lambda w: w.put(Document("fda.pem", b"hello")),
        "fda.pem",
        "",
        "is not a PEM public key",
    ),
    "private key where a public one belongs": (
        lambda w: w.put(Document("fda.pem", b"-----BEGIN PRIVATE KEY-----\nMIG\n")),
        "fda.pem",
        "",
        "holds a private key; give its public half (openssl pkey -pubout)",
    ),
    "key file that was not loaded": (
        lambda w: w.documents.pop("lab.pem"),
        "sovereign.yaml",
        "trust.observers[0].key_file",
        "this file was not loaded",
    ),
    "two witnesses, one key": (
        same_key,
        "sovereign.yaml",
        "trust.witnesses[1].key_file",
        "holds the same key as witness 'fda'",
    ),
    "manifest by another key": (
        lambda w: w.put(signed_manifest(by="fda")),
        "manifest.json",
        "dsseEnvelope.signatures",
        "the bundle names another key than the publisher's",
    ),
    "manifest that is none": (
        lambda w: w.put(Document("manifest.json", b"{}")),
        "manifest.json",
        "mediaType",
        "is missing",
    ),
    "manifest of another digest": (
        other_manifest,
        "sovereign.yaml",
        "models[0].digest",
        "the manifest signs " + manifest_of("m", [Resource("weights", "33" * 32)]).digest,
    ),
    "manifest without publisher": (
        no_publisher,
        "sovereign.yaml",
        "models[0].publisher",
        "a manifest takes the publisher whose key signed it",
    ),
    "manifest that was not loaded": (
        lambda w: w.documents.pop("manifest.json"),
        "sovereign.yaml",
        "models[0].manifest",
        "this file was not loaded",
    ),
    "drift that is always within bounds": (
        lambda w: w.trust.update(max_drift="unknown"),
        "sovereign.yaml",
        "trust.max_drift",
        "expected stable, watch or drifted: unknown never passes",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_object_field_and_reason(name: str) -> None:
    """Nothing is left out silently: one bad document refuses the configuration."""
    change, file, field, reason = FAULTS[name]
    world = World()
    change(world)
    with pytest.raises(ConfigErrors) as caught:
        world.build()
    faults = {(fault.file, fault.field, fault.reason) for fault in caught.value.faults}
    assert (file, field, reason) in faults


def test_all_faults_are_reported_at_once() -> None:
    """So that they can be mended in one go."""
    world = World()
    for name in ("unknown witness", "manifest of another digest", "key file of something else"):
        FAULTS[name][0](world)
    with pytest.raises(ConfigErrors) as caught:
        world.build()
    assert {fault.file for fault in caught.value.faults} >= {"statements/x.json", "sovereign.yaml", "fda.pem"}


def test_no_key_material_is_quoted() -> None:
    """Whatever is in a key file, an error says nothing of it."""
    world = World()
    secret = b"-----BEGIN PUBLIC KEY-----\nc2VjcmV0LXNlY3JldA==\n-----END PUBLIC KEY-----\n"
    world.put(Document("fda.pem", secret))
    with pytest.raises(ConfigErrors) as caught:
        world.build()
    assert "c2VjcmV0" not in str(caught.value)


def revoke_by_payload(world: World) -> None:
    """The envelope is laid out anew, so the digest of its file is another one."""
    statement = world.documents["statements/w1.json"]
    world.sign("r1", revocation(payload_digest_of(witness())), "fda")
    world.put(replace(statement, raw=statement.raw.replace(b",", b", ")))


def payload_digest_of(statement: Any) -> str:
    return payload_digest(payload_of(statement))


def test_a_revocation_by_payload_holds_whatever_the_envelope_looks_like() -> None:
    """Spaces in its JSON do not bring a statement back, nor does a second signature by the same key."""
    world = World()
    revoke_by_payload(world)
    assert "witness_revoked" in world.standing().reasons
    world.put(Document("statements/w1.json", seal(payload_of(witness()), key("fda")), statement=True))
    assert "witness_revoked" in world.standing().reasons


def test_an_id_in_two_roles_revokes_with_either_key() -> None:
    """Publisher and witness may share an id; whoever signed is who revokes."""
    world = World()
    world.trust["publishers"][0]["id"] = world.model["publisher"] = "fda"
    world.sign("r1", revocation(world.digest("w1"), by="fda"), "fda")
    assert "witness_revoked" in world.standing().reasons
    world.sign("r1", revocation(world.documents["manifest.json"].digest, by="fda"), "publisher")
    assert world.standing().reasons == ("manifest_invalid",)


def policy(**fields: Any) -> Change:
    return lambda world: world.data.update(policies=[{"id": "p", **fields}])


def nothing(_: World) -> None:
    pass


def both(*changes: Change) -> Change:
    def change(world: World) -> None:
        for each in changes:
            each(world)

    return change


WARNINGS: dict[str, tuple[Change, str, str, str]] = {
    "future witness statement": (
        sign("w1", witness(not_before=NOW + 61), "fda"),
        "statements/w1.json",
        "predicate.not_before",
        "is in the future (2027-01-15T08:01:01Z); the statement does not count before",
    ),
    "future drift report": (
        sign("d1", drift(measured_at=NOW + 61), "lab"),
        "statements/d1.json",
        "predicate.measured_at",
        "is in the future (2027-01-15T08:01:01Z); the statement does not count before",
    ),
    "future revocation": (
        sign("r1", revocation(OTHER_DIGEST, revoked_at=NOW + 61), "fda"),
        "statements/r1.json",
        "predicate.revoked_at",
        "is in the future (2027-01-15T08:01:01Z); the statement does not count before",
    ),
    "expired statement": (
        sign("w1", witness(not_after=NOW), "fda"),
        "statements/w1.json",
        "",
        "expired at 2027-01-15T08:00:00Z; it no longer counts",
    ),
    "revocation of nothing known": (
        sign("r1", revocation(OTHER_DIGEST), "fda"),
        "statements/r1.json",
        "predicate.revokes",
        "names no document that is loaded",
    ),
    "another digest": (
        sign("w1", witness(digest=OTHER_DIGEST), "fda"),
        "statements/w1.json",
        "subject[0].digest",
        "is not the digest of model 'acme/med-13b', which is " + witness().digest,
    ),
    "scope that the witness may not attest": (
        sign("w1", witness(scope="iso"), "fda"),
        "statements/w1.json",
        "predicate.scope",
        "witness 'fda' may not attest 'iso'",
    ),
    "no organisation of our own": (
        lambda w: w.trust.pop("organisation"),
        "sovereign.yaml",
        "trust.organisation",
        "is not given, so no witness is known to be independent of this gateway",
    ),
    "measured digest that was not signed": (
        both(other_manifest, lambda w: w.model.update(digest_basis="measured")),
        "sovereign.yaml",
        "models[0].digest",
        "is not what was signed; the manifest signs "
        + manifest_of("m", [Resource("weights", "33" * 32)]).digest,
    ),
    "manifest and no digest": (
        lambda w: (w.model.pop("digest"), w.model.pop("digest_basis")),
        "sovereign.yaml",
        "models[0].digest",
        "is not given, so nothing is signed; the manifest signs " + witness().digest,
    ),
    "tier out of reach": (
        both(
            policy(required_tier="sealed"),
            lambda w: w.provider.pop("evidence"),
        ),
        "sovereign.yaml",
        "policies[0]",
        "can never be satisfied: 'dep': reaches 'witnessed' only (no_evidence)",
    ),
    "scope out of reach": (
        policy(required_scopes=["iso", "clinical"]),
        "sovereign.yaml",
        "policies[0]",
        "can never be satisfied: 'dep': nobody vouches for iso",
    ),
    "drift out of reach": (
        both(policy(max_drift="stable"), sign("d1", drift(posture=Drift.WATCH), "lab")),
        "sovereign.yaml",
        "policies[0]",
        "can never be satisfied: 'dep': its drift is watch",
    ),
    "origins that nobody has": (
        policy(allowed_origins=["CH"]),
        "sovereign.yaml",
        "policies[0]",
        "can never be satisfied: 'dep': its origin or its model's is not allowed",
    ),
    "a chain that serves nothing": (
        both(
            policy(providers=["idle"]),
            lambda w: w.data["providers"].append({**w.provider, "id": "idle", "evidence": None}),
        ),
        "sovereign.yaml",
        "policies[0]",
        "can never be satisfied: its providers serve nothing",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_names_object_field_and_reason(name: str) -> None:
    """It stops nothing: the configuration can be used."""
    change, file, field, reason = WARNINGS[name]
    world = World()
    change(world)
    warnings = {(warning.file, warning.field, warning.reason) for warning in world.build().warnings}
    assert (file, field, reason) in warnings


@pytest.mark.parametrize(
    "change",
    [
        nothing,
        policy(required_tier="sealed", required_scopes=["clinical"], max_drift="stable"),
        sign("w1", witness(not_before=NOW + 60), "fda"),
        both(policy(required_tier="sealed"), sign("w1", witness(not_before=NOW + DAY), "fda")),
    ],
    ids=["good", "satisfiable", "within the skew", "satisfiable tomorrow"],
)
def test_what_is_fine_or_will_be_is_not_called_unsatisfiable(change: Change) -> None:
    """No policy warning for what can come true."""
    world = World()
    change(world)
    assert not [warning for warning in world.build().warnings if "never" in warning.reason]


def test_nothing_signed_is_nothing_to_complain_about() -> None:
    """A configuration of before there was trust: every deployment is open."""
    world = World()
    world.data["trust"] = {}
    for name in ("publisher", "digest", "digest_basis", "manifest"):
        del world.model[name]
    for name in ("key_file", "tls", "evidence"):
        del world.provider[name]
    world.documents.clear()
    registry = world.build()
    assert registry.warnings == ()
    assert registry.assess(world.config.deployments[0], NOW).tier.value == "open"


def test_documents_can_be_had_by_digest() -> None:
    """What an entry refers to can be stored and handed to an auditor."""
    world = World()
    world.sign("r1", revocation(OTHER_DIGEST), "fda")
    documents = world.build().documents
    kinds = {item.path: item.kind for item in documents.values()}
    assert kinds == {
        "manifest.json": "manifest",
        "statements/w1.json": "witness-statement",
        "statements/p1.json": "provider-statement",
        "statements/d1.json": "drift-report",
        "statements/r1.json": "revocation",
    }
    stored = documents[world.digest("w1")]
    assert stored == StoredDocument(
        "witness-statement", "statements/w1.json", world.documents["statements/w1.json"].raw
    )


def test_a_statement_may_be_there_twice() -> None:
    """Under two names, say while it is being moved."""
    world = World()
    world.put(sealed("statements/w1b.json", witness(), "fda"))
    assert world.standing().tier.value == "sealed"

"""Commitments, envelopes, entries, promises, statements and keys, each by itself."""

from __future__ import annotations

import dataclasses
import hmac
import json
import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attest_world import KEY, POLICY_DOCUMENT, VOUCH, Ack, facts
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest import commit, dsse
from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.entry import EntryBody, EntrySealer, parse_body, verify_entry
from sovereign_ext.attest.facts import (
    CallFacts,
    DecisionFacts,
    Digests,
    FindingFacts,
    FoundFact,
    KeyEvent,
    KeyEventFacts,
    KeyRole,
)
from sovereign_ext.attest.keys import key_hint, load_or_create_keys, spki
from sovereign_ext.attest.promise import Promise, verify_promise
from sovereign_ext.attest.statement import (
    decision_statement,
    finding_statement,
    key_event_statement,
    opening,
    outcome_statement,
)
from sovereign_ext.errors import LogCorrupt, LogUnavailable, VerificationError
from sovereign_ext.tlog.hashing import leaf_hash

P256 = ec.generate_private_key(ec.SECP256R1())
SEALER = EntrySealer(P256, spki(P256), key_hint(spki(P256)))


@given(st.binary(min_size=32, max_size=32), st.sampled_from(commit.ITEMS))
def test_nonces_are_hmac_sha256(key: bytes, item: str) -> None:
    """The nonce is the standard library's HMAC-SHA256, so anybody can compute it."""
    assert commit.nonce(key, item) == hmac.digest(key, item.encode(), "sha256")


@given(st.lists(st.binary(max_size=50)))
def test_a_commitment_does_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    """However the bytes arrive, the digest is SHA-256 of nonce and bytes."""
    commitment = commit.Commitment(KEY, commit.SENT_REQUEST)
    for piece in pieces:
        commitment.update(piece)
    data = b"".join(pieces)
    assert commitment.digest() == commit.commit(KEY, commit.SENT_REQUEST, data)
    assert commitment.digest() == sha256(commit.nonce(KEY, commit.SENT_REQUEST) + data).digest()


def test_items_and_calls_have_different_nonces() -> None:
    """Opening one item of one call opens no other."""
    other = bytes(31) + b"\x01"
    nonces = {commit.nonce(key, item) for key in (KEY, other) for item in commit.ITEMS}
    assert len(nonces) == 2 * len(commit.ITEMS)
    with pytest.raises(ValueError, match="32 bytes"):
        commit.nonce(KEY[:31], commit.CLIENT_REQUEST)


def test_pae_of_the_specification() -> None:
    """The example of the DSSE protocol."""
    assert dsse.pae(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.binary(max_size=200))
def test_sealed_entries_verify(statement: bytes) -> None:
    """Envelope and leaf of any statement belong together, and the leaf is canonical JSON."""
    sealed = SEALER.seal(statement)
    envelope, body = dsse.parse(sealed.envelope), parse_body(sealed.body)
    assert envelope.payload == statement
    assert sealed.leaf_hash == leaf_hash(sealed.body)
    verify_entry(envelope, body)
    assert json.dumps(json.loads(sealed.body), sort_keys=True, separators=(",", ":")).encode() == sealed.body
    assert json.loads(sealed.envelope)["payloadType"] == "application/vnd.in-toto+json"


def test_openssl_verifies_the_envelope(tmp_path: Path) -> None:
    """The signature over the pre-authentication encoding is one that openssl knows."""
    envelope = dsse.parse(SEALER.seal(b"statement").envelope)
    public = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, data in (("key", public), ("sig", envelope.signature), ("pae", dsse.pae(envelope.payload))):
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "sig", "pae"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30, stdout=subprocess.DEVNULL)


@given(st.binary(max_size=300))
def test_arbitrary_envelopes_and_bodies_are_refused(data: bytes) -> None:
    """Parsing raises nothing but VerificationError."""
    with pytest.raises(VerificationError):
        dsse.parse(data)
    with pytest.raises(VerificationError):
        parse_body(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"0.0.2"', b'"0.0.1"'),
        (b'"hashedrekord"', b'"dsse"'),
        (b"SHA2_256", b"SHA2_384"),
        (b"PKIX_ECDSA_P256_SHA_256", b"PKIX_ED25519"),
        (b'{"apiVersion"', b'{ "apiVersion"'),
        (b"}}}}}}", b'}}}}},"x":1}'),
    ],
)
def test_other_bodies_are_refused(old: bytes, new: bytes) -> None:
    """Another kind, version, algorithm or spelling is not our entry."""
    body = SEALER.seal(b"x").body
    assert body.count(old) == 1
    with pytest.raises(VerificationError, match="canonical hashedrekord"):
        parse_body(body.replace(old, new))


def test_entries_do_not_go_with_other_envelopes() -> None:
    """Another payload, another signature, another key: refused, each for its reason."""
    first, second = SEALER.seal(b"a"), SEALER.seal(b"b")
    envelope, body = dsse.parse(first.envelope), parse_body(first.body)
    with pytest.raises(VerificationError, match="PAE has SHA-256"):
        verify_entry(dsse.parse(second.envelope), body)
    again = dsse.parse(SEALER.seal(b"a").envelope)
    with pytest.raises(VerificationError, match="another signature"):
        verify_entry(again, body)
    stranger = spki(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(VerificationError, match="does not match its payload and key"):
        verify_entry(envelope, EntryBody(body.digest, body.signature, stranger))
    for key in (spki(ec.generate_private_key(ec.SECP384R1())), spki(Ed25519PrivateKey.generate()), b"no key"):
        with pytest.raises(VerificationError, match="envelope key is not"):
            verify_entry(envelope, EntryBody(body.digest, body.signature, key))


def test_envelopes_with_two_signatures_are_refused() -> None:
    """A bundle allows one; which of two would count is not a question to leave open."""
    envelope = json.loads(SEALER.seal(b"x").envelope)
    envelope["signatures"] *= 2
    with pytest.raises(VerificationError, match="2 signatures"):
        dsse.parse(json.dumps(envelope).encode())


def test_promises() -> None:
    """The encoding is the documented five lines; a change of any field breaks the signature."""
    key = Ed25519PrivateKey.generate()
    promise = Promise("sovereign.local/log", 7, bytes(32), 1_767_225_600_000)
    leaf = b64encode(bytes(32)).decode()
    assert promise.encode().decode() == (
        f"urn:sovereign:promise:v1\nsovereign.local/log\n7\n{leaf}\n1767225600000\n"
    )
    signature = key.sign(promise.encode())
    verify_promise(promise, signature, spki(key))
    changes: list[dict[str, Any]] = [
        {"origin": "x"},
        {"index": 8},
        {"leaf_hash": bytes(31) + b"x"},
        {"time_ms": 1},
    ]
    for change in changes:
        with pytest.raises(VerificationError, match="bad signature"):
            verify_promise(dataclasses.replace(promise, **change), signature, spki(key))
    for wrong in (spki(P256), b"no key"):
        with pytest.raises(VerificationError, match="promise key is not"):
            verify_promise(promise, signature, wrong)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        assert all(isinstance(name, str) for name in value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_a_statement_says_every_fact() -> None:
    """Each field of the facts is in the predicate, the digests are the subjects; strings and integers
    only."""
    call = facts()
    statement = json.loads(outcome_statement(call))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:sovereign:outcome:v1"
    assert [s["name"] for s in statement["subject"]] == [
        "client-request",
        "sent-request",
        "delivered-response",
    ]
    assert statement["subject"][0]["digest"] == {"sha256": (call.digests.client_request or b"").hex()}
    assert all(type(leaf) in (str, int) for leaf in leaves(statement))
    present = {f.name for f in msgspec.structs.fields(CallFacts) if getattr(call, f.name) is not None}
    assert statement["predicate"].keys() == present - {"digests"}
    assert statement["predicate"]["attempts"][1] == {
        "deployment": "meridian-b",
        "provider": "vllm-b",
        "outcome": "ok",
        "status": 200,
        "started_ms": 1_767_225_600_140,
        "duration_ms": 1300,
    }
    assert statement["predicate"]["candidates"] == list(call.candidates)
    assert statement["predicate"]["policy_digest"] == POLICY_DOCUMENT.digest
    assert statement["predicate"]["witnesses"] == [
        {"witness": "cms", "scope": "hipaa", "statement": VOUCH.digest}
    ]
    assert outcome_statement(call) == outcome_statement(call)


def test_a_statement_says_how_far_the_log_was_mirrored() -> None:
    """What the attestation shows of a mirror is signed with the rest, so it can be shown again."""
    call, ack = facts(), Ack()
    predicate = json.loads(outcome_statement(call, ack))["predicate"]
    assert predicate["mirror"] == {"id": ack.name, "size": ack.size, "time": ack.time_s}
    assert "mirror" not in json.loads(outcome_statement(call))["predicate"]


class At:
    """A place in the log."""

    index, leaf_hash, time_ms, promise = 7, bytes(32), 1, bytes(64)


@pytest.mark.parametrize("ack", [Ack(), None])
def test_an_attestation_can_be_made_again_from_the_signed_predicate(ack: Ack | None) -> None:
    """Byte for byte, so that the holder of a receipt can compare the one in the response."""
    attestations = Attestations("sovereign.local/log", bytes(32))
    rendered = attestations.render(facts(), At(), ack)
    predicate = json.loads(outcome_statement(facts(), ack))["predicate"]
    assert attestations.of_predicate(predicate, At()) == rendered
    document = json.loads(rendered)
    assert document["mirror_id"] == (ack.name if ack else None)
    assert document["mirror"] == ({"size": ack.size, "time": ack.time_s} if ack else None)
    assert document["findings"] == 0


def test_a_decision_is_told_apart_from_its_outcome() -> None:
    """It has the outcome's decision id and its client-request commitment, and a predicate type of its own."""
    outcome = facts()
    decision = DecisionFacts(
        decision_id=outcome.decision_id,
        tenant=outcome.tenant,
        endpoint=outcome.endpoint,
        model=outcome.model,
        policy=outcome.policy,
        policy_digest=bytes(32),
        audit="strict",
        request=outcome.request,
        candidates=outcome.candidates,
        plan=("meridian-b", "meridian-a"),
        decided_ms=outcome.started_ms,
        client_request=outcome.digests.client_request or b"",
        shadows=outcome.shadows,
    )
    statement = json.loads(decision_statement(decision))
    assert statement["predicateType"] == "urn:sovereign:decision:v1"
    assert statement["subject"] == json.loads(outcome_statement(outcome))["subject"][:1]
    names = {field.name for field in msgspec.structs.fields(DecisionFacts)} - {"client_request"}
    assert statement["predicate"].keys() == names
    assert statement["predicate"]["plan"] == ["meridian-b", "meridian-a"]
    assert all(type(leaf) in (str, int) for leaf in leaves(statement))


def test_findings_and_key_events() -> None:
    """Both name what they are about by a digest, and hold nothing of the bytes themselves."""
    found = FoundFact("aws-access-key", 1, "/messages/0/content", 20, 1, "ab" * 32)
    finding = FindingFacts(
        "d-1", "mayo", "ci", "phi", bytes(32), "redacted", 2, (found,), 5, bytes(32), b"\1" * 32
    )
    statement = json.loads(finding_statement(finding))
    assert statement["predicateType"] == "urn:sovereign:finding:v1"
    assert statement["subject"] == [
        {"name": "client-request", "digest": {"sha256": "00" * 32}},
        {"name": "redacted-request", "digest": {"sha256": "01" * 32}},
    ]
    assert (statement["predicate"]["count"], statement["predicate"]["action"]) == (2, "redacted")
    assert statement["predicate"]["found"] == [msgspec.structs.asdict(found)]
    event = KeyEventFacts(KeyEvent.CREATED, KeyRole.ENVELOPE, "hint", b"spki", 9)
    statement = json.loads(key_event_statement(event))
    assert statement["predicateType"] == "urn:sovereign:key-event:v1"
    assert statement["predicate"] == {"event": "created", "role": "envelope", "key_id": "hint", "at_ms": 9}
    digest = {"sha256": sha256(b"spki").hexdigest()}
    assert statement["subject"] == [{"name": "envelope-key", "digest": digest}]


def test_facts_that_do_not_exist_are_left_out() -> None:
    """A denied call has no provider, digest or tokens, and the statement has no nulls."""
    parts = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
    names = ("policy_digest", "deployment", "provider", "prompt_tokens", "completion_tokens", *parts)
    call = msgspec.structs.replace(facts(), digests=Digests(), **dict.fromkeys(names))  # type: ignore[arg-type]
    statement = json.loads(outcome_statement(call))
    assert statement["subject"] == []
    assert not statement["predicate"].keys() & set(names)


def test_openings_hold_the_key_and_the_items() -> None:
    """The opening names what can be opened, with the key in base64."""
    document = json.loads(opening(KEY, facts().digests))
    assert document["version"] == 1
    assert b64decode(document["key"]) == KEY
    assert document["items"] == ["client-request", "sent-request", "delivered-response"]


def test_keys_are_made_once(tmp_path: Path) -> None:
    """The first start makes three different keys, private to the user; the second start finds them."""
    directory = tmp_path / "state" / "keys"
    first, second = load_or_create_keys(directory), load_or_create_keys(directory)
    assert first.public("o") == second.public("o")
    assert len({first.public("o").log.public_key, first.public("o").promise[-32:]}) == 2
    files = sorted(directory.iterdir())
    assert [f.name for f in files] == ["envelope.pem", "log.pem", "promise.pem"]
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in directory.parent.iterdir()] == ["keys"]


def test_keys_do_not_show(tmp_path: Path) -> None:
    """No repr, also not of the signer made from it, holds key material."""
    keys = load_or_create_keys(tmp_path / "keys")
    shown = f"{keys!r} {keys} {keys.checkpoint_signer('o')!r}"
    raw = keys.log.private_bytes_raw()
    assert repr(keys) == "SigningKeys(<hidden>)"
    assert raw.hex() not in shown
    assert repr(raw) not in shown


def test_damaged_keys_are_refused_without_quoting_them(tmp_path: Path) -> None:
    """A missing, wrong or broken key file is LogCorrupt, and its content is not in the message."""
    keys = tmp_path / "keys"
    load_or_create_keys(keys)
    good = (keys / "log.pem").read_bytes()
    (keys / "log.pem").write_bytes((keys / "envelope.pem").read_bytes())
    with pytest.raises(LogCorrupt, match=r"log\.pem does not hold an Ed25519 key"):
        load_or_create_keys(keys)
    (keys / "log.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(LogCorrupt) as caught:
        load_or_create_keys(keys)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None
    (keys / "log.pem").write_bytes(good)
    (keys / "envelope.pem").write_bytes(good)
    with pytest.raises(LogCorrupt, match=r"envelope\.pem does not hold an ECDSA P-256 key"):
        load_or_create_keys(keys)
    (keys / "envelope.pem").unlink()
    with pytest.raises(LogCorrupt, match=r"envelope\.pem is missing"):
        load_or_create_keys(keys)


def test_a_crash_while_making_keys_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory appears with all keys or not at all, and the next start makes them."""
    keys = tmp_path / "keys"
    real = os.fsync
    calls = iter([None, OSError(28, "No space left on device")])

    def fsync(descriptor: int) -> None:
        if (fault := next(calls, None)) is not None:
            raise fault
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(LogUnavailable, match="No space left"):
        load_or_create_keys(keys)
    assert list(tmp_path.iterdir()) == []
    assert load_or_create_keys(keys)

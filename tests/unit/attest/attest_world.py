"""What the attestation's tests share: the facts of a call, its bytes, and its receipt from a real log."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import structs

from sovereign_ext.attest import commit, dsse
from sovereign_ext.attest.anchors import Anchor
from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.entry import EntrySealer
from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.attest.keys import PublicKeys, SigningKeys, key_hint, spki
from sovereign_ext.attest.promise import Promise
from sovereign_ext.attest.receipt import ReceiptParts, build_receipt
from sovereign_ext.attest.rekor import V2, Artefact, InclusionProof, RekorEntry, RekorKey
from sovereign_ext.attest.rekor import body as rekor_body
from sovereign_ext.attest.report import TrustedKeys
from sovereign_ext.attest.statement import opening, outcome_statement
from sovereign_ext.canonical import canonical_json
from sovereign_ext.openai.splice import closing_event, splice
from sovereign_ext.storage.documents import Document
from sovereign_ext.tlog.checkpoint import Checkpoint, sign_checkpoint
from sovereign_ext.tlog.cosignature import Cosigner, CosignerKey, MirrorAck, cosign
from sovereign_ext.tlog.hashing import leaf_hash, node_hash
from sovereign_ext.tlog.note import Signer, Verifier
from sovereign_ext.tlog.policyfile import PolicyWitness, threshold_policy
from sovereign_ext.tlog.service import EntryDraft, TransparencyLog

ORIGIN = "sovereign.local/log"
SIGNED_ORIGIN = ORIGIN  # first line of the checkpoint of a complete receipt
TESTS = Path(__file__).parents[2]
KEY = bytes(range(32))
REQUEST = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
BODY = b'{"id":"x","choices":[{"message":{"content":"hi"}}]}\n'
CHUNK = b'{"id":"x","object":"chat.completion.chunk","choices":[{"delta":{},"finish_reason":"stop"}]}'
LAST = (
    b'{"id":"x","object":"chat.completion.chunk","created":1767225600,"model":"mayo-jhu/meridian-med-13b-v2",'
    b'"choices":[]}'
)
STREAM = b"data: " + CHUNK + b"\n\ndata: [DONE]\n\n"


WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WITNESS_PEM = WITNESS_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
MODEL_HASH = f"sha256:{'a' * 64}"
POLICY: dict[str, Any] = {
    "id": "phi",
    "required_tier": "witnessed",
    "required_scopes": ["hipaa"],
    "allowed_origins": ["US"],
    "max_drift": "watch",
    "latency_cap_ms": 500,
    "cost_cap_usd": "0.01",
    "data_handling": {"no_training": True, "max_retention_days": 30},
    "condition": None,
    "providers": [],
    "fallback": {"enabled": True, "max_attempts": 3},
    "audit": "strict",
    "shadows": ["next"],
}
POLICY_DOCUMENT = Document("policy", canonical_json(POLICY))
TOKEN = Document("evidence", b"eyJ.e30.c2ln")


def witness_statement(
    key: Ed25519PrivateKey = WITNESS_KEY, digest: str = MODEL_HASH, **changes: Any
) -> Document:
    """A scope witness vouches for the model, as its envelope."""
    predicate = {
        "witness": "cms",
        "scope": "hipaa",
        "basis": "audit 7",
        "intended_use": "triage",
        "not_before": "2025-12-01T00:00:00Z",
        "not_after": "2026-12-01T00:00:00Z",
        **changes,
    }
    payload = canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "m", "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": "urn:sovereign:witness-statement:v1",
            "predicate": predicate,
        }
    )
    return Document("witness-statement", dsse.Envelope(payload, key.sign(dsse.pae(payload)), "").encode())


VOUCH = witness_statement()
DOCUMENTS = (POLICY_DOCUMENT, VOUCH, TOKEN)
SHADOW = {
    "policy": "next",
    "policy_digest": f"sha256:{'5' * 64}",
    "eligible": ["meridian-b"],
    "rejected": [{"deployment": "meridian-a", "rules": ["tier"]}],
    "plan_changes": 1,
}


def candidate(deployment: str, *failed: str, **changes: Any) -> dict[str, Any]:
    """A deployment as its facts are written down."""
    return {
        "deployment": deployment,
        "provider": deployment.replace("meridian", "vllm"),
        "capabilities": ["chat"],
        "tier": "witnessed",
        "tier_reasons": ["no_evidence"],
        "scopes": ["hipaa"],
        "provider_origin": ["US"],
        "model_origin": ["US", "jhu"],
        "drift": "stable",
        "p95_ms": 120,
        "cost_nano_usd": 2_000_000,
        "trains": 0,
        "retention_days": 0,
        "model_hash_basis": "none",
        "documents": [VOUCH.digest],
        "failed": list(failed),
        **changes,
    }


CANDIDATES = (
    candidate("meridian-a"),
    candidate("meridian-b"),
    candidate("meridian-c", "tier", "scopes", tier="open", scopes=[], documents=[]),
)


@dataclass(frozen=True)
class Ack:
    """What a mirror acknowledged."""

    name: str = "mirror.example/m1"
    size: int = 2
    time_s: int = 1_767_225_600


def facts(
    response: bytes = BODY, *, decision_id: str = "d-1", stream: bool = False, **changes: Any
) -> CallFacts:
    """A call that was answered at the second try."""
    made = CallFacts(
        decision_id=decision_id,
        tenant="mayo",
        endpoint="chat.completions",
        stream=stream,
        result=Result.ANSWERED,
        status=200,
        error_code=None,
        started_ms=1_767_225_600_000,
        finished_ms=1_767_225_601_500,
        policy="phi",
        policy_digest=bytes.fromhex(POLICY_DOCUMENT.digest.removeprefix("sha256:")),
        model="mayo-jhu/meridian-med-13b-v2",
        model_hash=MODEL_HASH,
        model_hash_basis="signed_manifest",
        deployment="meridian-b",
        provider="vllm-b",
        tier_required="witnessed",
        tier_observed="sealed",
        tier_reasons=("names_are_claims",),
        attempts=(
            AttemptFact("meridian-a", "vllm-a", "status", 503, 1_767_225_600_100, 40),
            AttemptFact("meridian-b", "vllm-b", "ok", 200, 1_767_225_600_140, 1300),
        ),
        audit="strict",
        request={"capability": "chat", "prompt_tokens": 15, "max_tokens": 100},
        candidates=CANDIDATES,
        witnesses=(("cms", "hipaa", VOUCH.digest),),
        evidence_documents=(VOUCH.digest, TOKEN.digest),
        cost_nano_usd=1_500_000,
        key="ward-3",
        billed_nano_usd=1_800_000,
        margin_percent="20",
        decision_index=1,
        shadows=(SHADOW,),
        prompt_tokens=12,
        completion_tokens=3,
        cached_tokens=8,
        cache_write_tokens=0,
        reasoning_tokens=2,
        digests=Digests(
            client_request=commit.commit(KEY, commit.CLIENT_REQUEST, REQUEST),
            sent_request=commit.commit(KEY, commit.SENT_REQUEST, REQUEST),
            delivered_response=commit.commit(KEY, commit.DELIVERED_RESPONSE, response),
        ),
    )
    return structs.replace(made, **changes)


@dataclass(frozen=True)
class Issued:
    """Receipts of a real log: of an answer in JSON and of a stream, with the responses as the client had them, and
    the log's keys and public files."""

    json: dict[str, Any]
    stream: dict[str, Any]
    body: bytes
    events: bytes
    keys: PublicKeys
    public: Path


def issue(state: Path) -> Issued:
    """Append some calls, take the receipts of the third and the fourth."""
    return asyncio.run(_issue(state))


async def _issue(state: Path) -> Issued:
    log = await TransparencyLog.open(state, ORIGIN, clock=lambda: 1_767_225_601_600)
    attestations = Attestations(log.origin, log.log_id)
    try:
        await log.keep(DOCUMENTS)
        shown = []
        for number, (response, stream) in enumerate(
            ((BODY, False), (BODY, False), (BODY, False), (STREAM, True))
        ):
            call = facts(response, decision_id=f"d-{number}", stream=stream)
            secret = opening(KEY, call.digests)
            statement = outcome_statement(call, Ack())
            placed = await log.append(EntryDraft("outcome", "mayo", call.decision_id, statement, secret))
            shown.append(attestations.render(call, placed, Ack()))
        receipts = [await log.receipt(index, "mayo", 10) for index in (2, 3)]
        body, events = splice(BODY, shown[2]), delivered_stream(shown[3])
        return Issued(receipts[0], receipts[1], body, events, log.public_keys, state / "public")
    finally:
        await log.close()


def delivered_stream(attestation: bytes) -> bytes:
    """The stream as a client has it."""
    chunk, closing = splice(CHUNK, attestation), closing_event(LAST, attestation)
    return b"data: " + chunk + b"\n\ndata: [DONE]\n\n" + closing


def write_json(path: Path, value: Any) -> str:
    """The path, as text, of a file with ``value``."""
    path.write_text(json.dumps(value))
    return str(path)


@dataclass(frozen=True)
class Complete:
    """A receipt with everything that one can carry, and every key that it takes to judge it."""

    document: dict[str, Any]
    keys: TrustedKeys
    response: bytes
    signing: SigningKeys


def complete(
    call: CallFacts | None = None,
    documents: tuple[Document, ...] = DOCUMENTS,
    *,
    signing: SigningKeys | None = None,
    earlier: bytes = b"entry 0",
) -> Complete:
    """The receipt of entry 1 of 2, cosigned by two witnesses, mirrored and anchored; by keys of its own unless given.
    ``earlier`` is entry 0."""
    keys = signing or SigningKeys(
        Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    )
    public, call = keys.public(ORIGIN), call or facts()
    statement = outcome_statement(call, Ack())
    sealed = EntrySealer(keys.envelope, public.envelope, key_hint(public.envelope)).seal(statement)
    leaf, before = sealed.leaf_hash, leaf_hash(earlier)
    root = node_hash(before, leaf)
    checkpoint = Checkpoint(SIGNED_ORIGIN, 2, root)
    signed = sign_checkpoint(checkpoint, [keys.checkpoint_signer(ORIGIN)])
    witnesses = [_cosigner(f"w{number}.example") for number in (1, 2)]
    cosigned = [cosign(checkpoint.text(), witness, 1_767_225_602).line() for witness in witnesses]
    mirror = _cosigner("mirror.example")
    held = signed + cosign(checkpoint.text(), mirror, 1_767_225_603).line().encode()
    rekor = Ed25519PrivateKey.generate()
    place = _At(
        1, leaf, 1_767_225_601_600, keys.promise.sign(Promise(ORIGIN, 1, leaf, 1_767_225_601_600).encode())
    )
    document = build_receipt(
        ReceiptParts(
            1, place.time_ms, sealed.envelope, sealed.body, opening(KEY, call.digests), place.promise
        ),
        checkpoint,
        signed + "".join(cosigned).encode(),
        [before],
        public,
        state="anchored",
        mirrors=[MirrorAck("mirror.example", 2, 1_767_225_603, held)],
        anchors=[_anchor(rekor, signed, keys)],
        enclosed={document.digest: document for document in documents},
    )
    policy = threshold_policy((), [PolicyWitness(b"w%d" % n, w.key) for n, w in enumerate(witnesses)], 2)
    trusted = TrustedKeys(
        public.log,
        public.envelope,
        public.promise,
        cosigners=[mirror.key],
        quorum=policy,
        anchors={"ext": RekorKey(spki(rekor))},
        witnesses={"cms": WITNESS_PEM},
    )
    shown = Attestations(ORIGIN, public.log.log_id).render(call, place, Ack())
    return Complete(document, trusted, delivered_stream(shown) if call.stream else splice(BODY, shown), keys)


@dataclass(frozen=True)
class _At:
    index: int
    leaf_hash: bytes
    time_ms: int
    promise: bytes


def _cosigner(name: str) -> Cosigner:
    key = Ed25519PrivateKey.generate()
    return Cosigner(CosignerKey(name, key.public_key().public_bytes_raw()), key.sign)


def _anchor(rekor: Ed25519PrivateKey, note: bytes, keys: SigningKeys) -> Anchor:
    """The only entry of an external Rekor v2."""
    artefact = Artefact(note, dsse.sign(keys.envelope, note), spki(keys.envelope))
    body = rekor_body(V2, artefact)
    verifier = Verifier("rekor.example", rekor.public_key().public_bytes_raw())
    head = Checkpoint("rekor.example", 1, leaf_hash(body))
    proof = InclusionProof(0, 1, head.root, (), sign_checkpoint(head, [Signer(verifier, rekor.sign)]))
    entry = RekorEntry(V2, 0, RekorKey(spki(rekor)).log_id(V2, "rekor.example"), 0, body, None, proof)
    return Anchor("ext", artefact, entry, ())

"""What an external Rekor is asked and answers, versions 1 and 2, and whether its answer is to be believed.

An artefact is submitted as ``hashedrekord``: its SHA-256, an ECDSA P-256 signature over it and the key. Both APIs
answer with an entry; ``rekor_json`` reads and writes those.

``verify`` believes an entry when

1. its body is, byte for byte, the one that the artefact makes;
2. it is included, at the proof's index, in the tree of the proof's checkpoint (RFC 6962);
3. that checkpoint is signed by the Rekor's key, under the expected origin where one is given;
4. version 1: the signed entry timestamp (SET) covers body, index, time and log. It is demanded; the proof of
   steps 2 and 3 is checked where there is one, because version 1 may answer before it has integrated the entry.

Pure; nothing is sent here, and clocks are not compared: the time in a SET is the Rekor's word.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from sovereign_ext.attest.base64text import base64_text
from sovereign_ext.attest.entry import EntryBody
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, parse_checkpoint
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import ED25519, key_digest, open_note, parse_note
from sovereign_ext.tlog.proof import verify_inclusion

V1: Final = "rekor-v1"
V2: Final = "rekor-v2"


@dataclass(frozen=True, slots=True)
class RekorKey:
    """The public key of a Rekor, Ed25519 or ECDSA P-256; ``spki`` is its SubjectPublicKeyInfo in DER."""

    spki: bytes

    def __post_init__(self) -> None:
        self._load()

    @classmethod
    def from_pem(cls, pem: bytes) -> RekorKey:
        """Read a PEM public key. Raises ``VerificationError``."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise VerificationError("not a PEM public key") from None
        return cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def log_id(self, kind: str, origin: str) -> bytes:
        """32 bytes that name the log: for Ed25519 under v2 those behind the note's key id, else SHA-256 of the
        key (C2SP signed-note says why ECDSA differs)."""
        key = self._load()
        if kind == V2 and isinstance(key, Ed25519PublicKey):
            return key_digest(origin, ED25519, key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        return sha256(self.spki).digest()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature as Rekor makes them. Raises ``VerificationError``."""
        key = self._load()
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            raise VerificationError("bad signature by the Rekor's key") from None

    def _load(self) -> Ed25519PublicKey | ec.EllipticCurvePublicKey:
        try:
            key = load_der_public_key(self.spki)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if isinstance(key, Ed25519PublicKey):
            return key
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
            return key
        raise VerificationError("a Rekor's key is Ed25519 or ECDSA P-256; this one is not")


@dataclass(frozen=True, slots=True)
class _NoteKey:
    """A Rekor's key as a checkpoint's signature line names it."""

    name: str
    kind: str
    key: RekorKey

    @property
    def key_id(self) -> bytes:
        """4 bytes; v1 leaves the name out for Ed25519 too."""
        return self.key.log_id(self.kind, self.name)[:4]

    def verify(self, message: bytes, signature: bytes) -> None:
        self.key.verify(message, signature)


@dataclass(frozen=True, slots=True)
class Artefact:
    """What is submitted: ``data``, a DER signature over it, and the signer's P-256 key in DER."""

    data: bytes
    signature: bytes
    signer: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the data."""
        return sha256(self.data).digest()


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """``hashes`` prove the leaf ``index`` in the tree ``(size, root)``, which ``checkpoint`` (a note) signs."""

    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class RekorEntry:
    """An entry of a Rekor. ``index`` counts from 0 (over all shards in v1), ``integrated_s`` is Unix seconds, 0 in
    v2; ``set_`` is v1's signed entry timestamp."""

    kind: str  # V1 or V2
    index: int
    log_id: bytes
    integrated_s: int
    body: bytes
    set_: bytes | None
    proof: InclusionProof | None


def request(kind: str, artefact: Artefact) -> dict[str, Any]:
    """The JSON body of ``POST /api/v2/log/entries`` or ``POST /api/v1/log/entries``."""
    if kind == V1:
        return msgspec.json.decode(body(kind, artefact))  # type: ignore[no-any-return]
    verifier = {
        "publicKey": {"rawBytes": base64_text(artefact.signer)},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    signature = {"content": base64_text(artefact.signature), "verifier": verifier}
    return {"hashedRekordRequestV002": {"digest": base64_text(artefact.digest), "signature": signature}}


def body(kind: str, artefact: Artefact) -> bytes:
    """The canonicalised body that the Rekor will hold as leaf: RFC 8785 JSON, known before it is asked."""
    if kind == V2:
        return EntryBody(artefact.digest, artefact.signature, artefact.signer).encode()
    pem = _pem(artefact.signer)
    return (
        b'{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%b"}},'
        b'"signature":{"content":"%b","publicKey":{"content":"%b"}}}}'
        % (artefact.digest.hex().encode(), b64encode(artefact.signature), b64encode(pem))
    )


def signer_of(kind: str, data: bytes) -> bytes:
    """The signer's key (DER) that a body names, unverified. Raises ``VerificationError``."""
    try:
        spec = msgspec.json.decode(data)["spec"]
        if kind == V2:
            return b64decode(
                spec["hashedRekordV002"]["signature"]["verifier"]["publicKey"]["rawBytes"], validate=True
            )
        key = load_pem_public_key(b64decode(spec["signature"]["publicKey"]["content"], validate=True))
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, RecursionError, UnsupportedAlgorithm):
        raise VerificationError("the Rekor entry's body names no key") from None


def key_of(entry: RekorEntry, keys: Iterable[RekorKey]) -> RekorKey | None:
    """The key among ``keys`` that the entry's log id belongs to, as the entry says; nothing is verified."""
    name = ""
    if entry.proof is not None:
        first_line, _, _ = entry.proof.checkpoint.partition(b"\n")
        name = first_line.decode(errors="replace")
    return next((key for key in keys if key.log_id(entry.kind, name) == entry.log_id), None)


def verify(entry: RekorEntry, artefact: Artefact, key: RekorKey, origin: str | None) -> None:
    """Believe ``entry`` as told at the top, or raise ``VerificationError``.

    ``origin`` is the checkpoint's first line; without one every name is taken that the key signs under.
    """
    if entry.body != body(entry.kind, artefact):  # step 1
        raise VerificationError("the Rekor's entry is not the one that was submitted")
    if entry.proof is not None:
        log_id = _verify_proof(entry, entry.proof, key, origin)  # steps 2 and 3
    elif entry.kind == V2:
        raise VerificationError("the Rekor's entry has no inclusion proof")
    else:
        log_id = key.log_id(V1, "")
    if entry.log_id != log_id:
        raise VerificationError(f"the entry is of log {entry.log_id.hex()}, the key is log {log_id.hex()}'s")
    if entry.kind == V2 and (entry.integrated_s or entry.set_ is not None):
        raise VerificationError("the Rekor's entry states a time that nothing vouches for")
    if entry.kind == V1:  # step 4
        if entry.set_ is None:
            raise VerificationError("the Rekor's entry has no signed entry timestamp")
        key.verify(_set_message(entry), entry.set_)


def open_rekor_checkpoint(
    kind: str, note: bytes, key: RekorKey, origin: str | None
) -> tuple[Checkpoint, str]:
    """A Rekor's checkpoint, signed by ``key``, and the name it is signed under. Raises ``VerificationError``.

    v1 writes the tree's id behind the name: ``rekor.example - 123``.
    """
    checkpoint = parse_checkpoint(parse_note(note).text)
    if origin is not None and checkpoint.origin != origin:
        raise VerificationError(f"the Rekor's checkpoint is of {checkpoint.origin!r}, expected {origin!r}")
    name = checkpoint.origin.split(" - ")[0] if kind == V1 else checkpoint.origin
    open_note(note, [_NoteKey(name, kind, key)])
    return checkpoint, name


def _verify_proof(entry: RekorEntry, proof: InclusionProof, key: RekorKey, origin: str | None) -> bytes:
    # v1 counts over all shards, its proof within the shard; v2 has one count.
    if entry.kind == V2 and entry.index != proof.index:
        raise VerificationError(f"entry {entry.index} comes with a proof of entry {proof.index}")
    verify_inclusion(leaf_hash(entry.body), proof.index, proof.size, proof.hashes, proof.root)
    checkpoint, name = open_rekor_checkpoint(entry.kind, proof.checkpoint, key, origin)
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root):
        raise VerificationError(
            f"the Rekor's checkpoint is of size {checkpoint.size} and root {checkpoint.root.hex()}, "
            f"its proof of size {proof.size} and root {proof.root.hex()}"
        )
    return key.log_id(entry.kind, name)


def _set_message(entry: RekorEntry) -> bytes:
    """What a SET signs: RFC 8785 JSON of four members."""
    return b'{"body":"%b","integratedTime":%d,"logID":"%b","logIndex":%d}' % (
        b64encode(entry.body),
        entry.integrated_s,
        entry.log_id.hex().encode(),
        entry.index,
    )


def _pem(spki: bytes) -> bytes:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationError("the signer's key is not a DER public key") from None
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

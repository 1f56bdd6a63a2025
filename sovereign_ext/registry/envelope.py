"""Signed documents: a DSSE envelope with one signature by a P-256 or an Ed25519 key over an in-toto statement.

https://github.com/secure-systems-lab/dsse, https://github.com/in-toto/attestation. The envelope's parts and the
bytes signed are ``attest.dsse``'s; here are the keys that sign statements, and the strictness that leaves an
envelope one meaning: no member that nobody reads, one spelling of base64, and a key id, where there is one, that
names the key which signed. What a statement says is ``statements``' matter.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sovereign_ext.attest import dsse
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.keys import spki as spki_of
from sovereign_ext.errors import StatementError, VerificationError
from sovereign_ext.registry.fields import Fields, read_json

PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
"""What signs statements: P-256 with SHA-256, or Ed25519."""

MAX_BASE64: Final = 64 * 1024 * 1024


class PublicKey:
    """A key whose signatures can be checked. Two are equal when they are the same key."""

    __slots__ = ("_key", "spki")

    def __init__(self, key: ec.EllipticCurvePublicKey | Ed25519PublicKey) -> None:
        self._key = key
        self.spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        """SubjectPublicKeyInfo in DER."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.spki == self.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    @property
    def is_ecdsa(self) -> bool:
        """P-256 rather than Ed25519."""
        return isinstance(self._key, ec.EllipticCurvePublicKey)

    @property
    def hint(self) -> str:
        """The DSSE key id of this key: base64 of the SHA-256 of its SubjectPublicKeyInfo."""
        return key_hint(self.spki)

    @property
    def model_signing_hint(self) -> str:
        """The name that the ``model-signing`` package gives a key: hex SHA-256 of its PEM."""
        pem = self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(pem).hexdigest()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over a pre-authentication encoding. Raises ``VerificationError``."""
        if isinstance(self._key, Ed25519PublicKey):
            try:
                self._key.verify(signature, message)
            except InvalidSignature:
                raise VerificationError(
                    "the envelope's signature does not match its payload and key"
                ) from None
        else:
            dsse.verify(self.spki, message, signature)


def read_public_key(pem: bytes) -> PublicKey:
    """A PEM public key, P-256 or Ed25519. Raises ``VerificationError``, which quotes nothing of the file."""
    if b"PRIVATE KEY" in pem:
        raise VerificationError("holds a private key; give its public half (openssl pkey -pubout)")
    try:
        key = load_pem_public_key(pem)
    except Exception:  # cryptography raises several classes, and their texts may quote the file
        raise VerificationError("is not a PEM public key") from None
    if isinstance(key, Ed25519PublicKey):
        return PublicKey(key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return PublicKey(key)
    raise VerificationError("is neither an ECDSA P-256 nor an Ed25519 key")


def read_private_key(pem: bytes) -> PrivateKey:
    """An unencrypted PEM private key, P-256 or Ed25519. Raises ``VerificationError``, which quotes nothing."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise VerificationError("is encrypted; a key without passphrase is needed") from None
    except Exception:
        raise VerificationError("is not a PEM private key") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        return key
    raise VerificationError("is neither an ECDSA P-256 nor an Ed25519 key")


def public_half(key: PrivateKey) -> PublicKey:
    """The key that checks what ``key`` signs."""
    return PublicKey(key.public_key())


def seal(payload: bytes, key: PrivateKey) -> bytes:
    """The envelope's JSON over an in-toto statement."""
    message = dsse.pae(payload)
    signature = key.sign(message) if isinstance(key, Ed25519PrivateKey) else dsse.sign(key, message)
    return dsse.Envelope(payload, signature, key_hint(spki_of(key))).encode()


def read_envelope(raw: bytes) -> dsse.Envelope:
    """The envelope in ``raw``, its signature unchecked. Raises ``StatementError``."""
    return envelope_of(read_json(raw), "")


def envelope_of(value: object, at: str) -> dsse.Envelope:
    """The envelope in a JSON value that stands at ``at``, its signature unchecked. Raises ``StatementError``."""
    fields = Fields(value, at)
    fields.exactly("payloadType", dsse.PAYLOAD_TYPE)
    payload = fields.bytes("payload", most=MAX_BASE64)
    signatures = fields.items("signatures", least=0)
    fields.done()
    if len(signatures) != 1:
        raise StatementError(f"has {len(signatures)} signatures, expected 1", fields.path("signatures"))
    signature = Fields(signatures[0][1], signatures[0][0])
    sig = signature.bytes("sig", most=1_000)
    key_id = signature.take("keyid") if signature.has("keyid") else ""
    signature.done()
    if not isinstance(key_id, str):
        raise StatementError("expected text", signature.path("keyid"))
    return dsse.Envelope(payload, sig, key_id)


def verify(envelope: dsse.Envelope, key: PublicKey) -> None:
    """Check that ``key`` signed the envelope. Raises ``VerificationError``."""
    if envelope.key_id not in ("", key.hint):
        raise VerificationError("the envelope names another key than the signer's")
    key.verify(dsse.pae(envelope.payload, envelope.payload_type), envelope.signature)

"""DSSE envelopes with one ECDSA P-256 / SHA-256 signature over in-toto payloads.

https://github.com/secure-systems-lab/dsse. The signature covers the pre-authentication encoding, never the
JSON. Further signatures in an envelope are refused: a Sigstore bundle allows exactly one; so are members that
DSSE does not have, and base64 in another spelling than its canonical one.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sovereign_ext.attest.base64text import read_base64
from sovereign_ext.errors import VerificationError

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_ECDSA: Final = ec.ECDSA(SHA256())


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope. ``signature`` is DER-encoded ECDSA; ``key_id`` is an unauthenticated hint."""

    payload: bytes
    signature: bytes
    key_id: str
    payload_type: str = PAYLOAD_TYPE

    def encode(self) -> bytes:
        """The envelope's JSON. ``key_id`` must need no JSON escaping (ours is base64)."""
        return (
            f'{{"payload":"{b64encode(self.payload).decode()}","payloadType":"{self.payload_type}",'
            f'"signatures":[{{"sig":"{b64encode(self.signature).decode()}","keyid":"{self.key_id}"}}]}}'
        ).encode()


class _SignatureJSON(msgspec.Struct, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class _EnvelopeJSON(msgspec.Struct, forbid_unknown_fields=True):
    payload: str
    payloadType: str  # noqa: N815 - DSSE's name
    signatures: list[_SignatureJSON]


_decoder = msgspec.json.Decoder(_EnvelopeJSON)


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The pre-authentication encoding: ``DSSEv1 len(type) type len(payload) payload``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A DER-encoded ECDSA P-256/SHA-256 signature over a pre-authentication encoding."""
    return key.sign(message, _ECDSA)


def verify(spki: bytes, message: bytes, signature: bytes) -> None:
    """Check an ECDSA P-256 signature by the key in ``spki`` (DER). Raises ``VerificationError``."""
    key = _p256(spki)
    try:
        key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        raise VerificationError("the envelope's signature does not match its payload and key") from None


@lru_cache(maxsize=64)
def _p256(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationError("envelope key is not a DER public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise VerificationError("envelope key is not an ECDSA P-256 key")
    return key


def parse(data: bytes) -> Envelope:
    """Read an envelope's JSON. Raises ``VerificationError``."""
    try:
        raw = _decoder.decode(data)
        if len(raw.signatures) != 1:
            raise VerificationError(f"envelope has {len(raw.signatures)} signatures, expected 1")
        signature = raw.signatures[0]
        return Envelope(
            read_base64(raw.payload),
            read_base64(signature.sig),
            signature.keyid,
            raw.payloadType,
        )
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise VerificationError(f"malformed DSSE envelope: {error}") from None

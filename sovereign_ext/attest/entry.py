"""Log entries: Rekor v2 ``hashedrekord`` 0.0.2 bodies over a DSSE envelope, and what seals a draft into one.

The leaf is the ``canonicalizedBody``: sorted, compact JSON. It holds the SHA-256 of the envelope's
pre-authentication encoding, the signature and the public key, so it says that something was signed, by
whom, and nothing of what.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from sovereign_ext.attest import dsse
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import leaf_hash

KIND: Final = "hashedrekord"
VERSION: Final = "0.0.2"


@dataclass(frozen=True, slots=True)
class EntryBody:
    """What a leaf says. ``digest`` is 32 bytes, ``signature`` DER, ``spki`` the signer's key in DER."""

    digest: bytes
    signature: bytes
    spki: bytes

    def encode(self) -> bytes:
        """The canonicalizedBody."""
        return _body(b64encode(self.digest), b64encode(self.signature), b64encode(self.spki))


class SealedEntry(msgspec.Struct, frozen=True):
    """A signed entry: DSSE ``envelope`` (JSON), leaf ``body`` and its RFC 6962 ``leaf_hash``."""

    envelope: bytes
    body: bytes
    leaf_hash: bytes


class EntrySealer:
    """Turns statements into signed entries with one P-256 key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, spki: bytes, key_hint: str) -> None:
        self._key = key
        self._spki64 = b64encode(spki)
        self._hint = key_hint

    def seal(self, statement: bytes) -> SealedEntry:
        """Sign ``statement`` (in-toto JSON). Two calls give different entries: ECDSA is randomised."""
        message = dsse.pae(statement)
        signature = dsse.sign(self._key, message)
        body = _body(b64encode(sha256(message).digest()), b64encode(signature), self._spki64)
        return SealedEntry(dsse.Envelope(statement, signature, self._hint).encode(), body, leaf_hash(body))


def _body(digest64: bytes, signature64: bytes, spki64: bytes) -> bytes:
    return (
        b'{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256",'
        b'"digest":"%b"},"signature":{"content":"%b","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256",'
        b'"publicKey":{"rawBytes":"%b"}}}}}}' % (digest64, signature64, spki64)
    )


def parse_body(body: bytes) -> EntryBody:
    """Read a canonicalizedBody back; only our exact form is accepted. Raises ``VerificationError``."""
    try:
        spec = msgspec.json.decode(body)["spec"]["hashedRekordV002"]
        parsed = EntryBody(
            b64decode(spec["data"]["digest"], validate=True),
            b64decode(spec["signature"]["content"], validate=True),
            b64decode(spec["signature"]["verifier"]["publicKey"]["rawBytes"], validate=True),
        )
    except (msgspec.DecodeError, binascii.Error, KeyError, TypeError, ValueError, RecursionError):
        raise VerificationError("log entry is not a hashedrekord 0.0.2 body") from None
    # Comparing with our own rendering settles kind, version, algorithm, key type, order and white space.
    if parsed.encode() != body:
        raise VerificationError("log entry is not a canonical hashedrekord 0.0.2 body with a P-256 key")
    return parsed


def verify_entry(envelope: dsse.Envelope, body: EntryBody) -> None:
    """Check that ``body`` is the log entry of ``envelope`` and the signature is good.

    Raises ``VerificationError``. Whether the key is one to trust is for the caller to say.
    """
    message = dsse.pae(envelope.payload, envelope.payload_type)
    verify_digest(message, body)
    if body.signature != envelope.signature:
        raise VerificationError("the log entry holds another signature than the envelope")
    dsse.verify(body.spki, message, body.signature)


def verify_digest(message: bytes, body: EntryBody) -> None:
    """Check that the entry's digest is SHA-256 of the pre-authentication encoding ``message``."""
    digest = sha256(message).digest()
    if digest != body.digest:
        raise VerificationError(
            f"the envelope's PAE has SHA-256 {digest.hex()}, the log entry says {body.digest.hex()}"
        )

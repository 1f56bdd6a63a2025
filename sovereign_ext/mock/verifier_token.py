"""Makes the tokens of the mock attestation verifier: EAT claims (RFC 9711) in a JWT signed with its own P-256 key.

Written against the RFCs and ``cryptography`` alone, apart from the code that checks such tokens. It attests
nothing: it says what it was told to say.
"""

from __future__ import annotations

import os
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sovereign_ext.errors import CallerError

_encode = msgspec.json.Encoder(order="deterministic").encode
_CURVES = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48)}
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def base64url(data: bytes) -> str:
    """Base64url without padding, as JOSE writes bytes."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(key: PublicKey) -> dict[str, str]:
    """The members of a JWK (RFC 7517) that make the key, and no others. Raises ``CallerError`` for other curves."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        parts = {"e": numbers.e, "n": numbers.n}
        sized = {name: value.to_bytes((value.bit_length() + 7) // 8) for name, value in parts.items()}
        return {"kty": "RSA", **{name: base64url(value) for name, value in sized.items()}}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes_raw())}
    curve, size = _CURVES.get(key.curve.name, ("", 0))
    if not curve:
        raise CallerError(400, f"the certificate's key is on {key.curve.name}, expected P-256 or P-384")
    point = key.public_numbers()
    x, y = (base64url(value.to_bytes(size)) for value in (point.x, point.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


class Signer:
    """The verifier's key. ``kid`` is its RFC 7638 thumbprint."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        jwk = jwk_of(self._key.public_key())
        self.kid = base64url(sha256(_encode(dict(sorted(jwk.items())))).digest())
        self.jwk = {**jwk, "kid": self.kid, "use": "sig", "alg": "ES256"}

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """The key in a PEM file, which is made if there is none. Raises ``CallerError`` or ``OSError``."""
        if not path.exists():
            made = cls()
            pem = made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(pem)
            return made
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise CallerError(400, f"{path} holds no unencrypted P-256 private key")
        return cls(key)

    def sign(self, claims: dict[str, Any], *, alg: str = "ES256", kid: str | None = None) -> str:
        """A compact JWS. With ``alg`` ``none`` its signature is empty."""
        header = {"alg": alg, "typ": "eat+jwt", "kid": kid or self.kid}
        message = f"{base64url(_encode(header))}.{base64url(_encode(claims))}"
        if alg == "none":
            return message + "."
        r, s = decode_dss_signature(self._key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{message}.{base64url(r.to_bytes(32) + s.to_bytes(32))}"


class Channel:
    """The certificate whose key tokens are bound to."""

    def __init__(self, pem: bytes) -> None:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = certificate.public_key()
        except ValueError:
            raise CallerError(400, "the certificate is not PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
            raise CallerError(400, "the certificate's key is of an unknown kind")
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = sha256(certificate.public_bytes(Encoding.DER)).digest()
        self.pin = b64encode(sha256(spki).digest()).decode()
        self.certificate = digest.hex()
        self.confirmations: dict[str, dict[str, Any]] = {
            "jwk": {"cnf": {"jwk": jwk_of(key)}},
            "x5t#S256": {"cnf": {"x5t#S256": base64url(digest)}},
            "spki": {"x-sovereign-tls-spki": base64url(sha256(spki).digest())},
        }


def measured(measurement: str) -> dict[str, Any]:
    """The claim that says a measurement: an EAT measured component for a digest, else our own claim."""
    try:
        digest = bytes.fromhex(measurement)
    except ValueError:
        digest = b""
    name = {32: "sha-256", 48: "sha-384", 64: "sha-512"}.get(len(digest))
    if name is None:
        return {"x-sovereign-measurement": measurement}
    component = {"id": ["mock enclave"], "digested-measurement": [name, base64url(digest)]}
    return {"measurements": [[296, _encode(component).decode()]]}

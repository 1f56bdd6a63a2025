"""Tokens made from the RFCs with ``cryptography`` alone: keys, key sets, and any header over any claims."""

from __future__ import annotations

import datetime
import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st

from sovereign_ext.config.trust import Evidence
from sovereign_ext.errors import EvidenceRefused
from sovereign_ext.mock.verifier_token import jwk_of
from sovereign_ext.registry.appraisal import Expected
from sovereign_ext.registry.eat import verify_token
from sovereign_ext.registry.evidence import VerifiedEvidence
from sovereign_ext.registry.jose import KeySet, read_key_set

NOW = 1_800_000_000
SKEW = 60
MAX_AGE = 300
ISSUER = "https://verifier.example"
NONCE = bytes(range(32))
MEASURED = sha256(b"image").hexdigest()
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def private_key(kind: str) -> Any:
    """``P-256``, ``P-384``, ``P-521``, ``RSA`` (or ``RSA-1024``) or ``Ed25519``; the same one in a test run."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind.partition("-")[2] or 2048))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(
        {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind]
    )


KIND_OF = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}


def kind_of(alg: str) -> str:
    return KIND_OF.get(alg, "RSA")


def sign(key: Any, alg: str, message: bytes) -> bytes:
    if alg.startswith("ES"):
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(HASHES[alg[2:]])))
        return r.to_bytes(size) + s.to_bytes(size)
    if alg.startswith("RS"):
        return key.sign(message, padding.PKCS1v15(), HASHES[alg[2:]])
    if alg.startswith("PS"):
        kind = HASHES[alg[2:]]
        return key.sign(message, padding.PSS(padding.MGF1(kind), kind.digest_size), kind)
    if alg.startswith("HS"):
        mac = hmac.HMAC(key, HASHES[alg[2:]])
        mac.update(message)
        return mac.finalize()
    return b"" if alg == "none" else key.sign(message)


def token(claims: Any, *, alg: str = "ES256", key: Any = None, kid: str | None = "k", **header: Any) -> bytes:
    """A compact JWS. ``claims`` that are bytes are the payload as they are."""
    head = {"alg": alg, **({} if kid is None else {"kid": kid}), **header}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    message = f"{b64(json.dumps(head).encode())}.{b64(payload)}".encode()
    made = sign(private_key(kind_of(alg)) if key is None else key, alg, message)
    return message + b"." + b64(made).encode()


def jwk(kind: str, kid: str | None = "k", **members: Any) -> dict[str, Any]:
    return jwk_of(private_key(kind).public_key()) | ({} if kid is None else {"kid": kid}) | members


def key_set(*jwks: dict[str, Any]) -> KeySet:
    return read_key_set(json.dumps({"keys": list(jwks)}).encode())


def pin(kind: str) -> str:
    spki = private_key(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(spki).digest()).decode()


def certificate(kind: str) -> x509.Certificate:
    """A self-signed certificate for the key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "verifier")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(day).not_valid_after(day + datetime.timedelta(days=1))
    return builder.public_key(private_key(kind).public_key()).sign(private_key(kind), hashes.SHA256())


def config(**fields: Any) -> Evidence:
    known = {"url": "http://v/", "jwks_file": "j", "measurements": (MEASURED,), "max_age_s": MAX_AGE}
    return Evidence(**(known | {"issuer": ISSUER} | fields))


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; a change to ``...`` leaves the claim out."""
    good = {
        "iss": ISSUER,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 120,
        "eat_nonce": b64(NONCE),
        "dbgstat": "disabled",
        "x-sovereign-measurement": MEASURED,
        "cnf": {"jwk": jwk("Ed25519", None)},
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


@dataclass(frozen=True)
class Check:
    """The verifier's side, with everything but the token fixed."""

    keys: KeySet
    config: Evidence
    nonce: bytes | None = NONCE
    now: float = NOW

    def __call__(self, made: bytes) -> VerifiedEvidence:
        return verify_token(made, self.keys, Expected(self.config, self.now, SKEW, nonce=self.nonce))


def check(*jwks: dict[str, Any], nonce: bytes | None = NONCE, now: float = NOW, **fields: Any) -> Check:
    return Check(key_set(*(jwks or (jwk("P-256"),))), config(**fields), nonce, now)


def refused(checked: Any, made: bytes) -> tuple[str, str]:
    with pytest.raises(EvidenceRefused) as caught:
        checked(made)
    return caught.value.reason, str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON."""

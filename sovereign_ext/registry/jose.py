"""Signed compact tokens (JWS, RFC 7515) checked against a key set (JWKS, RFC 7517): bytes in, claims out.

Stricter than the RFCs where a verifier may be: asymmetric signatures only, no critical extensions, one key that
fits and no trying out, no member named twice. ``joserfc`` does the cryptography. Key sets are trusted as given:
certificates in them (``x5c``) are a way to write a key and are not validated. What claims mean is ``eat``'s matter.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from sovereign_ext.errors import VerificationError
from sovereign_ext.registry.certificates import load_certificate

MAX_TOKEN_BYTES: Final = 128 * 1024
MAX_KEYS: Final = 200
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 16_384

ALGORITHMS: Final = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "RS256": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""``alg`` → the type and curve of key it takes. ``none`` and HMAC have no place here."""

Claims = dict[str, Any]
Native = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_MAX_DEPTH: Final = 32
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}
_MEMBERS: Final = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of a key set, and what its publisher says it is for."""

    kid: str | None
    alg: str | None
    kind: tuple[str, str]  # key type and curve, as ``ALGORITHMS`` has them
    key: Native

    def fits(self, alg: str) -> bool:
        """Whether signatures of this algorithm may be checked with it."""
        return ALGORITHMS.get(alg) == self.kind and self.alg in (None, alg)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer that can verify signatures; never empty."""

    keys: tuple[VerificationKey, ...]

    def select(self, alg: str, kid: str | None) -> VerificationKey:
        """The one key for a token's header. Raises ``VerificationError`` for none or several."""
        named = [key for key in self.keys if kid is None or key.kid == kid]
        if not named:
            raise VerificationError(f"no key of the key set has the token's kid {kid!r}")
        fitting = [key for key in named if key.fits(alg)]
        if not fitting:
            raise VerificationError(f"the key that the token names is not for {alg}")
        if len(fitting) > 1:
            raise VerificationError(
                f"{len(fitting)} keys fit the token, expected one: its kid must tell which"
            )
        return fitting[0]


def read_key_set(data: bytes) -> KeySet:
    """Read a JWKS document. Keys that cannot verify signatures here are passed over (RFC 7517 §5).

    Raises ``VerificationError`` for anything malformed, for a private key and when no usable key is left.
    """
    if len(data) > MAX_TOKEN_BYTES * 8:
        raise VerificationError(f"key set is longer than {MAX_TOKEN_BYTES * 8} bytes")
    members = read_json_object(data, "key set").get("keys")
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise VerificationError("key set has no list of keys")
    if len(members) > MAX_KEYS:
        raise VerificationError(f"key set has {len(members)} keys, expected at most {MAX_KEYS}")
    if any("d" in member or member.get("kty") == "oct" for member in members):
        raise VerificationError("key set holds a secret key")
    keys = tuple(key for member in members if (key := _usable(member)) is not None)
    if not keys:
        raise VerificationError("key set has no key that can verify a signature of a known kind")
    return KeySet(keys)


def read_public_key(member: Claims) -> Native:
    """The public key of one JWK. Raises ``VerificationError`` unless it is of a known kind and strong enough."""
    kty = member.get("kty")
    parts = _MEMBERS.get(kty) if isinstance(kty, str) else None
    if parts is None:
        raise VerificationError(f"JWK is of type {kty!r}, expected EC, RSA or OKP")
    chain = member.get("x5c")
    if isinstance(chain, list) and not any(part in member for part in parts):
        key = _certified(chain)
    else:
        key = _imported(str(kty), {part: member.get(part) for part in parts})
    if _kind(key) is None:
        raise VerificationError("JWK is of an unknown curve")
    if isinstance(key, rsa.RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise VerificationError(f"JWK has {key.key_size} bits, expected {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    return key


def verify_compact(token: bytes, keys: KeySet) -> Claims:
    """The claims of a compact JWS whose signature one of ``keys`` made. Raises ``VerificationError``."""
    header, payload = _opened(token)
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise VerificationError(
            f"token is signed with {str(alg)[:20]!r}, expected one of {', '.join(ALGORITHMS)}"
        )
    if "crit" in header or "b64" in header:
        raise VerificationError("token has critical header parameters, which are not understood")
    if kid is not None and not isinstance(kid, str):
        raise VerificationError("token's kid is not text")
    _check_signature(token, alg, keys.select(alg, kid).key)
    return read_json_object(_segment(payload, "payload"), "token payload")


def read_unverified(token: bytes) -> tuple[Claims, Claims]:
    """Header and payload of a compact JWS before anything is known of it: to find out whose keys to check it by.

    Raises ``VerificationError`` unless it has the form of one.
    """
    header, payload = _opened(token)
    return header, read_json_object(_segment(payload, "payload"), "token payload")


def _opened(token: bytes) -> tuple[Claims, bytes]:
    """The header of a compact JWS, and its payload as it stands there."""
    if len(token) > MAX_TOKEN_BYTES:
        raise VerificationError(f"token is longer than {MAX_TOKEN_BYTES} bytes")
    segments = token.split(b".")
    if len(segments) != 3:
        raise VerificationError(f"token has {len(segments)} parts, expected 3")
    return read_json_object(_segment(segments[0], "header"), "token header"), segments[1]


def read_json_object(data: bytes, what: str) -> Claims:
    """A JSON object in which no member is named twice and every number is one. Raises ``VerificationError``."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        _check_values(value)
    except (ValueError, RecursionError):
        raise VerificationError(f"{what} is not strict JSON") from None
    if not isinstance(value, dict):
        raise VerificationError(f"{what} is not a JSON object")
    return value


def _check_signature(token: bytes, alg: str, key: Native) -> None:
    try:
        signed = jws.deserialize_compact(token, _wrap(key), registry=_Registry(algorithms=[alg]))
    except (JoseError, ValueError, TypeError, OverflowError):
        raise VerificationError("the token's signature does not match its content and key") from None
    assert signed.payload is not None


class _Registry(JWSRegistry):
    """joserfc's rules for one verification: our sizes, and any header that is not critical."""

    max_header_length = 16 * 1024  # Azure's headers carry certificates
    max_payload_length = MAX_TOKEN_BYTES
    max_signature_length = 4 * 1024

    def __init__(self, algorithms: list[str]) -> None:
        super().__init__(algorithms=["Ed25519", *algorithms], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """RFC 9864's name for what most issuers still call EdDSA; joserfc warns of the old one."""
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


def _usable(member: Claims) -> VerificationKey | None:
    uses, operations = member.get("use"), member.get("key_ops")
    if uses not in (None, "sig") or (isinstance(operations, list) and "verify" not in operations):
        return None
    kid, alg = member.get("kid"), member.get("alg")
    if not isinstance(kid, str | None) or not isinstance(alg, str | None):
        return None
    try:
        key = read_public_key(member)
    except VerificationError:
        return None
    kind = _kind(key)
    assert kind is not None
    return VerificationKey(kid, alg, kind, key)


def _imported(kty: str, parts: Claims) -> Native:
    kinds: dict[str, Any] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}
    try:
        if kty == "RSA":  # joserfc only warns of a short key, and a huge one would cost time at every use
            bits = int.from_bytes(urlsafe_b64decode(parts["n"].encode())).bit_length()
            if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
                raise VerificationError(f"JWK has {bits} bits, expected {MIN_RSA_BITS} to {MAX_RSA_BITS}")
        native = kinds[kty].import_key({"kty": kty, **parts}).public_key
    except (JoseError, ValueError, TypeError, KeyError, OverflowError, AttributeError):
        raise VerificationError("JWK is malformed") from None
    if not isinstance(native, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise VerificationError("JWK is of an unknown curve")
    return native


def _certified(chain: list[Any]) -> Native:
    try:
        key = load_certificate(b64decode(chain[0], validate=True)).public_key()
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm):
        raise VerificationError("JWK has a malformed x5c") from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise VerificationError("JWK has a certificate for an unknown kind of key")
    return key


def _kind(key: Native) -> tuple[str, str] | None:
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", ""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "OKP", "Ed25519"
    curve = _CURVES.get(key.curve.name)
    return None if curve is None else ("EC", curve)


def _wrap(key: Native) -> ECKey | RSAKey | OKPKey:
    if isinstance(key, rsa.RSAPublicKey):
        return RSAKey.import_key(key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return OKPKey.import_key(key)
    return ECKey.import_key(key)


def _segment(data: bytes, what: str) -> bytes:
    try:
        return urlsafe_b64decode(data)
    except (ValueError, TypeError, IndexError):
        raise VerificationError(f"token {what} is not base64url") from None


def _unique(pairs: list[tuple[str, Any]]) -> Claims:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a number")


def _check_values(value: Any, depth: int = 0) -> None:
    """Refuse what could hurt later: deep nesting, and text with lone surrogates, which cannot be encoded."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for name, inner in value.items():
            name.encode()
            _check_values(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, depth + 1)

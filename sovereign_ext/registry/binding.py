"""Which channel key evidence is bound to, as a set of claims says it: RFC 7800 confirmation, or our own claim.

``cnf`` with ``jwk`` binds a public key and with ``x5t#S256`` (RFC 8705) a certificate; ``x-sovereign-tls-spki`` is
the SHA-256 of a SubjectPublicKeyInfo, for issuers that can pass on a text only. Whoever gives several must agree.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.errors import VerificationError
from sovereign_ext.registry.evidence import pin_of
from sovereign_ext.registry.jose import Claims, read_public_key

SPKI_CLAIM: Final = "x-sovereign-tls-spki"

_SHA256_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}=?")
_NONSENSE: Final = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """The key of a channel: a pin (base64 SHA-256 of its SPKI), a hex certificate digest, both or neither."""

    spki: str | None = None
    certificate: str | None = None


def read_binding(levels: Iterable[Claims]) -> Binding:
    """What these sets of claims bind to. Empty when they bind to nothing, to nonsense or contradict each other."""
    pins: set[str] = set()
    certificates: set[str] = set()
    for level in levels:
        confirmation = level.get("cnf")
        if isinstance(confirmation, dict):
            if "jwk" in confirmation:
                pins.add(_pin_of_jwk(confirmation["jwk"]))
            if "x5t#S256" in confirmation:
                certificates.add(_sha256(confirmation["x5t#S256"]).hex())
        if SPKI_CLAIM in level:
            pins.add(b64encode(_sha256(level[SPKI_CLAIM])).decode())
    if _NONSENSE in pins | certificates or len(pins) > 1 or len(certificates) > 1:
        return Binding()
    return Binding(next(iter(pins), None), next(iter(certificates), None))


def _pin_of_jwk(jwk: Any) -> str:
    try:
        key = read_public_key(jwk if isinstance(jwk, dict) else {})
    except VerificationError:
        return _NONSENSE
    return pin_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _sha256(text: Any) -> bytes:
    """A SHA-256 written in base64url; empty for anything else."""
    if not isinstance(text, str) or not _SHA256_TEXT.fullmatch(text):
        return b""
    return urlsafe_b64decode(text.rstrip("=") + "=")

"""The public files of a log: Sigstore's ``trusted_root.json`` and our ``log-keys.json``.

A Sigstore trusted root names logs, not signers, so the envelope and promise keys are in a file of their
own. Whoever verifies should get these files on another way than the receipts.
"""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from sovereign_ext.attest.base64text import base64_text
from sovereign_ext.attest.keys import PublicKeys
from sovereign_ext.attest.receipt import keys_json
from sovereign_ext.attest.receipt_form import parse_keys
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.note import Verifier

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
TRUSTED_ROOT: Final = "trusted_root.json"
LOG_KEYS: Final = "log-keys.json"


def trusted_root(log: Verifier, valid_from_s: int) -> dict[str, Any]:
    """A Sigstore trusted root with one log. ``valid_from_s`` is Unix seconds: since when the key signs."""
    key = Ed25519PublicKey.from_public_bytes(log.public_key)
    start = datetime.fromtimestamp(valid_from_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "mediaType": MEDIA_TYPE,
        "tlogs": [
            {
                # Verifiers look for the note's key name in the URL, so it must hold the whole origin.
                "baseUrl": f"https://{log.name}",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64_text(
                        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                    ),
                    "keyDetails": "PKIX_ED25519",
                    "validFor": {"start": start},
                },
                "logId": {"keyId": base64_text(log.log_id)},
            }
        ],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    }


def log_verifier(root: Any, origin: str) -> Verifier:
    """The Ed25519 key of log ``origin`` in a trusted root (decoded JSON). Raises ``VerificationError``."""
    try:
        for tlog in root["tlogs"]:
            if tlog["baseUrl"].removeprefix("https://").rstrip("/") == origin:
                return _verifier(tlog, origin)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"malformed trusted root: {type(error).__name__} {error}") from None
    raise VerificationError(f"the trusted root has no log {origin!r}")


def public_files(keys: PublicKeys, valid_from_s: int) -> list[tuple[str, bytes]]:
    """Names and contents of the public files; the same keys give the same bytes."""
    own = {"origin": keys.log.name, "keys": keys_json(keys)}
    contents = ((TRUSTED_ROOT, trusted_root(keys.log, valid_from_s)), (LOG_KEYS, own))
    return [(name, msgspec.json.format(msgspec.json.encode(value)) + b"\n") for name, value in contents]


def read_log_keys(data: bytes) -> PublicKeys:
    """The keys in a ``log-keys.json``. Raises ``VerificationError``."""
    try:
        values = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise VerificationError(f"{LOG_KEYS} is not JSON: {error}") from None
    if not isinstance(values, dict) or "keys" not in values:
        raise VerificationError(f"not a {LOG_KEYS}: it has no keys")
    return parse_keys(values["keys"])


def _verifier(tlog: Any, origin: str) -> Verifier:
    key = load_der_public_key(b64decode(tlog["publicKey"]["rawBytes"], validate=True))
    if not isinstance(key, Ed25519PublicKey):
        raise VerificationError(f"the trusted root's key of log {origin!r} is not an Ed25519 key")
    verifier = Verifier(origin, key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    if b64decode(tlog["logId"]["keyId"], validate=True) != verifier.log_id:
        raise VerificationError(f"the trusted root's log id of {origin!r} does not belong to its key")
    return verifier

"""Receipts: a Sigstore bundle v0.3 of one entry, with what only its owner gets: opening data and promise.

``bundle`` alone verifies with Sigstore tools against ``trusted_root.json``
(https://github.com/sigstore/protobuf-specs, ``sigstore_bundle.proto``). JSON values in and out; nothing is
verified here (``verify`` does that), and nothing is fetched.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sovereign_ext.attest import entry
from sovereign_ext.attest.keys import PublicKeys, key_hint
from sovereign_ext.attest.promise import Promise
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import parse_verifier

MEDIA_TYPE: Final = "application/vnd.sovereign.receipt.v1+json"
BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True)
class ReceiptParts:
    """What the log stored about an entry. ``envelope`` and ``opening`` are JSON, ``body`` is the leaf."""

    index: int
    time_ms: int
    envelope: bytes
    body: bytes
    opening: bytes
    promise: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt taken apart. ``proof`` is the audit path; ``checkpoint`` the signed note; ``opening_key``
    32 bytes."""

    envelope: bytes
    body: bytes
    index: int
    tree_size: int
    root: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    log_id: bytes
    promise: Promise
    promise_signature: bytes
    opening_key: bytes | None
    opening_items: tuple[str, ...]
    keys: PublicKeys


def build_receipt(
    parts: ReceiptParts, checkpoint: Checkpoint, note: bytes, path: Sequence[bytes], keys: PublicKeys
) -> dict[str, Any]:
    """The receipt as JSON values. ``path`` is the inclusion proof of the entry in ``checkpoint``'s tree,
    ``note`` its signed note."""
    return {
        "mediaType": MEDIA_TYPE,
        "bundle": {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": key_hint(keys.envelope)},
                "tlogEntries": [_tlog_entry(parts, checkpoint, note, path, keys)],
            },
            "dsseEnvelope": msgspec.json.decode(parts.envelope),
        },
        "opening": msgspec.json.decode(parts.opening),
        "promise": {
            "index": parts.index,
            "leafHash": _b64(leaf_hash(parts.body)),
            "timeMs": parts.time_ms,
            "signature": _b64(parts.promise),
        },
        "log": {"origin": keys.log.name, "logId": _b64(keys.log.log_id), "keys": keys_json(keys)},
    }


def keys_json(keys: PublicKeys) -> dict[str, str]:
    """The public keys: the log's as a verifier key string, the others as SubjectPublicKeyInfo in base64."""
    return {
        "checkpoint": keys.log.encode(),
        "envelope": _b64(keys.envelope),
        "promise": _b64(keys.promise),
    }


def parse_keys(values: Any) -> PublicKeys:
    """Read ``keys_json`` back. Raises ``VerificationError``."""
    try:
        return PublicKeys(
            parse_verifier(_str(values["checkpoint"])), _raw(values["envelope"]), _raw(values["promise"])
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"malformed log keys: {error}") from None


def parse_receipt(document: Any) -> Receipt:
    """Take a receipt (decoded JSON) apart. Raises ``VerificationError`` when a part is missing or
    malformed."""
    try:
        if document["mediaType"] != MEDIA_TYPE:
            raise VerificationError(f"expected mediaType {MEDIA_TYPE!r}, got {document['mediaType']!r}")
        return _parse(document)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise VerificationError(f"malformed receipt: {type(error).__name__} {error}") from None


def _parse(document: Any) -> Receipt:
    bundle, promise, opening, log = (document[name] for name in ("bundle", "promise", "opening", "log"))
    entries = bundle["verificationMaterial"]["tlogEntries"]
    if len(entries) != 1:
        raise VerificationError(f"bundle has {len(entries)} log entries, expected 1")
    item = entries[0]
    version = item["kindVersion"]
    if (version["kind"], version["version"]) != (entry.KIND, entry.VERSION):
        raise VerificationError(
            f"log entry is {version['kind']} {version['version']}, expected hashedrekord 0.0.2"
        )
    proof = item["inclusionProof"]
    index = _int64(proof["logIndex"])
    if _int64(item["logIndex"]) != index:
        raise VerificationError("log entry and inclusion proof have different indices")
    return Receipt(
        envelope=msgspec.json.encode(bundle["dsseEnvelope"]),
        body=_raw(item["canonicalizedBody"]),
        index=index,
        tree_size=_int64(proof["treeSize"]),
        root=_raw(proof["rootHash"]),
        proof=tuple(_raw(value) for value in proof.get("hashes", ())),
        checkpoint=_str(proof["checkpoint"]["envelope"]).encode(),
        log_id=_raw(item["logId"]["keyId"]),
        promise=Promise(
            _str(log["origin"]), _int(promise["index"]), _raw(promise["leafHash"]), _int(promise["timeMs"])
        ),
        promise_signature=_raw(promise["signature"]),
        opening_key=_raw(opening["key"]) if "key" in opening else None,
        opening_items=tuple(_str(item) for item in opening.get("items", ())),
        keys=parse_keys(log["keys"]),
    )


def _tlog_entry(
    parts: ReceiptParts, checkpoint: Checkpoint, note: bytes, path: Sequence[bytes], keys: PublicKeys
) -> dict[str, Any]:
    # Protobuf's JSON mapping writes int64 as strings. Rekor v2 has no integrated time: it is 0.
    return {
        "logIndex": str(parts.index),
        "logId": {"keyId": _b64(keys.log.log_id)},
        "kindVersion": {"kind": entry.KIND, "version": entry.VERSION},
        "integratedTime": "0",
        "inclusionProof": {
            "logIndex": str(parts.index),
            "rootHash": _b64(checkpoint.root),
            "treeSize": str(checkpoint.size),
            "hashes": [_b64(hash_) for hash_ in path],
            "checkpoint": {"envelope": note.decode()},
        },
        "canonicalizedBody": _b64(parts.body),
    }


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def _raw(value: Any) -> bytes:
    return b64decode(_str(value), validate=True)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {type(value).__name__}")
    return value


def _int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected an integer, got {type(value).__name__}")
    return value


def _int64(value: Any) -> int:
    text = _str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ValueError(f"expected an int64 as string, got {text[:24]!r}")
    return int(text)

"""Receipts: a Sigstore bundle v0.3 of one entry, with what only its owner gets: opening data and promise.

``bundle`` alone verifies with Sigstore tools against ``trusted_root.json``
(https://github.com/sigstore/protobuf-specs, ``sigstore_bundle.proto``). JSON values out;
``receipt_form`` reads them again, ``verify`` judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from sovereign_ext.attest import documents, entry
from sovereign_ext.attest.anchors import Anchor, anchor_json
from sovereign_ext.attest.base64text import base64_text
from sovereign_ext.attest.keys import PublicKeys, key_hint
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.cosignature import MirrorAck
from sovereign_ext.tlog.hashing import leaf_hash

MEDIA_TYPE: Final = "application/vnd.sovereign.receipt.v1+json"
BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"

State = Literal["included", "cosigned", "mirrored", "anchored"]
"""How far an entry has come: in a signed tree, in one that a quorum cosigned, in a mirror, under an anchor. Each
stands for itself: an entry may be mirrored before the quorum is met."""


@dataclass(frozen=True, slots=True)
class ReceiptParts:
    """What the log stored about an entry. ``envelope`` and ``opening`` are JSON, ``body`` is the leaf."""

    index: int
    time_ms: int
    envelope: bytes
    body: bytes
    opening: bytes
    promise: bytes


def build_receipt(
    parts: ReceiptParts,
    checkpoint: Checkpoint,
    note: bytes,
    path: Sequence[bytes],
    keys: PublicKeys,
    *,
    state: State = "included",
    mirrors: Sequence[MirrorAck] = (),
    anchors: Sequence[Anchor] = (),
    enclosed: Mapping[str, documents.Document] = MappingProxyType({}),
) -> dict[str, Any]:
    """The receipt as JSON values. ``path`` is the inclusion proof of the entry in ``checkpoint``'s tree,
    ``note`` its signed note; ``state`` is the last that the entry has reached, ``mirrors`` are those that hold it,
    ``anchors`` the external logs that hold a checkpoint over it; ``enclosed`` are the documents that its statement
    refers to, by digest."""
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
            "leafHash": base64_text(leaf_hash(parts.body)),
            "timeMs": parts.time_ms,
            "signature": base64_text(parts.promise),
        },
        "log": {
            "origin": keys.log.name,
            "logId": base64_text(keys.log.log_id),
            "keys": keys_json(keys),
            "state": state,
            "mirrors": [
                {"name": ack.name, "size": ack.size, "time": ack.time_s, "checkpoint": ack.note.decode()}
                for ack in mirrors
            ],
        },
        "anchors": [anchor_json(anchor) for anchor in anchors],
        "documents": {
            digest: {"kind": document.kind, "body": base64_text(document.body)}
            for digest, document in enclosed.items()
        },
    }


def keys_json(keys: PublicKeys) -> dict[str, str]:
    """The public keys: the log's as a verifier key string, the others as SubjectPublicKeyInfo in base64."""
    return {
        "checkpoint": keys.log.encode(),
        "envelope": base64_text(keys.envelope),
        "promise": base64_text(keys.promise),
    }


def _tlog_entry(
    parts: ReceiptParts, checkpoint: Checkpoint, note: bytes, path: Sequence[bytes], keys: PublicKeys
) -> dict[str, Any]:
    # Protobuf's JSON mapping writes int64 as strings. Rekor v2 has no integrated time: it is 0.
    return {
        "logIndex": str(parts.index),
        "logId": {"keyId": base64_text(keys.log.log_id)},
        "kindVersion": {"kind": entry.KIND, "version": entry.VERSION},
        "integratedTime": "0",
        "inclusionProof": {
            "logIndex": str(parts.index),
            "rootHash": base64_text(checkpoint.root),
            "treeSize": str(checkpoint.size),
            "hashes": [base64_text(hash_) for hash_ in path],
            "checkpoint": {"envelope": note.decode()},
        },
        "canonicalizedBody": base64_text(parts.body),
    }

"""Anchors in receipts: that an external transparency log holds a checkpoint of ours, in JSON and verified.

An anchor is a Sigstore bundle v0.3 over the bytes of a checkpoint note (``messageSignature``, by the envelope key),
with the external log's entry, so that Sigstore's own tools can check it against that log's key. Beside it stand
the note and the consistency proof between the anchored tree and the receipt's.

``verify_anchor`` shows, in this order:

1. The note is a checkpoint of our log, signed by our log's key.
2. The external log holds exactly this note (``rekor.verify``).
3. The anchored tree and the receipt's tree are one, so that the receipt's entry is under the anchor.

That entry existed, unchanged, when the external log took the note in: this no longer rests on our word. It proves
nothing about what the entry says. Pure: no key is looked up and no clock is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sovereign_ext.attest import rekor, rekor_json
from sovereign_ext.attest.base64text import base64_text, read_base64
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.rekor import Artefact, RekorEntry, RekorKey
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.proof import verify_consistency

BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
KINDS: Final = (rekor.V1, rekor.V2)


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """A verified anchor as the log keeps it. ``size`` entries are covered; ``artefact`` is the signed checkpoint
    note; ``entry`` the external log's entry; ``anchored_ms`` Unix milliseconds by our clock."""

    anchor: str  # id in the configuration
    size: int
    artefact: Artefact
    entry: RekorEntry
    anchored_ms: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor as a receipt carries it. ``id`` is a name for people, nothing vouches for it; ``consistency``
    connects the anchored tree with the receipt's."""

    id: str
    artefact: Artefact
    entry: RekorEntry
    consistency: tuple[bytes, ...]


def anchor_json(anchor: Anchor) -> dict[str, Any]:
    """The anchor as it stands in a receipt."""
    artefact = anchor.artefact
    return {
        "id": anchor.id,
        "kind": anchor.entry.kind,
        "checkpoint": artefact.data.decode(),
        "consistency": [base64_text(hash_) for hash_ in anchor.consistency],
        "bundle": {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": key_hint(artefact.signer)},
                "tlogEntries": [rekor_json.entry_json(anchor.entry)],
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": base64_text(artefact.digest)},
                "signature": base64_text(artefact.signature),
            },
        },
    }


def parse_anchor(value: Any) -> Anchor:
    """Read ``anchor_json`` back. Anything that it would not write raises ``VerificationError``."""
    try:
        anchor = _parse(value)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise VerificationError(f"malformed anchor: {type(error).__name__} {error}") from None
    if anchor_json(anchor) != value:
        raise VerificationError("malformed anchor: unknown members, or values in an unusual spelling")
    return anchor


def verify_anchor(
    anchor: Anchor, keys: Iterable[RekorKey], log: Verifier, tree: Checkpoint, origin: str | None = None
) -> Checkpoint:
    """Verify an anchor as told at the top; gives the checkpoint that is anchored.

    ``keys`` are those of external logs, ``origin`` the first line of their checkpoints where it is known; ``log``
    is our log's key, ``tree`` the receipt's tree, whose checkpoint must have been verified. Raises
    ``VerificationError``.
    """
    checkpoint, _ = open_checkpoint(anchor.artefact.data, log.name, [log])
    key = rekor.key_of(anchor.entry, keys)
    if key is None:
        raise VerificationError(f"no given key is that of log {anchor.entry.log_id.hex()}")
    rekor.verify(anchor.entry, anchor.artefact, key, origin)
    verify_same_log(checkpoint, tree, anchor.consistency)
    return checkpoint


def verify_same_log(anchored: Checkpoint, tree: Checkpoint, consistency: Sequence[bytes]) -> None:
    """Check that the smaller of two trees is a prefix of the other (step 3). Raises ``VerificationError``."""
    old, new = sorted((anchored, tree), key=lambda checkpoint: checkpoint.size)
    verify_consistency(old.size, old.root, new.size, new.root, consistency)


def _parse(value: Any) -> Anchor:
    kind = value["kind"]
    if kind not in KINDS:
        raise VerificationError(f"anchor of kind {kind!r}, expected one of {', '.join(KINDS)}")
    bundle = value["bundle"]
    entry = rekor_json.parse_entry(
        kind, msgspec.json.encode(bundle["verificationMaterial"]["tlogEntries"][0])
    )
    signature = _raw(bundle["messageSignature"]["signature"])
    artefact = Artefact(value["checkpoint"].encode(), signature, rekor.signer_of(kind, entry.body))
    if not isinstance(value["id"], str):
        raise TypeError("the id is not a string")
    return Anchor(value["id"], artefact, entry, tuple(_raw(hash_) for hash_ in value["consistency"]))


def _raw(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected base64, got {type(value).__name__}")
    return read_base64(value)

"""Reading a receipt strictly: every value has one spelling, and a member that receipts do not have is refused.

So a bit that is changed anywhere in a receipt's values or names is either refused here or changes something that
``verify`` looks at. White space between JSON values means nothing. Nothing is verified here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from sovereign_ext.attest import documents
from sovereign_ext.attest.anchors import Anchor, parse_anchor
from sovereign_ext.attest.base64text import read_base64
from sovereign_ext.attest.keys import PublicKeys
from sovereign_ext.attest.promise import Promise
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.cosignature import MirrorAck, read_ack
from sovereign_ext.tlog.note import parse_verifier

_INT64: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A document that came with a receipt; nothing says yet that it has the digest it is filed under."""

    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt taken apart. ``proof`` is the audit path; ``checkpoint`` the signed note; ``opening_key``
    32 bytes; ``hint`` names the envelope's key; ``state`` is ``receipt.State``; ``mirrors`` is what mirrors signed
    (unverified: ``cosignature.verify_ack``), ``anchors`` what external logs hold (``anchors.verify_anchor``);
    ``documents`` are by digest."""

    envelope: bytes
    body: bytes
    index: int
    tree_size: int
    root: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    log_id: bytes
    stated_log_id: bytes
    promise: Promise
    promise_signature: bytes
    opening_key: bytes | None
    opening_items: tuple[str, ...]
    keys: PublicKeys
    hint: str
    state: str
    mirrors: tuple[MirrorAck, ...]
    anchors: tuple[Anchor, ...]
    documents: Mapping[str, Enclosed]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", gc=False):
    """Members have one spelling each, and what nobody reads is refused: a changed bit must not go unnoticed."""


class _Hint(_Strict):
    hint: str


class _KindVersion(_Strict):
    kind: Literal["hashedrekord"]
    version: Literal["0.0.2"]


class _LogId(_Strict):
    key_id: str


class _Note(_Strict):
    envelope: str


class _Proof(_Strict):
    log_index: str
    root_hash: str
    tree_size: str
    checkpoint: _Note
    hashes: list[str] = []


class _TlogEntry(_Strict):
    log_index: str
    log_id: _LogId
    kind_version: _KindVersion
    integrated_time: Literal["0"]
    inclusion_proof: _Proof
    canonicalized_body: str


class _Material(_Strict):
    public_key: _Hint
    tlog_entries: list[_TlogEntry]


class _Bundle(_Strict):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: dict[str, Any]


class _Opening(_Strict):
    version: Literal[1] = 1
    key: str | None = None
    items: list[str] = []


class _Promise(_Strict):
    index: int
    leaf_hash: str
    time_ms: int
    signature: str


class _Keys(_Strict):
    checkpoint: str
    envelope: str
    promise: str


class _Mirror(_Strict):
    name: str
    size: int
    time: int
    checkpoint: str


class _Log(_Strict):
    origin: str
    log_id: str
    keys: _Keys
    state: Literal["included", "cosigned", "mirrored", "anchored"] = "included"
    mirrors: list[_Mirror] = []


class _Document(_Strict):
    kind: Literal[documents.KINDS]  # type: ignore[valid-type]
    body: str


class _Receipt(_Strict):
    media_type: Literal["application/vnd.sovereign.receipt.v1+json"]
    bundle: _Bundle
    opening: _Opening
    promise: _Promise
    log: _Log
    anchors: list[Any] = []
    documents: dict[str, _Document] = {}


def parse_receipt(document: Any) -> Receipt:
    """Take a receipt (decoded JSON) apart. Raises ``VerificationError`` when a part is missing, malformed or one
    that receipts do not have."""
    try:
        return _taken_apart(msgspec.convert(document, _Receipt))
    except (msgspec.ValidationError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise VerificationError(f"malformed receipt: {error}") from None


def _taken_apart(document: _Receipt) -> Receipt:
    entries = document.bundle.verification_material.tlog_entries
    if len(entries) != 1:
        raise VerificationError(f"bundle has {len(entries)} log entries, expected 1")
    entry, proof = entries[0], entries[0].inclusion_proof
    index = _int64(proof.log_index)
    if _int64(entry.log_index) != index:
        raise VerificationError("log entry and inclusion proof have different indices")
    promise, log = document.promise, document.log
    return Receipt(
        envelope=msgspec.json.encode(document.bundle.dsse_envelope),
        body=read_base64(entry.canonicalized_body),
        index=index,
        tree_size=_int64(proof.tree_size),
        root=read_base64(proof.root_hash),
        proof=tuple(read_base64(value) for value in proof.hashes),
        checkpoint=proof.checkpoint.envelope.encode(),
        log_id=read_base64(entry.log_id.key_id),
        stated_log_id=read_base64(log.log_id),
        hint=document.bundle.verification_material.public_key.hint,
        promise=Promise(log.origin, promise.index, read_base64(promise.leaf_hash), promise.time_ms),
        promise_signature=read_base64(promise.signature),
        opening_key=None if document.opening.key is None else read_base64(document.opening.key),
        opening_items=tuple(document.opening.items),
        keys=PublicKeys(
            parse_verifier(log.keys.checkpoint), read_base64(log.keys.envelope), read_base64(log.keys.promise)
        ),
        state=log.state,
        mirrors=tuple(_ack(mirror) for mirror in log.mirrors),
        anchors=tuple(parse_anchor(anchor) for anchor in document.anchors),
        documents={
            name: Enclosed(item.kind, read_base64(item.body)) for name, item in document.documents.items()
        },
    )


def parse_keys(values: Any) -> PublicKeys:
    """Read ``keys_json`` back. Raises ``VerificationError``."""
    try:
        keys = msgspec.convert(values, _Keys)
        return PublicKeys(
            parse_verifier(keys.checkpoint), read_base64(keys.envelope), read_base64(keys.promise)
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise VerificationError(f"malformed log keys: {error}") from None


def _ack(mirror: _Mirror) -> MirrorAck:
    ack = read_ack(mirror.checkpoint.encode(), mirror.name)
    if (ack.size, ack.time_s) != (mirror.size, mirror.time):
        raise VerificationError(f"{mirror.name} did not sign size {mirror.size} at {mirror.time}")
    return ack


def _int64(text: str) -> int:
    if not _INT64.fullmatch(text):
        raise ValueError(f"expected an int64 as string, got {text[:24]!r}")
    return int(text)

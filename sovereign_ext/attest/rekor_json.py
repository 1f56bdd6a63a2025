"""Entries of a Rekor as JSON: the answers of API versions 1 and 2, and the form in which they are kept.

Kept is Sigstore's ``TransparencyLogEntry`` (https://github.com/sigstore/protobuf-specs, ``sigstore_rekor.proto``),
which is also version 2's answer and what a bundle carries. Hostile input: anything that is not exactly of these
shapes raises ``VerificationError``; whether an entry is true is for ``rekor.verify`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from sovereign_ext.attest.base64text import base64_text, read_base64
from sovereign_ext.attest.rekor import V1, V2, InclusionProof, RekorEntry
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import HASH_SIZE, leaf_hash

MAX_PROOF_HASHES: Final = 64
_HEX: Final = frozenset("0123456789abcdef")

# The wire of both versions. Unknown members are ignored, as JSON APIs grow.


class _LogId(msgspec.Struct):
    keyId: str  # noqa: N815 - Sigstore's names, here and below


class _KindVersion(msgspec.Struct):
    kind: str
    version: str


class _Promise(msgspec.Struct):
    signedEntryTimestamp: str  # noqa: N815


class _Note(msgspec.Struct):
    envelope: str


class _Proof(msgspec.Struct):
    rootHash: str  # noqa: N815
    treeSize: str | int  # noqa: N815
    checkpoint: _Note
    logIndex: str | int = "0"  # noqa: N815
    hashes: list[str] = []


class _Entry(msgspec.Struct):
    logId: _LogId  # noqa: N815
    kindVersion: _KindVersion  # noqa: N815
    canonicalizedBody: str  # noqa: N815
    logIndex: str | int = "0"  # noqa: N815
    integratedTime: str | int = "0"  # noqa: N815
    inclusionPromise: _Promise | None = None  # noqa: N815
    inclusionProof: _Proof | None = None  # noqa: N815


class _ProofV1(msgspec.Struct):
    rootHash: str  # noqa: N815
    treeSize: int  # noqa: N815
    logIndex: int  # noqa: N815
    hashes: list[str]
    checkpoint: str


class _VerificationV1(msgspec.Struct):
    signedEntryTimestamp: str  # noqa: N815
    inclusionProof: _ProofV1 | None = None  # noqa: N815


class _EntryV1(msgspec.Struct):
    body: str
    integratedTime: int  # noqa: N815
    logID: str  # noqa: N815
    logIndex: int  # noqa: N815
    verification: _VerificationV1


_VERSIONS: Final = {V1: ("hashedrekord", "0.0.1"), V2: ("hashedrekord", "0.0.2")}
_entry_decoder = msgspec.json.Decoder(_Entry)
_v1_decoder = msgspec.json.Decoder(dict[str, _EntryV1])


def parse_answer(kind: str, data: bytes) -> RekorEntry:
    """Read what a Rekor answered to a submission, or to a look-up of the existing entry in v1. Raises
    ``VerificationError``."""
    return _checked("answer", lambda: _parse_v1(data) if kind == V1 else _parse_entry(kind, data))


def parse_entry(kind: str, data: bytes) -> RekorEntry:
    """Read a ``TransparencyLogEntry`` in JSON. Raises ``VerificationError``."""
    return _checked("entry", lambda: _parse_entry(kind, data))


def entry_json(entry: RekorEntry) -> dict[str, Any]:
    """The entry as ``TransparencyLogEntry``; ``parse_entry`` reads it back."""
    name, version = _VERSIONS[entry.kind]
    document: dict[str, Any] = {
        "logIndex": str(entry.index),
        "logId": {"keyId": base64_text(entry.log_id)},
        "kindVersion": {"kind": name, "version": version},
        "integratedTime": str(entry.integrated_s),
        "canonicalizedBody": base64_text(entry.body),
    }
    if entry.set_ is not None:
        document["inclusionPromise"] = {"signedEntryTimestamp": base64_text(entry.set_)}
    if entry.proof is not None:
        document["inclusionProof"] = {
            "logIndex": str(entry.proof.index),
            "rootHash": base64_text(entry.proof.root),
            "treeSize": str(entry.proof.size),
            "hashes": [base64_text(hash_) for hash_ in entry.proof.hashes],
            "checkpoint": {"envelope": entry.proof.checkpoint.decode()},
        }
    return document


def _parse_entry(kind: str, data: bytes) -> RekorEntry:
    raw = _entry_decoder.decode(data)
    if (raw.kindVersion.kind, raw.kindVersion.version) != _VERSIONS[kind]:
        raise VerificationError(f"the Rekor's entry is a {raw.kindVersion.kind} {raw.kindVersion.version}")
    proof = raw.inclusionProof
    return RekorEntry(
        kind,
        _int64(raw.logIndex),
        read_base64(raw.logId.keyId),
        _int64(raw.integratedTime),
        read_base64(raw.canonicalizedBody),
        None if raw.inclusionPromise is None else read_base64(raw.inclusionPromise.signedEntryTimestamp),
        None
        if proof is None
        else InclusionProof(
            _int64(proof.logIndex),
            _int64(proof.treeSize),
            read_base64(proof.rootHash),
            tuple(_hashes(proof.hashes, read_base64)),
            proof.checkpoint.envelope.encode(),
        ),
    )


def _parse_v1(data: bytes) -> RekorEntry:
    found = _v1_decoder.decode(data)
    if len(found) != 1:
        raise VerificationError(f"the Rekor answered with {len(found)} entries, expected 1")
    ((uuid, raw),) = found.items()
    entry = RekorEntry(
        V1,
        _int64(raw.logIndex),
        _unhex(raw.logID),
        _int64(raw.integratedTime),
        read_base64(raw.body),
        read_base64(raw.verification.signedEntryTimestamp),
        _proof_v1(raw.verification.inclusionProof),
    )
    # A UUID is the leaf hash, in newer versions behind the tree's id of 16 digits.
    if uuid[-2 * HASH_SIZE :] != leaf_hash(entry.body).hex():
        raise VerificationError("the Rekor's entry is not the one that its UUID names")
    return entry


def _proof_v1(proof: _ProofV1 | None) -> InclusionProof | None:
    if proof is None:
        return None
    return InclusionProof(
        _int64(proof.logIndex),
        _int64(proof.treeSize),
        _unhex(proof.rootHash),
        tuple(_hashes(proof.hashes, _unhex)),
        proof.checkpoint.encode(),
    )


def _hashes(values: Sequence[str], read: Callable[[str], bytes]) -> list[bytes]:
    hashes = [read(value) for value in values[: MAX_PROOF_HASHES + 1]]
    if len(hashes) > MAX_PROOF_HASHES or any(len(hash_) != HASH_SIZE for hash_ in hashes):
        raise ValueError(f"expected at most {MAX_PROOF_HASHES} hashes of {HASH_SIZE} bytes")
    return hashes


def _checked(what: str, read: Callable[[], RekorEntry]) -> RekorEntry:
    try:
        return read()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise VerificationError(f"malformed Rekor {what}: {error}") from None


def _int64(value: str | int) -> int:
    """Protobuf writes int64 as strings and reads both."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdigit() or len(value) > 19:
            raise ValueError(f"expected an int64 as string, got {value[:24]!r}")
        value = int(value)
    if not 0 <= value < 1 << 63:
        raise ValueError(f"expected an int64 from 0, got {value}")
    return value


def _unhex(value: str) -> bytes:
    if not _HEX.issuperset(value) or len(value) % 2:
        raise ValueError(f"expected hex digits, got {value[:24]!r}")
    return bytes.fromhex(value)

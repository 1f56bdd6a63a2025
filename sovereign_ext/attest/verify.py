"""Verifies a receipt offline, in numbered steps, each of which says what it found.

1. **envelope**: the DSSE envelope carries a good signature by the envelope key.
2. **entry**: the log entry is a hashedrekord whose digest is SHA-256 of the envelope's pre-authentication
   encoding, with the same signature and key.
3. **inclusion**: the entry is the leaf at the stated index of the stated tree.
4. **checkpoint**: that tree's size and root were signed by the log's key, for the log's origin.
5. **promise**: the gateway promised this index to this leaf.
6. **request**: the given file is the client's request that the statement commits to.
7. **response**: the given file, with the attestation taken out, is the delivered response that it commits to.

A step fails by itself, so one fault shows as one line. Passing proves what the gateway signed and that its
log holds it; not that what it says is true, and not that the log shows everybody the same tree (that takes
witnesses). Keys that were not given are taken from the receipt, which then only proves to be consistent with
itself; the step says so.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from sovereign_ext.attest import dsse
from sovereign_ext.attest.commit import CLIENT_REQUEST, DELIVERED_RESPONSE, commit
from sovereign_ext.attest.entry import parse_body, verify_entry
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.promise import verify_promise
from sovereign_ext.attest.receipt_form import Receipt, parse_receipt
from sovereign_ext.attest.statement import STATEMENT_TYPE
from sovereign_ext.errors import VerificationError
from sovereign_ext.openai.splice import strip_json, strip_sse
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.proof import verify_inclusion

UNPINNED = "; key taken from the receipt"


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys got on another way than the receipt. ``envelope`` and ``promise`` are SubjectPublicKeyInfo in
    DER."""

    log: Verifier | None = None
    envelope: bytes | None = None
    promise: bytes | None = None


class Status(StrEnum):
    """What a step came to."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One step. ``detail`` is a clause for people: what was found, or why it failed."""

    number: int
    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """All steps of one receipt. ``statement`` is the in-toto statement; empty if step 1 or 2 failed."""

    origin: str
    index: int
    checks: tuple[Check, ...]
    pinned: bool
    statement: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(check.status is not Status.FAILED for check in self.checks)


def verify_receipt(
    document: Any, keys: TrustedKeys, *, request: bytes | None = None, response: bytes | None = None
) -> Report:
    """Run every step on a receipt (decoded JSON). ``request`` and ``response`` are bytes as sent and
    received.

    Raises ``VerificationError`` only when the document is not a receipt at all.
    """
    return _Verification(parse_receipt(document), keys).run(request, response)


class _Verification:
    def __init__(self, receipt: Receipt, keys: TrustedKeys) -> None:
        self._receipt = receipt
        self._keys = keys
        self._checks: list[Check] = []

    def run(self, request: bytes | None, response: bytes | None) -> Report:
        self._step("envelope", self._envelope)
        self._step("entry", self._entry)
        # Nothing in the statement is believed, or shown, before its signature and entry are good.
        statement = {} if self._failed() else self._statement()
        self._step("inclusion", self._inclusion)
        self._step("checkpoint", self._checkpoint)
        self._step("promise", self._promise)
        subjects = _subjects(statement)
        self._file("request", request, lambda data: self._commitment(subjects, CLIENT_REQUEST, data))
        self._file("response", response, lambda data: self._delivered(subjects, data))
        origin = self._receipt.promise.origin
        return Report(origin, self._receipt.index, tuple(self._checks), self._keys.log is not None, statement)

    def _envelope(self) -> str:
        envelope = dsse.parse(self._receipt.envelope)
        spki = self._keys.envelope or parse_body(self._receipt.body).spki
        dsse.verify(spki, dsse.pae(envelope.payload, envelope.payload_type), envelope.signature)
        # Under a pinned log key the entry vouches for the signer: only the gateway writes to its log.
        pinned = "" if self._keys.envelope else "; key taken from the log entry"
        return f"ECDSA P-256 signature by key {key_hint(spki)[:12]}…{pinned}"

    def _entry(self) -> str:
        body = parse_body(self._receipt.body)
        verify_entry(dsse.parse(self._receipt.envelope), body)
        if self._keys.envelope not in (None, body.spki):
            raise VerificationError("the log entry names another key than the given envelope key")
        return f"hashedrekord over SHA-256 {body.digest.hex()[:16]}…"

    def _inclusion(self) -> str:
        receipt = self._receipt
        leaf = leaf_hash(receipt.body)
        verify_inclusion(leaf, receipt.index, receipt.tree_size, receipt.proof, receipt.root)
        return f"leaf {receipt.index} of {receipt.tree_size}, leaf hash {leaf.hex()[:16]}…"

    def _checkpoint(self) -> str:
        receipt = self._receipt
        log = self._keys.log or receipt.keys.log
        checkpoint, _ = open_checkpoint(receipt.checkpoint, log.name, [log])
        if (checkpoint.size, checkpoint.root) != (receipt.tree_size, receipt.root):
            raise VerificationError(
                f"the checkpoint is of size {checkpoint.size} and root {checkpoint.root.hex()}, "
                f"the proof of size {receipt.tree_size} and root {receipt.root.hex()}"
            )
        if {receipt.log_id, receipt.stated_log_id} != {log.log_id}:
            raise VerificationError("the receipt's log id does not belong to the log key")
        pinned = "" if self._keys.log else UNPINNED
        return f"{log.name} signed size {checkpoint.size} with key {log.key_id.hex()}{pinned}"

    def _promise(self) -> str:
        receipt, promise = self._receipt, self._receipt.promise
        log = self._keys.log or receipt.keys.log
        leaf = leaf_hash(receipt.body)
        if (promise.origin, promise.index, promise.leaf_hash) != (log.name, receipt.index, leaf):
            raise VerificationError("the promise is for another log, index or leaf than the entry")
        spki = self._keys.promise or receipt.keys.promise
        verify_promise(promise, receipt.promise_signature, spki)
        pinned = "" if self._keys.promise else UNPINNED
        return f"index {promise.index} was promised at {promise.time_ms} ms{pinned}"

    def _delivered(self, subjects: dict[str, str], data: bytes) -> str:
        is_json = data.lstrip()[:1] in (b"{", b"[")
        return self._commitment(
            subjects, DELIVERED_RESPONSE, strip_json(data) if is_json else strip_sse(data)
        )

    def _commitment(self, subjects: dict[str, str], item: str, data: bytes) -> str:
        key = self._receipt.opening_key
        if key is None:
            raise VerificationError("the receipt has no key to open its commitments with")
        expected = subjects.get(item)
        if expected is None:
            raise VerificationError(f"the statement does not commit to a {item}")
        computed = commit(key, item, data).hex()
        if not hmac.compare_digest(computed, expected):
            raise VerificationError(
                f"the file's {len(data)} bytes give {computed}, the statement's {item} is {expected}"
            )
        return f"the file is the {item}, {len(data)} bytes"

    def _statement(self) -> dict[str, Any]:
        try:
            statement = msgspec.json.decode(dsse.parse(self._receipt.envelope).payload)
        except msgspec.DecodeError:
            statement = None
        if isinstance(statement, dict) and statement.get("_type") == STATEMENT_TYPE:
            return statement
        return {}

    def _failed(self) -> bool:
        return any(check.status is Status.FAILED for check in self._checks)

    def _file(self, name: str, data: bytes | None, check: Callable[[bytes], str]) -> None:
        if data is None:
            self._add(name, Status.SKIPPED, "no file was given")
        else:
            self._step(name, lambda: check(data))

    def _step(self, name: str, check: Callable[[], str]) -> None:
        try:
            self._add(name, Status.OK, check())
        except (VerificationError, ValueError) as error:
            self._add(name, Status.FAILED, str(error))

    def _add(self, name: str, status: Status, detail: str) -> None:
        self._checks.append(Check(len(self._checks) + 1, name, status, detail))


def _subjects(statement: dict[str, Any]) -> dict[str, str]:
    """Subject names and their SHA-256 in hex; what is not of that form is left out."""
    found: dict[str, str] = {}
    subjects = statement.get("subject")
    for subject in subjects if isinstance(subjects, list) else ():
        try:
            name, digest = subject["name"], subject["digest"]["sha256"]
        except (KeyError, TypeError):
            continue
        if isinstance(name, str) and isinstance(digest, str):
            found[name] = digest
    return found

"""Verifies a receipt offline, in numbered steps, each of which says what it found.

1. **envelope**: the DSSE envelope carries a good signature by the envelope key.
2. **entry**: the log entry is a hashedrekord whose digest is SHA-256 of the envelope's pre-authentication
   encoding, with the same signature and key.
3. **inclusion**: the entry is the leaf at the stated index of the stated tree.
4. **checkpoint**: that tree's size and root were signed by the log's key, for the log's origin.
5. **promise**: the gateway promised this index to this leaf.
6. **cosignatures**: log witnesses and mirrors whose keys were given have signed what they must.
7. **anchors**: external logs whose keys were given hold a checkpoint of the same tree.
8. **documents**: what the statement refers to came with the receipt, byte for byte, and nothing else did.
9. **policy**: judged again over the recorded facts, the policy document gives the recorded verdicts; whoever was
   tried was eligible, whoever answered reached the required tier.
10. **statements**: scope witnesses whose keys were given signed what the entry says they did, about this model
    digest, valid at the time of the call.
11. **request**: the given file is the client's request that the statement commits to.
12. **response**: the given file, with the attestation taken out, is the delivered response that it commits to.
13. **attestation**: what was taken out is what this entry and its place give, byte for byte.

A step fails by itself, so one fault shows as one line. Passing proves what the gateway signed, that its log holds
it and that it follows from the policy; not that what it observed is true. Keys that were not given are taken from
the receipt, which then only proves to be consistent with itself, or the step is skipped; it says so.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sovereign_ext.attest import dsse, grounds, watched
from sovereign_ext.attest.commit import CLIENT_REQUEST, DELIVERED_RESPONSE, commit
from sovereign_ext.attest.delivered import verify_attestation, without_attestation
from sovereign_ext.attest.entry import parse_body, verify_entry
from sovereign_ext.attest.grounds import Claim
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.promise import verify_promise
from sovereign_ext.attest.receipt_form import Receipt, parse_receipt
from sovereign_ext.attest.reevaluate import Condition
from sovereign_ext.attest.report import Check, Report, SkippedError, Status, TrustedKeys
from sovereign_ext.attest.statement import OUTCOME, STATEMENT_TYPE
from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.proof import verify_inclusion

__all__ = ["Check", "Report", "Status", "TrustedKeys", "verify_receipt"]

UNPINNED = "; key taken from the receipt"


def verify_receipt(
    document: Any,
    keys: TrustedKeys,
    *,
    request: bytes | None = None,
    response: bytes | None = None,
    condition: Condition | None = None,
) -> Report:
    """Run every step on a receipt (decoded JSON). ``request`` and ``response`` are bytes as sent and
    received; ``condition`` judges a policy's condition, whose recorded result is taken without one.

    Raises ``VerificationError`` only when the document is not a receipt at all.
    """
    return _Verification(parse_receipt(document), keys, condition).run(request, response)


class _Verification:
    def __init__(self, receipt: Receipt, keys: TrustedKeys, condition: Condition | None) -> None:
        self._receipt = receipt
        self._keys = keys
        self._condition = condition
        self._checks: list[Check] = []
        self._believed: Claim | None = None
        self._subjects: dict[str, str] = {}

    def run(self, request: bytes | None, response: bytes | None) -> Report:
        self._step("envelope", self._envelope)
        self._step("entry", self._entry)
        # Nothing in the statement is believed, or shown, before its signature and entry are good.
        statement = {} if self._failed() else self._statement()
        self._step("inclusion", self._inclusion)
        self._step("checkpoint", self._checkpoint)
        self._step("promise", self._promise)
        self._step("cosignatures", lambda: watched.cosignatures(self._receipt, self._log, self._keys))
        self._step("anchors", lambda: watched.anchors(self._receipt, self._log, self._keys))
        self._step("documents", lambda: grounds.documents(self._claim, self._receipt))
        self._step("policy", lambda: grounds.policy(self._claim, self._receipt, self._condition))
        self._step("statements", lambda: grounds.statements(self._claim, self._receipt, self._keys.witnesses))
        self._step("request", lambda: self._request(_given(request)))
        self._step("response", lambda: self._response(_given(response)))
        self._step("attestation", lambda: self._attestation(_given(response)))
        origin = self._receipt.promise.origin
        return Report(origin, self._receipt.index, tuple(self._checks), self._keys.log is not None, statement)

    def _envelope(self) -> str:
        envelope = dsse.parse(self._receipt.envelope)
        spki = self._keys.envelope or parse_body(self._receipt.body).spki
        dsse.verify(spki, dsse.pae(envelope.payload, envelope.payload_type), envelope.signature)
        hint = key_hint(spki)
        if {self._receipt.hint, envelope.key_id} != {hint} or self._receipt.keys.envelope != spki:
            raise VerificationError("the receipt names another envelope key than the one that signed")
        # Under a pinned log key the entry vouches for the signer: only the gateway writes to its log.
        pinned = "" if self._keys.envelope else "; key taken from the log entry"
        return f"ECDSA P-256 signature by key {hint[:12]}…{pinned}"

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
        receipt, log = self._receipt, self._log
        checkpoint, _ = open_checkpoint(receipt.checkpoint, log.name, [log])
        if (checkpoint.size, checkpoint.root) != (receipt.tree_size, receipt.root):
            raise VerificationError(
                f"the checkpoint is of size {checkpoint.size} and root {checkpoint.root.hex()}, "
                f"the proof of size {receipt.tree_size} and root {receipt.root.hex()}"
            )
        if {receipt.log_id, receipt.stated_log_id} != {log.log_id}:
            raise VerificationError("the receipt's log id does not belong to the log key")
        if receipt.keys.log != log:
            raise VerificationError("the receipt names another log key than the given one")
        pinned = "" if self._keys.log else UNPINNED
        return f"{log.name} signed size {checkpoint.size} with key {log.key_id.hex()}{pinned}"

    def _promise(self) -> str:
        receipt, promise = self._receipt, self._receipt.promise
        leaf = leaf_hash(receipt.body)
        if (promise.origin, promise.index, promise.leaf_hash) != (self._log.name, receipt.index, leaf):
            raise VerificationError("the promise is for another log, index or leaf than the entry")
        spki = self._keys.promise or receipt.keys.promise
        verify_promise(promise, receipt.promise_signature, spki)
        if receipt.keys.promise != spki:
            raise VerificationError("the receipt names another promise key than the given one")
        pinned = "" if self._keys.promise else UNPINNED
        return f"index {promise.index} was promised at {promise.time_ms} ms{pinned}"

    def _request(self, data: bytes) -> str:
        return self._commitment(CLIENT_REQUEST, data)

    def _response(self, data: bytes) -> str:
        return self._commitment(DELIVERED_RESPONSE, without_attestation(data))

    def _attestation(self, data: bytes) -> str:
        claim = self._claim
        if claim.kind != OUTCOME:
            raise VerificationError("only the outcome of a call is attested in its response")
        if not verify_attestation(data, claim.predicate, self._receipt):
            raise SkippedError("the response carries no attestation")
        return "the response says of itself what the entry says"

    def _commitment(self, item: str, data: bytes) -> str:
        key = self._receipt.opening_key
        if key is None:
            raise VerificationError("the receipt has no key to open its commitments with")
        if self._receipt.opening_items != tuple(self._subjects):
            raise VerificationError("the receipt opens other items than the statement commits to")
        expected = self._subjects.get(item)
        if expected is None:
            raise VerificationError(f"the statement does not commit to a {item}")
        computed = commit(key, item, data).hex()
        if not hmac.compare_digest(computed, expected):
            raise VerificationError(
                f"the file's {len(data)} bytes give {computed}, the statement's {item} is {expected}"
            )
        return f"the file is the {item}, {len(data)} bytes"

    @property
    def _log(self) -> Verifier:
        return self._keys.log or self._receipt.keys.log

    def _statement(self) -> dict[str, Any]:
        try:
            statement = msgspec.json.decode(dsse.parse(self._receipt.envelope).payload)
        except (msgspec.DecodeError, RecursionError):
            statement = None
        if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
            return {}
        self._believed = Claim.of(statement)
        self._subjects = _subjects(statement)
        return statement

    @property
    def _claim(self) -> Claim:
        if self._believed is None:
            raise SkippedError("there is no statement that could be believed")
        return self._believed

    def _failed(self) -> bool:
        return any(check.status is Status.FAILED for check in self._checks)

    def _step(self, name: str, check: Callable[[], str]) -> None:
        status = Status.OK
        try:
            detail = check()
        except SkippedError as reason:
            status, detail = Status.SKIPPED, str(reason)
        except VerificationError as error:
            status, detail = Status.FAILED, str(error)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # A signed statement may still be of a form that no release of ours ever made.
            status, detail = Status.FAILED, f"malformed: {type(error).__name__} {error}"
        self._checks.append(Check(len(self._checks) + 1, name, status, detail))


def _given(data: bytes | None) -> bytes:
    if data is None:
        raise SkippedError("no file was given")
    return data


def _subjects(statement: Mapping[str, Any]) -> dict[str, str]:
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

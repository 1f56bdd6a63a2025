"""Judges every entry of a log by what it says: was each call handled as its policy demands?

``fsck`` asks whether rows, tiles and checkpoints tell one story; this asks whether the story is one that the policies
allow. For one entry after the other, in log order:

1. The row is filed under the kind, tenant and decision that its signed statement names.
2. The policy document is kept under the recorded digest, and judged again over the recorded facts it gives the
   recorded verdicts; nobody ineligible was planned or tried (``attest.audit``).
3. A decision comes before the outcome of its call; the outcome repeats what was decided, and tried nothing but the
   plan, in its order.
4. What was found in a request comes before the outcome of its call, which repeats how much that was and to which bytes.

What cannot be judged (a document that is gone, an entry of an older or newer release) is counted with its reason,
not passed over. Memory does not grow with the log. Reads only; may run beside a live log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from sovereign_ext.attest import dsse
from sovereign_ext.attest.audit import TAKEN, audit
from sovereign_ext.attest.base64text import read_base64
from sovereign_ext.attest.changes import CHANGE, CHANGE_KIND
from sovereign_ext.attest.promise import Promise, verify_promise
from sovereign_ext.attest.reevaluate import Condition, PolicyDocument, read_policy
from sovereign_ext.attest.statement import DECISION, FINDING, KEY_EVENT, OUTCOME
from sovereign_ext.errors import VerificationError
from sovereign_ext.storage.documents import Document
from sovereign_ext.storage.entries import StoredRow

KINDS: Final = {
    DECISION: "decision",
    OUTCOME: "outcome",
    FINDING: "finding",
    KEY_EVENT: "key-event",
    CHANGE: CHANGE_KIND,
}
"""Under which kind a row is filed, by its predicate type."""

_REPEATED: Final = (
    "tenant",
    "endpoint",
    "model",
    "policy",
    "policy_digest",
    "audit",
    "request",
    "candidates",
)
_POLICIES: Final = 1_000
"""Policy documents kept in memory."""


class Rows(Protocol):
    """What is read besides the row at hand; ``EntryStore`` is one."""

    def get(self, index: int) -> StoredRow | None: ...
    def find(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]: ...


class Documents(Protocol):
    """``DocumentStore`` is one."""

    def get_many(self, digests: list[str]) -> dict[str, Document]: ...


@dataclass(slots=True)
class Findings:
    """What was seen. ``unchecked`` gives, for each reason, how many entries and the first index; ``unfinished`` counts
    decisions without an outcome (in flight, or cut off by a crash); ``taken`` entries whose condition was not judged
    again."""

    entries: dict[str, int] = field(default_factory=dict)
    judged: int = 0
    unfinished: int = 0
    taken: int = 0
    unchecked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def cannot_check(self, reason: str, index: int) -> None:
        """Count an entry that could not be judged."""
        count, first = self.unchecked.get(reason, (0, index))
        self.unchecked[reason] = (count + 1, first)


class EntryMonitor:
    """Judges rows one by one. ``verify_row`` checks a row's signature first; ``None`` leaves that out."""

    def __init__(
        self,
        rows: Rows,
        documents: Documents,
        verify_row: Callable[[StoredRow], None] | None = None,
        condition: Condition | None = None,
    ) -> None:
        self._rows = rows
        self._documents = documents
        self._verify_row = verify_row
        self._condition = condition
        self._policies: dict[str, PolicyDocument | str] = {}
        self.findings = Findings()

    def row(self, row: StoredRow) -> None:
        """Judge one entry. Raises ``VerificationError`` saying how it breaks its policy or its form."""
        if self._verify_row is not None:
            self._verify_row(row)
        try:
            self._row(row)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise VerificationError(f"malformed statement: {type(error).__name__} {error}") from None

    def _row(self, row: StoredRow) -> None:
        kind, predicate, subjects = _statement(row)
        counted = self.findings.entries
        counted[row.kind] = counted.get(row.kind, 0) + 1
        if kind not in KINDS:
            self.findings.cannot_check(f"predicate type {kind!r} is not known", row.index)
            return
        if KINDS[kind] != row.kind:
            raise VerificationError(f"a {row.kind} by its row, {KINDS[kind]} by its statement")
        if kind == CHANGE and (row.decision_id, row.tenant) != (
            predicate.get("change_id"),
            predicate.get("tenant", ""),
        ):
            raise VerificationError("filed under another change or tenant than its statement names")
        if kind not in (DECISION, OUTCOME, FINDING):
            return
        if (row.decision_id, row.tenant) != (predicate.get("decision_id"), predicate.get("tenant")):
            raise VerificationError("filed under another decision or tenant than its statement names")
        if kind == FINDING:
            return  # judged with the outcome that names it
        self._judge(kind, predicate, row.index)
        if kind == DECISION:
            self._followed(row)
        else:
            self._preceded(row, predicate, subjects)
            self._found_before(row, predicate, subjects)

    def _judge(self, kind: str, predicate: Mapping[str, Any], index: int) -> None:
        digest = predicate.get("policy_digest")
        if digest is None:
            if predicate.get("attempts"):
                raise VerificationError("deployments were tried under no policy")
            return
        policy = self._policy(str(digest))
        if isinstance(policy, str):
            self.findings.cannot_check(policy, index)
            return
        found = audit(kind, predicate, policy, self._condition)
        self.findings.judged += 1
        self.findings.taken += found.endswith(TAKEN)

    def _policy(self, digest: str) -> PolicyDocument | str:
        """The document, or why it cannot be judged by."""
        if digest not in self._policies:
            if len(self._policies) >= _POLICIES:
                self._policies.clear()
            self._policies[digest] = self._read(digest)
        return self._policies[digest]

    def _read(self, digest: str) -> PolicyDocument | str:
        document = self._documents.get_many([digest]).get(digest)
        if document is None:
            return f"the policy document {digest} is not kept"
        if document.digest != digest:
            return f"the policy document kept under {digest} was changed"
        try:
            return read_policy(document.body)
        except VerificationError as error:
            return f"{digest}: {error}"

    def _followed(self, row: StoredRow) -> None:
        key = (row.decision_id, KINDS[OUTCOME])
        outcome = self._rows.find([key]).get(key)
        if outcome is None:
            self.findings.unfinished += 1
        elif outcome.index < row.index:
            raise VerificationError(f"the decision came after its outcome, entry {outcome.index}")

    def _preceded(self, row: StoredRow, predicate: Mapping[str, Any], subjects: Any) -> None:
        index = predicate.get("decision_index")
        if index is None:
            return  # ``audit`` has refused that where a decision had to come first
        found = self._earlier(row, index, KINDS[DECISION])
        if found is None:
            raise VerificationError(f"entry {index} is not an earlier decision about the same call")
        _, decision, decided = _statement(found)
        for name in _REPEATED:
            if decision.get(name) != predicate.get(name):
                raise VerificationError(f"its {name} is not the one of its decision, entry {index}")
        if not isinstance(subjects, list) or decided[0] not in subjects:
            raise VerificationError(f"it is about another request than its decision, entry {index}")
        tried = [attempt["deployment"] for attempt in predicate["attempts"]]
        if not _in_order(tried, decision["plan"]):
            raise VerificationError(f"tried {', '.join(tried)}, planned was {', '.join(decision['plan'])}")

    def _earlier(self, row: StoredRow, index: object, kind: str) -> StoredRow | None:
        """The entry at ``index``, if it is one of ``kind`` about the same call and comes before ``row``."""
        found = self._rows.get(index) if isinstance(index, int) and 0 <= index < row.index else None
        return found if found and (found.kind, found.decision_id) == (kind, row.decision_id) else None

    def _found_before(self, row: StoredRow, predicate: Mapping[str, Any], subjects: Any) -> None:
        if not predicate.get("findings"):
            return
        index = predicate.get("finding_index")
        found = self._earlier(row, index, KINDS[FINDING])
        if found is None:
            raise VerificationError(f"entry {index} does not tell what was found in the same call")
        _, told, about = _statement(found)
        if told["count"] != predicate["findings"]:
            raise VerificationError(
                f"{predicate['findings']} places were found, entry {index} tells of {told['count']}"
            )
        if not isinstance(subjects, list) or any(subject not in subjects for subject in about):
            raise VerificationError(f"it is about another request than what was found in, entry {index}")


def verify_promised(
    attestation: Mapping[str, Any], leaf_at: Callable[[int], bytes | None], origin: str, spki: bytes | None
) -> None:
    """Check the promise in an attestation that a client was given: its index holds its leaf.

    ``leaf_at`` gives leaf hashes of the log; ``spki`` is the promise key (DER), without which a promise could be made
    up. Raises ``VerificationError`` for a broken promise and for one that nobody made.
    """
    try:
        log, promise = attestation["log"], attestation["promise"]
        leaf = read_base64(log["leaf_hash"])
        made = Promise(log["origin"], attestation["rekor_index"], leaf, promise["time_ms"])
        signature = read_base64(promise["signature"])
        if not all(isinstance(number, int) for number in (made.index, made.time_ms)):
            raise TypeError("index and time are not integers")
    except (LookupError, TypeError, ValueError) as error:
        raise VerificationError(f"not an attestation: {type(error).__name__} {error}") from None
    if made.origin != origin:
        raise VerificationError(f"a promise of log {made.origin!r}, not of {origin!r}")
    if spki is not None:
        verify_promise(made, signature, spki)
    found = leaf_at(made.index)
    if found != leaf:
        there = "no entry" if found is None else f"leaf hash {found.hex()}"
        raise VerificationError(
            f"index {made.index} was promised to leaf hash {leaf.hex()}, the log has {there}"
        )


def _statement(row: StoredRow) -> tuple[str, dict[str, Any], Any]:
    """Predicate type, predicate and subjects."""
    try:
        statement = msgspec.json.decode(dsse.parse(row.envelope).payload)
        kind, predicate = statement["predicateType"], statement["predicate"]
    except (msgspec.DecodeError, LookupError, TypeError, RecursionError):
        raise VerificationError("the envelope holds no statement") from None
    if not isinstance(kind, str) or not isinstance(predicate, dict):
        raise VerificationError("the envelope holds no statement")
    return kind, predicate, statement.get("subject")


def _in_order(tried: Iterable[str], plan: Iterable[str]) -> bool:
    rest = iter(plan)
    return all(name in rest for name in tried)

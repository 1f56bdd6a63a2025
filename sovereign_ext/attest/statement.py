"""The in-toto Statements v1 that envelopes sign: decisions, outcomes, findings and key events.

https://github.com/in-toto/attestation. Strings and integers only, no floats, booleans or nulls: a fact that
does not exist is left out, ``stream`` is 0 or 1. Subjects are hiding commitments (``commit``), so a
statement may be shown to an auditor without the prompt; it names the tenant, so it is not public either. The
subject of a key event is the public key itself. The same facts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

from sovereign_ext.attest import commit
from sovereign_ext.attest.facts import (
    AttemptFact,
    CallFacts,
    DecisionFacts,
    Digests,
    FindingFacts,
    KeyEventFacts,
)

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
DECISION: Final = "urn:sovereign:decision:v1"
OUTCOME: Final = "urn:sovereign:outcome:v1"
FINDING: Final = "urn:sovereign:finding:v1"
KEY_EVENT: Final = "urn:sovereign:key-event:v1"

_encoder = msgspec.json.Encoder()


class MirrorAck(Protocol):
    """What a mirror acknowledged last: its key's ``name``, the ``size`` of the tree, when (Unix seconds)."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def time_s(self) -> int: ...


def outcome_statement(facts: CallFacts, mirror: MirrorAck | None = None) -> bytes:
    """The outcome of a call, and how far the log was mirrored just before it was written down."""
    return outcome_saying(facts.digests, outcome_predicate(facts, mirror))


def outcome_saying(digests: Digests, predicate: Mapping[str, Any]) -> bytes:
    """The same, from its predicate: the attestation shows parts of it, so it is made once for both."""
    return _statement(OUTCOME, _subjects(digests), predicate)


def decision_statement(facts: DecisionFacts) -> bytes:
    """What was decided about a call, before anything was sent."""
    predicate: dict[str, Any] = {
        "decision_id": facts.decision_id,
        "tenant": facts.tenant,
        "endpoint": facts.endpoint,
        "model": facts.model,
        "policy": facts.policy,
        "policy_digest": _digest(facts.policy_digest),
        "audit": facts.audit,
        "request": facts.request,
        "candidates": facts.candidates,
        "plan": facts.plan,
        "decided_ms": facts.decided_ms,
        "shadows": facts.shadows,
    }
    return _statement(DECISION, [(commit.CLIENT_REQUEST, facts.client_request)], predicate)


def finding_statement(facts: FindingFacts) -> bytes:
    """The credentials that were found in a request, by kind and place."""
    predicate: dict[str, Any] = {
        "decision_id": facts.decision_id,
        "tenant": facts.tenant,
        "key": facts.key,
        "policy": facts.policy,
        "policy_digest": _digest(facts.policy_digest),
        "action": facts.action,
        "count": facts.count,
        "found": facts.found,
        "found_ms": facts.found_ms,
    }
    digests = Digests(client_request=facts.client_request, redacted_request=facts.redacted_request)
    return _statement(FINDING, _subjects(digests), predicate)


def key_event_statement(facts: KeyEventFacts) -> bytes:
    """What happened to one of the gateway's keys."""
    predicate: dict[str, Any] = {
        "event": facts.event.value,
        "role": facts.role.value,
        "key_id": facts.key_id,
        "at_ms": facts.at_ms,
    }
    return _statement(KEY_EVENT, [(f"{facts.role.value}-key", sha256(facts.spki).digest())], predicate)


def opening(key: bytes | None, digests: Digests) -> bytes:
    """JSON that opens the commitments of a call: version, key (base64) and the items that exist; no key where
    nothing is committed to.

    Whoever holds it can test guesses about prompt and answer: it is given to the tenant only.
    """
    items = [name for name, _ in _subjects(digests)]
    secret = {} if key is None else {"key": key}
    return _encoder.encode({"version": 1, **secret, "items": items})


def _subjects(digests: Digests) -> list[tuple[str, bytes]]:
    pairs = (
        (commit.CLIENT_REQUEST, digests.client_request),
        (commit.REDACTED_REQUEST, digests.redacted_request),
        (commit.SENT_REQUEST, digests.sent_request),
        (commit.PROVIDER_RESPONSE, digests.provider_response),
        (commit.DELIVERED_RESPONSE, digests.delivered_response),
    )
    return [(name, digest) for name, digest in pairs if digest is not None]


def _statement(kind: str, subjects: list[tuple[str, bytes]], predicate: Mapping[str, Any]) -> bytes:
    return _encoder.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest.hex()}} for name, digest in subjects],
            "predicateType": kind,
            "predicate": predicate,
        }
    )


def _digest(sha: bytes) -> str:
    return f"sha256:{sha.hex()}"


def outcome_predicate(facts: CallFacts, mirror: MirrorAck | None = None) -> dict[str, Any]:
    """The predicate of an outcome as JSON values."""
    predicate: dict[str, Any] = {
        "decision_id": facts.decision_id,
        "tenant": facts.tenant,
        "endpoint": facts.endpoint,
        "stream": int(facts.stream),
        "result": facts.result.value,
        "status": facts.status,
        "error_code": facts.error_code,
        "started_ms": facts.started_ms,
        "finished_ms": facts.finished_ms,
        "policy": facts.policy,
        "policy_digest": None if facts.policy_digest is None else _digest(facts.policy_digest),
        "audit": facts.audit or None,
        "model": facts.model,
        "model_hash": facts.model_hash,
        "model_hash_basis": facts.model_hash_basis,
        "deployment": facts.deployment,
        "provider": facts.provider,
        "tier_required": facts.tier_required,
        "tier_observed": facts.tier_observed,
        "tier_reasons": facts.tier_reasons,
        "attempts": [_attempt(attempt) for attempt in facts.attempts],
        "request": facts.request or None,
        "candidates": facts.candidates,
        "witnesses": [_vouch(*vouch) for vouch in facts.witnesses],
        "evidence_documents": facts.evidence_documents,
        "shadows": facts.shadows,
        "decision_index": facts.decision_index,
        "prompt_tokens": facts.prompt_tokens,
        "completion_tokens": facts.completion_tokens,
        "cached_tokens": facts.cached_tokens,
        "cache_write_tokens": facts.cache_write_tokens,
        "reasoning_tokens": facts.reasoning_tokens,
        "cost_nano_usd": facts.cost_nano_usd,
        "price_source": facts.price_source,
        "price": facts.price,
        "key": facts.key,
        "billed_nano_usd": facts.billed_nano_usd,
        "margin_percent": facts.margin_percent,
        "estimated": int(facts.estimated),
        "findings": facts.findings,
        "finding_index": facts.finding_index,
        "mirror": None if mirror is None else {"id": mirror.name, "size": mirror.size, "time": mirror.time_s},
    }
    return {name: value for name, value in predicate.items() if value is not None}


def _vouch(witness: str, scope: str, statement: str) -> dict[str, str]:
    return {"witness": witness, "scope": scope, "statement": statement}


def _attempt(attempt: AttemptFact) -> dict[str, str | int]:
    return {
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "started_ms": attempt.started_ms,
        "duration_ms": attempt.duration_ms,
    }

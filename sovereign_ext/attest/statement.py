"""The in-toto Statement v1 about one call: what the envelope signs.

https://github.com/in-toto/attestation. Strings and integers only, no floats, booleans or nulls: a fact that
does not exist is left out, ``stream`` is 0 or 1. Subjects are hiding commitments (``commit``), so a
statement may be shown to an auditor without the prompt; it names the tenant, so it is not public either.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sovereign_ext.attest import commit
from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
OUTCOME: Final = "urn:sovereign:outcome:v1"

_encoder = msgspec.json.Encoder()


def outcome_statement(facts: CallFacts) -> bytes:
    """The outcome of a call as in-toto JSON. The same facts give the same bytes."""
    return _encoder.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": digest.hex()}}
                for name, digest in _subjects(facts.digests)
            ],
            "predicateType": OUTCOME,
            "predicate": _predicate(facts),
        }
    )


def opening(key: bytes, digests: Digests) -> bytes:
    """JSON that opens the commitments of a call: version, key (base64) and the items that exist.

    Whoever holds it can test guesses about prompt and answer: it is given to the tenant only.
    """
    items = [name for name, _ in _subjects(digests)]
    return _encoder.encode({"version": 1, "key": key, "items": items})


def _subjects(digests: Digests) -> list[tuple[str, bytes]]:
    pairs = (
        (commit.CLIENT_REQUEST, digests.client_request),
        (commit.REDACTED_REQUEST, digests.redacted_request),
        (commit.SENT_REQUEST, digests.sent_request),
        (commit.PROVIDER_RESPONSE, digests.provider_response),
        (commit.DELIVERED_RESPONSE, digests.delivered_response),
    )
    return [(name, digest) for name, digest in pairs if digest is not None]


def _predicate(facts: CallFacts) -> dict[str, Any]:
    predicate = {
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
        "policy_digest": None if facts.policy_digest is None else facts.policy_digest.hex(),
        "model": facts.model,
        "model_hash": facts.model_hash,
        "model_hash_basis": facts.model_hash_basis,
        "deployment": facts.deployment,
        "provider": facts.provider,
        "tier_required": facts.tier_required,
        "tier_observed": facts.tier_observed,
        "tier_reasons": facts.tier_reasons,
        "attempts": [_attempt(attempt) for attempt in facts.attempts],
        "rejections": [{"deployment": r.deployment, "rules": r.rules} for r in facts.rejections],
        "prompt_tokens": facts.prompt_tokens,
        "completion_tokens": facts.completion_tokens,
    }
    return {name: value for name, value in predicate.items() if value is not None}


def _attempt(attempt: AttemptFact) -> dict[str, str | int]:
    return {
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "started_ms": attempt.started_ms,
        "duration_ms": attempt.duration_ms,
    }

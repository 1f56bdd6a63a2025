"""Calls under policies, written into a real log, honestly or not: what the monitor's tests judge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from log_world import NOW_MS, opened
from msgspec.structs import replace

from sovereign_ext.attest.facts import (
    AttemptFact,
    CallFacts,
    DecisionFacts,
    Digests,
    FindingFacts,
    FoundFact,
    Result,
)
from sovereign_ext.attest.statement import decision_statement, finding_statement, opening, outcome_statement
from sovereign_ext.canonical import canonical_json
from sovereign_ext.storage.documents import Document
from sovereign_ext.tlog.service import EntryDraft, Sequenced, TransparencyLog

KEY = bytes(32)
REQUEST = {"capability": "chat", "prompt_tokens": 10}
STRICT: dict[str, Any] = {
    "id": "strict",
    "required_tier": "attested",
    "audit": "strict",
    "fallback": {"enabled": True, "max_attempts": 2},
}
STANDARD: dict[str, Any] = {"id": "standard", "max_drift": "watch"}
BLOCKING: dict[str, Any] = {**STANDARD, "id": "blocking", "redaction": {"action": "block"}}


def document(policy: dict[str, Any]) -> Document:
    """The policy as it is kept."""
    return Document("policy", canonical_json(policy))


def candidate(name: str, *failed: str, **facts: Any) -> dict[str, Any]:
    """A deployment as it is recorded."""
    known = {"capabilities": ["chat"], "tier": "attested", "drift": "stable", "model_hash_basis": "none"}
    return {"deployment": name, "provider": f"p-{name}", **known, "failed": list(failed), **facts}


A, B, C = candidate("a"), candidate("b"), candidate("c", "tier", tier="open")
D = candidate("c", "drift", tier="open", drift="unknown")  # what ``STANDARD`` thinks of the third


@dataclass(frozen=True)
class Call:
    """A call that is to be written down."""

    decision: DecisionFacts | None
    outcome: CallFacts | None


def call(number: int, policy: dict[str, Any] = STRICT, *tried: str, **changes: Any) -> Call:
    """A call under ``policy`` that tried ``tried`` (by default ``a``) and was answered by the last."""
    tried = tried or ("a",)
    digest = bytes.fromhex(document(policy).digest.removeprefix("sha256:"))
    audit = policy.get("audit", "standard")
    request = number.to_bytes(32, "big")
    shared: dict[str, Any] = {
        "decision_id": f"dec-{number}",
        "tenant": "t1",
        "endpoint": "chat.completions",
        "model": "m",
        "policy": policy["id"],
        "policy_digest": digest,
        "audit": audit,
        "request": REQUEST,
        "candidates": (A, B, C if policy is STRICT else D),
    }
    decision = DecisionFacts(**shared, plan=("a", "b"), decided_ms=NOW_MS, client_request=request)
    attempts = [AttemptFact(name, f"p-{name}", "reset", 0, NOW_MS, 1) for name in tried[:-1]]
    attempts.append(AttemptFact(tried[-1], f"p-{tried[-1]}", "ok", 200, NOW_MS, 1))
    outcome = CallFacts(
        **shared,
        stream=False,
        result=Result.ANSWERED,
        status=200,
        error_code=None,
        started_ms=NOW_MS,
        finished_ms=NOW_MS,
        model_hash=None,
        model_hash_basis="none",
        deployment=tried[-1],
        provider=f"p-{tried[-1]}",
        tier_required=policy.get("required_tier", "open"),
        tier_observed="attested",
        tier_reasons=(),
        attempts=tuple(attempts),
        prompt_tokens=1,
        completion_tokens=1,
        digests=Digests(client_request=request),
    )
    return Call(decision if audit == "strict" else None, replace(outcome, **changes))


async def decide(log: TransparencyLog, facts: DecisionFacts) -> Sequenced:
    """Append a decision."""
    secret = opening(KEY, Digests(client_request=facts.client_request))
    return await log.append(
        EntryDraft("decision", facts.tenant, facts.decision_id, decision_statement(facts), secret)
    )


async def find(log: TransparencyLog, outcome: CallFacts, **changes: Any) -> Sequenced:
    """Append what was found in the request of a call: two places."""
    request = outcome.digests.client_request
    assert request is not None
    assert outcome.policy_digest is not None
    told = FindingFacts(
        outcome.decision_id, outcome.tenant, "ci", outcome.policy, outcome.policy_digest,
        "redacted", 2, (FoundFact("github-token", 1, "/messages/0/content", 40, 1, "ab" * 32),), NOW_MS, request,
    )  # fmt: skip
    told = replace(told, **changes)
    secret = opening(KEY, Digests(client_request=told.client_request))
    return await log.append(
        EntryDraft("finding", told.tenant, told.decision_id, finding_statement(told), secret)
    )


async def settle(log: TransparencyLog, facts: CallFacts, *, tenant: str = "") -> Sequenced:
    """Append an outcome."""
    statement = outcome_statement(facts)
    return await log.append(
        EntryDraft(
            "outcome", tenant or facts.tenant, facts.decision_id, statement, opening(KEY, facts.digests)
        )
    )


async def write(log: TransparencyLog, made: Call, **changes: Any) -> Sequenced | None:
    """Both entries of a call, in their order; ``changes`` are made to the outcome."""
    index = None
    if made.decision is not None:
        index = (await decide(log, made.decision)).index
    if made.outcome is None:
        return None
    return await settle(log, replace(made.outcome, **{"decision_index": index, **changes}))


def fill(state: Path, scenario: Callable[[TransparencyLog], Awaitable[None]]) -> None:
    """A log with both policies kept, in which ``scenario`` writes."""

    async def run() -> None:
        async with opened(state) as log:
            await log.keep([document(STRICT), document(STANDARD), document(BLOCKING)])
            await scenario(log)

    asyncio.run(run())

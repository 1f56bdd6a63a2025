"""What a decision was made from, as entries record it and a verifier re-evaluates it.

Strings, whole numbers and lists only, so that the canonical JSON of an entry is unambiguous; what is not known
is left out. Nothing here is of the request's content, and no endpoint is named.
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.policy.evaluate import Evaluation
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, RuleFailure

Facts = dict[str, Any]
"""str → str, int, or a list of str."""


def candidate_facts(candidate: Candidate, failures: tuple[RuleFailure, ...] = ()) -> Facts:
    """One candidate with the names of the rules it failed (``failed`` is empty if it was eligible)."""
    deployment, provider, standing = candidate.deployment, candidate.provider, candidate.standing
    handling = provider.data_handling
    known: dict[str, Any] = {
        "deployment": deployment.id,
        "provider": provider.id,
        "capabilities": [capability.value for capability in deployment.capabilities],
        "tier": standing.tier.value,
        "tier_reasons": list(standing.reasons),
        "scopes": sorted(standing.scopes),
        "provider_origin": list(provider.origin.names),
        "model_origin": list(candidate.model.origin.names),
        "drift": standing.drift.value,
        "p95_ms": candidate.p95_ms,
        "cost_nano_usd": candidate.cost_nano_usd,
        "trains": None if handling.trains is None else int(handling.trains),
        "retention_days": handling.retention_days,
        "region": provider.region,
        "model_hash": standing.model_hash,
        "model_hash_basis": standing.model_hash_basis.value,
        "documents": list(standing.documents),
        "failed": [failure.rule for failure in failures],
    }
    return {name: value for name, value in known.items() if value is not None}


def evaluation_facts(evaluation: Evaluation) -> tuple[Facts, ...]:
    """Every candidate of an evaluation: the eligible ones first, each half in file order."""
    return (
        *(candidate_facts(candidate) for candidate in evaluation.eligible),
        *(candidate_facts(each.candidate, each.failures) for each in evaluation.rejections),
    )


def request_facts(request: RequestFacts) -> Facts:
    """What the rules knew of the request."""
    facts: Facts = {"capability": request.capability.value, "prompt_tokens": request.prompt_tokens}
    if request.max_tokens is not None:
        facts["max_tokens"] = request.max_tokens
    return facts

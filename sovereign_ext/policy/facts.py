"""What a decision was made from, as entries record it and a verifier re-evaluates it.

Strings, whole numbers and lists only, so that the canonical JSON of an entry is unambiguous; what is not known
is left out. Nothing here is of the request's content, and no endpoint is named.
"""

from __future__ import annotations

from typing import Any, Final

from sovereign_ext.policy.evaluate import Evaluation
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, RuleFailure

Facts = dict[str, Any]
"""str → str, int, or a list of str."""


def candidate_facts(candidate: Candidate, failures: tuple[RuleFailure, ...] = ()) -> Facts:
    """One candidate with the names of the rules it failed (``failed`` is empty if it was eligible)."""
    facts = dict(_lasting_facts(candidate))
    if candidate.p95_ms is not None:
        facts["p95_ms"] = candidate.p95_ms
    if candidate.cost_nano_usd is not None:
        facts["cost_nano_usd"] = candidate.cost_nano_usd
    facts["failed"] = [failure.rule for failure in failures]
    return facts


def _lasting_facts(candidate: Candidate) -> Facts:
    """What is the same for every call as long as configuration and standing are. Not to be changed by callers.

    The same objects come with every call, and making this costs more than all rules together, so it is kept.
    """
    parts = candidate.deployment, candidate.provider, candidate.model, candidate.standing
    key = tuple(map(id, parts))
    kept = _kept.get(key)
    if kept is None:
        if len(_kept) >= _KEPT_MOST:
            _kept.clear()
        kept = _kept[key] = parts, _known_of(candidate)
    return kept[1]


_KEPT_MOST: Final = 4096
_kept: Final[dict[tuple[int, ...], tuple[object, Facts]]] = {}
"""By identity; the objects are kept with it, so that no other can come to have their identity."""


def _known_of(candidate: Candidate) -> Facts:
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
        "trains": None if handling.trains is None else int(handling.trains),
        "retention_days": handling.retention_days,
        "region": provider.region,
        "model_hash": standing.model_hash,
        "model_hash_basis": standing.model_hash_basis.value,
        "documents": list(standing.documents),
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

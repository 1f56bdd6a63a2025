"""Rule ``condition``: the policy's own expression holds (``sovereign_ext.condition``).

An expression that is false, or that cannot be evaluated because it uses what is not known, fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sovereign_ext.condition import Value
from sovereign_ext.config.model import Policy
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure

_VALUES: Final[Mapping[str, Callable[[Candidate, RequestFacts], Value | None]]] = {
    "tenant": lambda candidate, request: request.tenant,
    "deployment": lambda candidate, request: candidate.deployment.id,
    "provider": lambda candidate, request: candidate.provider.id,
    "model": lambda candidate, request: candidate.model.id,
    "origin.provider": lambda candidate, request: list(candidate.provider.origin.names),
    "origin.model": lambda candidate, request: list(candidate.model.origin.names),
    "region": lambda candidate, request: candidate.provider.region,
    "tier": lambda candidate, request: candidate.standing.tier.value,
    "scopes": lambda candidate, request: sorted(candidate.standing.scopes),
    "drift": lambda candidate, request: candidate.standing.drift.value,
    "cost_usd": lambda candidate, request: (
        None if candidate.cost_nano_usd is None else candidate.cost_nano_usd / 1e9
    ),
    "cost_nano_usd": lambda candidate, request: candidate.cost_nano_usd,
    "p95_ms": lambda candidate, request: candidate.p95_ms,
    "request.capability": lambda candidate, request: request.capability.value,
    "request.prompt_tokens": lambda candidate, request: request.prompt_tokens,
    "request.max_tokens": lambda candidate, request: request.max_tokens,
}
"""The variables, as ``condition.recorded_values`` reads them from an entry."""


class ConditionRule:
    """Only what the expression names is looked up: it is evaluated for every candidate of every call."""

    name = "condition"
    depends_on = DependsOn.REQUEST

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return policy.condition is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        condition = policy.compiled_condition
        if condition is None:
            return None
        values = {}
        for name in condition.names:
            value = _VALUES[name](candidate, request)
            if value is not None:
                values[name] = value
        actual = condition.failure(values)
        return None if actual is None else RuleFailure(self.name, "the policy's condition to be true", actual)

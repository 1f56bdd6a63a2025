"""Rule ``provider``: a policy with a chain is only answered by the providers the chain names."""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class ProviderRule:
    """Passes every provider when the chain is empty."""

    name = "provider"
    depends_on = DependsOn.CONFIG

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return policy.named_providers is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        named = policy.named_providers
        if named is None or candidate.deployment.provider in named:
            return None
        return RuleFailure(self.name, "one of " + ", ".join(sorted(named)), candidate.deployment.provider)

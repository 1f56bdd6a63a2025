"""Rule ``provider``: a policy with a chain is only answered by the providers the chain names."""

from __future__ import annotations

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.rules.base import DependsOn, RequestFacts, RuleFailure


class ProviderRule:
    """Passes every provider when the chain is empty."""

    name = "provider"
    depends_on = DependsOn.CONFIG

    def check(
        self, policy: Policy, deployment: Deployment, tier: Tier, request: RequestFacts
    ) -> RuleFailure | None:
        """See ``Rule.check``."""
        named = policy.named_providers
        if named is None or deployment.provider in named:
            return None
        return RuleFailure(self.name, "one of " + ", ".join(sorted(named)), deployment.provider)

"""Rule ``tier``: the tier expected of the deployment is at least the one the policy requires.

This is the expectation before anything is sent. What the answering connection really showed is compared again
when the answer arrives; that is not a rule, because it comes after the choice.
"""

from __future__ import annotations

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.rules.base import DependsOn, RequestFacts, RuleFailure


class TierRule:
    """Tiers are ordered; a higher one satisfies a lower requirement."""

    name = "tier"
    depends_on = DependsOn.EVIDENCE

    def check(
        self, policy: Policy, deployment: Deployment, tier: Tier, request: RequestFacts
    ) -> RuleFailure | None:
        """See ``Rule.check``."""
        required = policy.required_tier
        if tier.rank >= required.rank:
            return None
        return RuleFailure(self.name, f"at least {required.value}", tier.value)

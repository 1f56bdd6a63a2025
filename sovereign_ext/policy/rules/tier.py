"""Rule ``tier``: the tier expected of the deployment is at least the one the policy requires.

This is the expectation before anything is sent. What the answering connection really showed is compared again
when the answer arrives; that is not a rule, because it comes after the choice.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class TierRule:
    """Tiers are ordered; a higher one satisfies a lower requirement."""

    name = "tier"
    depends_on = DependsOn.EVIDENCE

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``: everything is at least ``open``."""
        return policy.required_tier is not Tier.OPEN

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        required, reached = policy.required_tier, candidate.standing.tier
        if reached.rank >= required.rank:
            return None
        why = f" ({', '.join(candidate.standing.reasons)})" if candidate.standing.reasons else ""
        return RuleFailure(self.name, f"at least {required.value}", reached.value + why)

"""Rule ``cost``: the most this request can be expected to cost stays within the policy's cap.

The estimate is made before anything is sent (``policy.cost``). A deployment without a price fails: unknown never
passes.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.policy.cost import usd_text
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class CostRule:
    """Compares whole billionths of a dollar."""

    name = "cost"
    depends_on = DependsOn.REQUEST

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return policy.cost_cap_usd is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        cap, estimate = policy.cost_cap_nano_usd, candidate.cost_nano_usd
        if cap is None or (estimate is not None and estimate <= cap):
            return None
        actual = "no price" if estimate is None else f"{usd_text(estimate)} USD"
        return RuleFailure(self.name, f"an estimate of at most {usd_text(cap)} USD", actual)

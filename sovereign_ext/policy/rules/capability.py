"""Rule ``capability``: the deployment offers what the request asks for (chat, embeddings)."""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class CapabilityRule:
    """Looks at the capabilities the deployment lists in the file."""

    name = "capability"
    depends_on = DependsOn.REQUEST

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``: under every policy."""
        return True

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        offered = candidate.deployment.capabilities
        if request.capability in offered:
            return None
        return RuleFailure(self.name, request.capability.value, ", ".join(each.value for each in offered))

"""Rule ``capability``: the deployment offers what the request asks for (chat, embeddings)."""

from __future__ import annotations

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.rules.base import DependsOn, RequestFacts, RuleFailure


class CapabilityRule:
    """Looks at the capabilities the deployment lists in the file."""

    name = "capability"
    depends_on = DependsOn.REQUEST

    def check(
        self, policy: Policy, deployment: Deployment, tier: Tier, request: RequestFacts
    ) -> RuleFailure | None:
        """See ``Rule.check``."""
        if request.capability in deployment.capabilities:
            return None
        actual = ", ".join(capability.value for capability in deployment.capabilities)
        return RuleFailure(self.name, request.capability.value, actual)

"""Rule ``origin``: provider and model both come from where the policy allows.

Of each, the country or the organisation has to be among ``allowed_origins``; where neither is known of one of
them, it fails.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.config.trust import Origin
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class OriginRule:
    """Looks at the origins that the file states. Names are compared as they are written."""

    name = "origin"
    depends_on = DependsOn.CONFIG

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return bool(policy.allowed_origins)

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        allowed = policy.allowed_origins
        both = (candidate.provider.origin, candidate.model.origin)
        if not allowed or all(origin.country in allowed or origin.organisation in allowed for origin in both):
            return None
        expected = "provider and model each of " + ", ".join(sorted(allowed))
        return RuleFailure(self.name, expected, f"provider {_shown(both[0])}; model {_shown(both[1])}")


def _shown(origin: Origin) -> str:
    return ", ".join(origin.names) or "unknown"

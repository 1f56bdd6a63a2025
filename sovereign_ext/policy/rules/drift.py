"""Rule ``drift``: the model has drifted no further than the policy allows, by a valid report.

Without a valid report the posture is ``unknown``, which never passes.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.config.trust import Drift
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class DriftRule:
    """Postures are ordered: ``stable``, ``watch``, ``drifted``."""

    name = "drift"
    depends_on = DependsOn.EVIDENCE

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return policy.max_drift is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        allowed, posture = policy.max_drift, candidate.standing.drift
        if allowed is None or (posture is not Drift.UNKNOWN and posture.rank <= allowed.rank):
            return None
        return RuleFailure(self.name, f"reported, and at most {allowed.value}", posture.value)

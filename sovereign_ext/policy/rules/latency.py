"""Rule ``latency``: the deployment has lately answered within the policy's cap.

Compared is the rolling 95th percentile of the time to first content. A deployment without a sample passes: nothing
was observed yet, and it could never gain one otherwise. The cap also bounds the call itself (``policy.bounds``).
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class LatencyRule:
    """Looks at what was measured of the deployment in the last minute."""

    name = "latency"
    depends_on = DependsOn.EVIDENCE

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return policy.latency_cap_ms is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        cap_ms, p95_ms = policy.latency_cap_ms, candidate.p95_ms
        if cap_ms is None or p95_ms is None or p95_ms <= cap_ms:
            return None
        return RuleFailure(self.name, f"p95 of at most {cap_ms} ms", f"{p95_ms} ms")

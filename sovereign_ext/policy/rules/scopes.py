"""Rule ``scopes``: for every required scope there is a valid statement by a witness who may give it."""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class ScopesRule:
    """Scopes are a set: each has to be vouched for, by whomever. They say nothing about the tier."""

    name = "scopes"
    depends_on = DependsOn.EVIDENCE

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        return bool(policy.required_scopes)

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        there = candidate.standing.scopes
        if there.issuperset(policy.required_scopes):
            return None
        return RuleFailure(
            self.name,
            "all of " + ", ".join(sorted(policy.required_scopes)),
            ", ".join(sorted(there)) or "none",
        )

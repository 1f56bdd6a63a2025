"""Rule ``data_handling``: the provider's contract keeps to what the policy wants done with the data.

What is not known of the provider never passes.
"""

from __future__ import annotations

from sovereign_ext.config.model import Policy
from sovereign_ext.config.trust import DataHandling, DataRequirement
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, RuleFailure


class DataHandlingRule:
    """Looks at the provider's ``data_handling`` in the file, the operator's word on the contract."""

    name = "data_handling"
    depends_on = DependsOn.CONFIG

    def applies(self, policy: Policy) -> bool:
        """See ``Rule.applies``."""
        wanted = policy.data_handling
        return wanted.no_training or wanted.max_retention_days is not None

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """See ``Rule.check``."""
        wanted, there = policy.data_handling, candidate.provider.data_handling
        days, longest = there.retention_days, wanted.max_retention_days
        kept = longest is None or (days is not None and days <= longest)
        if kept and (there.trains is False or not wanted.no_training):
            return None
        return RuleFailure(self.name, _wanted(wanted), _there(there))


def _wanted(wanted: DataRequirement) -> str:
    parts = ["no training"] if wanted.no_training else []
    if wanted.max_retention_days is not None:
        parts.append(f"at most {wanted.max_retention_days} days of retention")
    return ", ".join(parts)


def _there(there: DataHandling) -> str:
    trains = {True: "trains", False: "does not train", None: "training unknown"}[there.trains]
    days = (
        "unknown retention" if there.retention_days is None else f"{there.retention_days} days of retention"
    )
    return f"{trains}, {days}"

"""What other policies would have done with a call: evaluated and reported, never enforced.

A policy names its shadows. They are asked about the same candidates at the same moment, and their order is a
preview, so that no probe is claimed and nothing is sent. Shadows of shadows are not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sovereign_ext.config.model import Deployment, Policy
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.policy.evaluate import Evaluation, evaluate
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.routing.health import Health
from sovereign_ext.routing.plan import preview


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """``eligible`` are deployment ids, ``rejected`` the others with the rules they fail, both in file order.

    ``plan_changes``: whether other deployments would have been asked, or in another order.
    """

    policy: str
    policy_digest: bytes
    eligible: tuple[str, ...]
    rejected: tuple[tuple[str, tuple[str, ...]], ...]
    plan_changes: bool

    def facts(self) -> dict[str, Any]:
        """As entries record it."""
        return {
            "policy": self.policy,
            "policy_digest": "sha256:" + self.policy_digest.hex(),
            "eligible": list(self.eligible),
            "rejected": [{"deployment": name, "rules": list(rules)} for name, rules in self.rejected],
            "plan_changes": int(self.plan_changes),
        }


def shadow_results(  # noqa: PLR0917 - what the decision has at hand, in its order
    snapshot: Snapshot,
    policy: Policy,
    candidates: Sequence[Candidate],
    request: RequestFacts,
    evaluation: Evaluation,
    health: Health,
    now: float,
) -> tuple[ShadowResult, ...]:
    """The result of each shadow of ``policy``, whose own ``evaluation`` is what they are compared with.

    ``now`` is monotonic seconds. To be asked before the call's own plan claims probes: they would look like those
    of other calls.
    """
    if not policy.shadows:
        return ()
    order = _order(policy, evaluation, health, now)
    results = []
    for name in policy.shadows:
        shadow = snapshot.policies[name]
        found = evaluate(shadow, candidates, request)
        results.append(
            ShadowResult(
                policy=name,
                policy_digest=snapshot.policy_digests[name],
                eligible=tuple(each.deployment.id for each in found.eligible),
                rejected=tuple((each.candidate.deployment.id, each.rules) for each in found.rejections),
                plan_changes=_order(shadow, found, health, now) != order,
            )
        )
    return tuple(results)


def _order(policy: Policy, evaluation: Evaluation, health: Health, now: float) -> tuple[Deployment, ...]:
    return preview(policy, [each.deployment for each in evaluation.eligible], health, now).order
